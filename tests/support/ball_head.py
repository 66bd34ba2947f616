"""A head as simple as can be: a ball's front with the landmarks of a face on it."""

from __future__ import annotations

import numpy as np

from deid_ops.swap.layout import MESH_POINTS, OUTLINE
from deid_ops.types import F32

CENTRE_PX, RADIUS_PX = 64.0, 40.0
_PLACES = {  # of eye corners, nose and mouth corners, in radii
    33: (-0.55, -0.3),
    133: (-0.2, -0.3),
    362: (0.2, -0.3),
    263: (0.55, -0.3),
    4: (0.0, 0.05),
    61: (-0.3, 0.45),
    291: (0.3, 0.45),
}


def ball_head() -> F32:
    """Return landmarks [478, 3] in crop pixels: the face's outline is the ball's edge."""
    index = np.arange(MESH_POINTS)
    radius, angle = 0.97 * np.sqrt(index / MESH_POINTS), index * np.pi * (3.0 - np.sqrt(5.0))
    xy = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    around = np.deg2rad(np.arange(len(OUTLINE)) * 360.0 / len(OUTLINE))
    xy[list(OUTLINE)] = np.stack([np.sin(around), -np.cos(around)], axis=1)
    xy[list(_PLACES)] = list(_PLACES.values())
    z = -np.sqrt(np.clip(1.0 - np.square(xy).sum(axis=1, keepdims=True), 0.0, 1.0))
    return (CENTRE_PX + RADIUS_PX * np.concatenate([xy, z], axis=1)).astype(np.float32)
