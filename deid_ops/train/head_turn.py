"""Turn a head in a picture out of the plane, for networks that must read or paint turned heads.

Portraits look into the camera. Their landmarks are known in space, so a head can be turned a
little and the picture drawn along. A teacher that looks at the result says what it shows; a painter
is told the turned landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.retarget import rotation_matrices
from deid_ops.types import F32, U8

MESH_STEP = 4  # of a teacher's 478 landmarks, every so many are enough to draw a head along
_CELLS = 16  # the displacement is computed at this many places a side
_BORDER_POINTS = 8  # a side, which stay
_DEEPEST = 0.95  # share of the landmarks that lie nearer than the middle between the ears
_EDGE = 0.3  # cosine over which the head's edge is soft
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
    return drawn_along(crop, mesh_xyz_px, turned_head(mesh_xyz_px, rng, most_deg))


@dataclass(frozen=True, slots=True)
class TurnedHead:
    """Landmarks after a turn."""

    mesh_xyz_px: F32  # [k, 3]
    in_view: F32  # [k] 1 facing the camera, 0 behind the head's edge

    def every(self, step: int) -> TurnedHead:
        """Return every so many of the landmarks."""
        return TurnedHead(self.mesh_xyz_px[::step], self.in_view[::step])


def turned_head(mesh_xyz_px: F32, rng: np.random.Generator, most_deg: float) -> TurnedHead:
    """Turn landmarks [k, 3] about their centre, up to `most_deg` about either axis.

    What the camera sees is told by a ball: its centre lies between the ears, the deepest points.
    """
    pitch, yaw = rng.uniform(-most_deg, most_deg, 2)
    rotation = rotation_matrices(np.array([[0.0, pitch, yaw]], dtype=np.float32))[0]
    centre = mesh_xyz_px.mean(axis=0)
    ball = np.array([*centre[:2], np.quantile(mesh_xyz_px[:, 2], _DEEPEST)], dtype=np.float32)
    outwards = (mesh_xyz_px - ball) @ rotation.T
    facing = -outwards[:, 2] / np.maximum(np.linalg.norm(outwards, axis=1), 1e-6)
    return TurnedHead(
        np.asarray((mesh_xyz_px - centre) @ rotation.T + centre, dtype=np.float32),
        np.asarray(np.clip(facing / _EDGE + 0.5, 0.0, 1.0), dtype=np.float32),
    )


def drawn_along(picture: U8, mesh_xyz_px: F32, head: TurnedHead) -> U8:
    """Draw a picture [128, 128, c] so that its landmarks [k, 3] come to lie where a turn puts them.

    Between them, and towards the border, which stays, their moves are averaged by distance
    (Shepard 1968). What has gone behind the head's edge counts no longer: there two layers with
    different moves lie at one place, and their average is a dent in a cheek.
    """
    to_px = head.mesh_xyz_px[:, :2]
    edge = np.linspace(0, CROP_SIZE_PX - 1, _BORDER_POINTS, dtype=np.float32)
    near, far = np.zeros_like(edge), np.full_like(edge, CROP_SIZE_PX - 1)
    border = np.concatenate(
        [np.stack(side, 1) for side in ((edge, near), (edge, far), (near, edge), (far, edge))]
    )
    known = np.concatenate([to_px, border])
    moves = np.concatenate([to_px - mesh_xyz_px[:, :2], np.zeros_like(border)])
    counts = np.concatenate([head.in_view, np.ones(len(border), dtype=np.float32)])
    places = np.linspace(0, CROP_SIZE_PX - 1, _CELLS, dtype=np.float32)
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
    weight = counts / (np.square(grid - known).sum(axis=2) + _NEAR_PX2) ** 2
    field = (weight @ moves / weight.sum(axis=1, keepdims=True)).reshape(_CELLS, _CELLS, 2)
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    field = cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(*[np.arange(CROP_SIZE_PX, dtype=np.float32)] * 2)
    maps = (x - field[..., 0], y - field[..., 1])
    new = cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(new, dtype=np.uint8)
