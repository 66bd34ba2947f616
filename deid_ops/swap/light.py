"""The light that the painter is told: an even one, and the shading and tint that any face has.

Averages over cells of 16 px still show a beard, glasses, deep eyes. In a clip of a crowd they
alone, enlarged and nothing painted, let retail-0095 rank the right one of 15 people first in 40 %
of the faces. So within the face only a quadratic of place is told for each colour, in how much
contrast the shading of the mean face lies on it, and her tint, as strong as the light is colourful:
eyes are less red than skin, lips and cheeks more. At the rim, where the painting must meet what is
around it, half of what a cell shows beside that passes; where an open mouth shows its inside, all
of it: teeth are expression. Faces of the same clip under thirty keys, without the ladder and before
mouths counted: matched in 0.6 % instead of 1.2 %, ranked first in 21 instead of 25 %.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ops.swap.contract import LIGHT_CELLS
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.face_mask import SUBPIXEL_BITS, fixed_point
from deid_ops.swap.layout import group_slice
from deid_ops.types import F32, F64

_RIM_KEPT = np.float32(0.5)  # of what a cell at the rim shows beside the even light
_MOST_SHADING = 1.5  # times that of the mean portrait
_MOUTH_GAIN = np.float32(4.0)  # a cell counts wholly once a quarter of it lies between the lips
_RIDGE = 1e-2  # cells; keeps the quadratic tame where a face has few
_INNER_SHARE = 0.5  # a cell with less of the mask, or beside one with less, is partly rim
# What portraits show beside their quadratic, in units of the planes: brow and eye sockets, cheeks,
# mouth. Left half by rows of cells; measured by `deid_ops/train/shading.py` on 3,000 faces.
_SHADING_LEFT_HALF = (
    (0.000, 0.000, 0.000, 0.000),
    (0.000, -0.022, 0.012, 0.081),
    (0.000, -0.064, -0.028, 0.024),
    (0.000, -0.007, -0.070, -0.047),
    (0.000, 0.041, 0.092, 0.025),
    (0.000, 0.026, 0.011, -0.039),
    (0.000, 0.005, -0.019, 0.021),
    (0.000, 0.000, -0.039, -0.022),
)
# The same of colour: red and blue as shares of how colourful the light is; `mean_tint` there.
_TINT_LEFT_HALF = (
    (
        (0.000, 0.000, 0.000, 0.000),
        (0.000, 0.108, 0.177, 0.097),
        (0.000, -0.094, -0.053, -0.048),
        (0.000, 0.031, -0.196, -0.135),
        (0.000, 0.156, 0.204, 0.054),
        (0.000, -0.158, 0.122, 0.001),
        (0.000, -0.241, -0.093, 0.072),
        (0.000, 0.000, -0.044, -0.050),
    ),
    (
        (0.000, 0.000, 0.000, 0.000),
        (0.000, -0.023, -0.125, -0.071),
        (0.000, 0.097, 0.034, 0.021),
        (0.000, -0.019, 0.150, 0.078),
        (0.000, -0.112, -0.158, -0.056),
        (0.000, 0.121, -0.137, 0.087),
        (0.000, 0.199, 0.020, -0.017),
        (0.000, 0.000, 0.012, 0.022),
    ),
)
SKIN_CELLS = slice(2, 6)  # rows and columns of the light without hair, hats and background


def shading() -> F32:
    """Return the mean face's shading [8, 8], the same to the left and to the right."""
    half = np.array(_SHADING_LEFT_HALF, dtype=np.float32)
    return np.concatenate([half, half[:, ::-1]], axis=1)


def tint() -> F32:
    """Return the mean face's tint [3, 8, 8], RGB, which has no brightness."""
    half = np.array(_TINT_LEFT_HALF, dtype=np.float32)
    red, blue = np.concatenate([half, half[:, :, ::-1]], axis=2)
    return np.stack([red, -(red + blue), blue])


def colourfulness(even: F32) -> F32:
    """Return how far the light [n, 3, 8, 8] of each face is from grey, [n, 1, 1, 1]."""
    inner = even[:, :, SKIN_CELLS, SKIN_CELLS]
    apart = np.abs(inner - inner.mean(axis=1, keepdims=True))
    return np.asarray(apart.mean(axis=(1, 2, 3), keepdims=True), dtype=np.float32)


def told_light(cells: F32, share: F32, mouth: F32) -> F32:
    """Return what is told of the light of faces.

    Args:
        cells: [n, 3, 8, 8] averages over the cells, RGB, see `conditions.py: cell_means`.
        share: [n, 1, 8, 8] of each cell that lies in the mask.
        mouth: [n, 1, 8, 8] of each cell that lies between the lips, see `mouth_shares`.

    Returns:
        [n, 3, 8, 8]. Doing it twice changes little, so another face may be painted over a painted
        one.
    """
    even = even_light(cells, share)
    typical = even + _contrast(cells - even, share) * shading() + colourfulness(even) * tint()
    kept = np.maximum(_RIM_KEPT * (1.0 - _innerness(share)), np.minimum(_MOUTH_GAIN * mouth, 1.0))
    return np.asarray(typical + kept * (cells - typical), dtype=np.float32)


def mouth_shares(points_px: F32) -> F32:
    """Return how much of each cell lies between the lips, [n, 1, 8, 8] in [0, 1].

    Args:
        points_px: [n, 136, 2] landmarks in crop pixels.
    """
    cell_px = CROP_SIZE_PX // LIGHT_CELLS
    drawn = np.zeros((len(points_px), CROP_SIZE_PX, CROP_SIZE_PX), np.float32)
    for canvas, points in zip(drawn, points_px[:, group_slice("inner_lips")], strict=True):
        cv2.fillPoly(canvas, [fixed_point(points)], 1.0, shift=SUBPIXEL_BITS)
    cells = drawn.reshape(-1, 1, LIGHT_CELLS, cell_px, LIGHT_CELLS, cell_px)
    return np.asarray(cells.mean(axis=(3, 5)), dtype=np.float32)


def even_light(cells: F32, share: F32) -> F32:
    """Fit a quadratic of place to the cells of each face and colour.

    Args:
        cells: [n, c, 8, 8] averages over the cells.
        share: [n, 1, 8, 8] of each cell that lies in the mask; the weight of the fit.

    Returns:
        [n, c, 8, 8], in the units of `cells`.
    """
    n, channels = cells.shape[:2]
    basis = _quadratic()
    weight = share.reshape(n, LIGHT_CELLS**2).astype(np.float64)
    power = np.einsum("nk,ki,kj->nij", weight, basis, basis) + _RIDGE * np.eye(basis.shape[1])
    flat = cells.reshape(n, channels, LIGHT_CELLS**2).astype(np.float64)
    pull = np.einsum("nk,ki,nck->nci", weight, basis, flat)
    factors = np.linalg.solve(power[:, None], pull[..., None])[..., 0]
    return np.asarray((factors @ basis.T).reshape(cells.shape), dtype=np.float32)


def _contrast(beside: F32, share: F32) -> F32:
    """Return how strong the mean face's shading lies on the even light, [n, 1, 1, 1].

    One number for a face, of all colours: more would tell more.
    """
    wanted = shading()
    power = beside.shape[1] * (share * wanted**2).sum(axis=(1, 2, 3))
    found = (share * beside * wanted).sum(axis=(1, 2, 3)) / np.maximum(power, 1e-6)
    strength = np.clip(found, 0.0, _MOST_SHADING).reshape(-1, 1, 1, 1)
    return np.asarray(strength, dtype=np.float32)


def _innerness(share: F32) -> F32:
    """Return [n, 1, 8, 8]: 1 for cells with mask all around, 0 at the rim."""
    framed = np.pad(share, ((0, 0), (0, 0), (1, 1), (1, 1)))
    k = LIGHT_CELLS
    places = ((1, 0), (1, 2), (0, 1), (2, 1), (1, 1))
    least = np.min([framed[..., y : y + k, x : x + k] for y, x in places], axis=0)
    return np.asarray(np.clip(least / _INNER_SHARE, 0.0, 1.0), dtype=np.float32)


def _quadratic() -> F64:
    """Return 1, x, y, x^2, x y, y^2 at the cells' middles, [64, 6]; a crop is two wide."""
    axis = (np.arange(LIGHT_CELLS) + 0.5) * 2.0 / LIGHT_CELLS - 1.0
    x, y = (v.ravel() for v in np.meshgrid(axis, axis))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
