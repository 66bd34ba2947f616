"""Measure how faces are shaded beside an even light: the constant of `swap/light.py`."""

from __future__ import annotations

import numpy as np

from deid_ops.swap.conditions import cell_means, cell_shares
from deid_ops.swap.contract import LIGHT_CELLS
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.face_mask import face_masks
from deid_ops.swap.light import even_light
from deid_ops.train.data import evenly
from deid_ops.train.paint_data import PaintData
from deid_ops.types import F32

_ENOUGH = 0.02  # of the faces must fill a cell on average, or it counts as even


def mean_shading(data: PaintData, most: int = 3000) -> F32:
    """Return the mean face's shading [8, 8], in units of the planes, mirrored halves averaged.

    Args:
        data: training faces.
        most: taken evenly over them.
    """
    rows = evenly(np.arange(len(data.points_px)), most)
    planes = np.ascontiguousarray(data.crops_rgb[rows].transpose(0, 3, 1, 2), dtype=np.float32)
    planes /= np.float32(255.0)
    masks = face_masks(data.points_px[rows])
    shown = np.unpackbits(data.inside_bits[rows], axis=1).astype(np.bool_)
    shown = masks & shown.reshape(-1, CROP_SIZE_PX, CROP_SIZE_PX)
    cells, share = cell_means(planes, masks, LIGHT_CELLS), cell_shares(masks)
    beside = (cells - even_light(cells, share)).mean(axis=1)
    weight = (share * (cell_shares(shown) >= share - 1e-3))[:, 0]  # cells that their picture fills
    total = weight.sum(axis=0)
    mean = np.where(total > _ENOUGH * len(rows), (weight * beside).sum(axis=0), 0.0)
    mean /= np.maximum(total, 1e-3)
    return np.asarray(0.5 * (mean + mean[:, ::-1]), dtype=np.float32)
