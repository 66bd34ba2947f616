"""What the generator may know about a face, computed from its crop.

Leak rule: inside `INNER_MASK` only averages over 16x16 px cells pass. Two crops that agree outside
the mask and in those averages, pose, expression and gaze give the very same feeds (tested).
"""

from __future__ import annotations

import numpy as np

from deid_ops.swap.contract import LIGHT_CELLS
from deid_ops.swap.crop import CROP_SIZE_PX, INNER_MASK
from deid_ops.swap.retarget import FaceShape, retarget
from deid_ops.types import F32, U8

CELL_PX = CROP_SIZE_PX // LIGHT_CELLS


def to_planes(crops_bgr: U8) -> F32:
    """Turn crops [n, 128, 128, 3] BGR uint8 into [n, 3, 128, 128] RGB in [0, 1]."""
    planes = crops_bgr[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(planes / np.float32(255.0))


def to_bgr(planes_rgb: F32) -> U8:
    """Turn [n, 3, 128, 128] RGB in [0, 1] into crops [n, 128, 128, 3] BGR uint8."""
    codes = np.clip(np.rint(planes_rgb * 255.0), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(codes.transpose(0, 2, 3, 1)[..., ::-1])


def surroundings_of(planes_rgb: F32) -> F32:
    """Blank everything inside the mask."""
    return np.where(INNER_MASK, np.float32(0.0), planes_rgb).astype(np.float32)


def light_of(planes_rgb: F32) -> F32:
    """Average over the cells: [n, 3, 8, 8]."""
    n = len(planes_rgb)
    cells = planes_rgb.reshape(n, 3, LIGHT_CELLS, CELL_PX, LIGHT_CELLS, CELL_PX)
    return np.asarray(cells.mean(axis=(3, 5), dtype=np.float64), dtype=np.float32)


def prepare_conditions(
    planes_rgb: F32,
    shape: FaceShape,
    points_px: F32,
    pose_deg: F32,
    expression: F32,
    anchors_unit: F32,
) -> dict[str, F32]:
    """Return the generator's feeds by input name.

    Args:
        planes_rgb: [n, 3, 128, 128] the original crops, RGB in [0, 1].
        shape: the mean face.
        points_px: [n, 136, 2] the person's landmarks; only place and gaze are used.
        pose_deg: [n, 3].
        expression: [n, 52].
        anchors_unit: [n, 128] identities to paint.
    """
    return {
        "surroundings_rgb": surroundings_of(planes_rgb),
        "light_rgb": light_of(planes_rgb),
        "points_px": retarget(shape, points_px, pose_deg, expression),
        "anchor_unit": unit_rows(anchors_unit),
    }


def unit_rows(vectors: F32) -> F32:
    """Scale each row to unit length; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
