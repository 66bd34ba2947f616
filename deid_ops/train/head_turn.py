"""Turn a head in a picture out of the plane, for networks that must read turned heads.

Portraits look into the camera. Their landmarks are known in space, so a head can be turned a
little and the picture drawn along; a teacher that looks at the result says what it shows.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.retarget import rotation_matrices
from deid_ops.types import F32, U8

_CELLS = 16  # the displacement is computed at this many places a side
_BORDER_POINTS = 8  # a side, which stay
_NEAR_PX2 = 4.0  # squared distance within which a landmark is followed


def turn(crop: U8, mesh_xyz_px: F32, rng: np.random.Generator, most_deg: float) -> U8:
    """Turn a head: to the side, up or down.

    The landmarks are turned in space, and the picture is drawn along with their shadows on the
    plane. What a turned head would uncover is not known, so the turn is to be a modest one.

    Args:
        crop: [128, 128, 3].
        mesh_xyz_px: [k, 3] landmarks in crop pixels, z away from the camera.
        rng: draws the angles.
        most_deg: about either axis.
    """
    pitch, yaw = rng.uniform(-most_deg, most_deg, 2)
    rotation = rotation_matrices(np.array([[0.0, pitch, yaw]], dtype=np.float32))[0]
    centre = mesh_xyz_px.mean(axis=0)
    turned = (mesh_xyz_px - centre) @ rotation.T + centre
    return drawn_along(crop, mesh_xyz_px[:, :2], turned[:, :2])


def drawn_along(crop: U8, from_px: F32, to_px: F32) -> U8:
    """Draw a picture [128, 128, 3] so that its points [k, 2] come to lie elsewhere.

    Between them, and towards the border, which stays, their moves are averaged by distance
    (Shepard 1968).
    """
    edge = np.linspace(0, CROP_SIZE_PX - 1, _BORDER_POINTS, dtype=np.float32)
    near, far = np.zeros_like(edge), np.full_like(edge, CROP_SIZE_PX - 1)
    border = np.concatenate(
        [np.stack(side, 1) for side in ((edge, near), (edge, far), (near, edge), (far, edge))]
    )
    known = np.concatenate([to_px, border])
    moves = np.concatenate([to_px - from_px, np.zeros_like(border)])
    places = np.linspace(0, CROP_SIZE_PX - 1, _CELLS, dtype=np.float32)
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
    weight = 1.0 / (np.square(grid - known).sum(axis=2) + _NEAR_PX2) ** 2
    field = (weight @ moves / weight.sum(axis=1, keepdims=True)).reshape(_CELLS, _CELLS, 2)
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    field = cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(*[np.arange(CROP_SIZE_PX, dtype=np.float32)] * 2)
    maps = (x - field[..., 0], y - field[..., 1])
    new = cv2.remap(crop, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(new, dtype=np.uint8)
