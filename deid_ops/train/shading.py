"""Measure how faces are shaded and tinted beside an even light: constants of `swap/light.py`."""

from __future__ import annotations

import numpy as np

from deid_ops.swap.conditions import cell_means, cell_shares
from deid_ops.swap.contract import LIGHT_CELLS
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.face_mask import face_masks
from deid_ops.swap.light import colourfulness, even_light
from deid_ops.train.data import evenly
from deid_ops.train.paint_data import PaintData
from deid_ops.types import F32, I64

_ENOUGH = 0.02  # of the faces must fill a cell on average, or it counts as even
_COLOURED = 0.02  # distance from grey from which on a face's tint is measured


def mean_shading(data: PaintData, most: int = 3000) -> F32:
    """Return the mean face's shading [8, 8], in units of the planes, mirrored halves averaged.

    Args:
        data: training faces.
        most: taken evenly over them.
    """
    _, beside, weight = _measured(data, evenly(np.arange(len(data.points_px)), most))
    return _mean_where(beside.mean(axis=1), weight)


def mean_tint(data: PaintData, most: int = 3000) -> F32:
    """Return the mean face's tint [3, 8, 8], in units of `colourfulness`, halves averaged.

    Args:
        data: training faces.
        most: taken evenly over each source, as many of each.
    """
    share = most // len(data.rows_by_source)
    rows = np.concatenate([evenly(of_source, share) for of_source in data.rows_by_source])
    even, beside, weight = _measured(data, rows)
    colour = colourfulness(even)
    weight = weight * (colour[:, 0] > _COLOURED)
    tint = (beside - beside.mean(axis=1, keepdims=True)) / np.maximum(colour, _COLOURED)
    return np.stack([_mean_where(tint[:, channel], weight) for channel in range(3)])


def _measured(data: PaintData, rows: I64) -> tuple[F32, F32, F32]:
    """Return even light, what is beside it, each [n, 3, 8, 8], and the cells' weights [n, 8, 8]."""
    planes = np.ascontiguousarray(data.crops_rgb[rows].transpose(0, 3, 1, 2), dtype=np.float32)
    planes /= np.float32(255.0)
    masks = face_masks(data.points_px[rows])
    shown = np.unpackbits(data.inside_bits[rows], axis=1).astype(np.bool_)
    shown = masks & shown.reshape(-1, CROP_SIZE_PX, CROP_SIZE_PX)
    cells, share = cell_means(planes, masks, LIGHT_CELLS), cell_shares(masks)
    even = even_light(cells, share)
    weight = (share * (cell_shares(shown) >= share - 1e-3))[:, 0]  # cells that their picture fills
    return even, cells - even, weight


def _mean_where(values: F32, weight: F32) -> F32:
    """Return the weighted mean of [n, 8, 8], the same to the left and to the right."""
    total = weight.sum(axis=0)
    mean = np.where(total > _ENOUGH * len(weight), (weight * values).sum(axis=0), 0.0)
    mean /= np.maximum(total, 1e-3)
    return np.asarray(0.5 * (mean + mean[:, ::-1]), dtype=np.float32)
