"""Move a person's pose, expression and gaze onto the mean face, and next to nothing else.

Dense landmarks carry the geometry of a face, which identifies. What the generator is told is
therefore drawn anew: the mean three-dimensional face, bent by 52 expression coefficients, turned
by the head pose, moved and scaled into place, with the irises where the person looks. One number
of the person's shape passes: how long the face is for its width. Hair and jaw around the mask show
it anyway; without it a long face's landmarks are 3.4 to 3.9 % of the eye distance off, with it 1.6
to 2.1 (the teachers' own reading of two clips).

Convention
    Canonical frame: x to the right of the image, y down, z away from the camera; unit: one mean
    eye distance; origin between the eyes. Pose (roll, pitch, yaw) in degrees turns the canonical
    face into the image: R = Rz(roll) Rx(pitch) Ry(yaw). Projection is orthographic.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.errors import SetupError
from deid_ops.swap.layout import N_EXPRESSION, N_POINTS, group_slice, position_of
from deid_ops.types import F32

# Corners (outer, inner) of each eye in mesh numbering, and its iris group.
EYES = ((33, 133, "left_iris"), (263, 362, "right_iris"))


def _place_weights() -> F32:
    """Return [136] how much each point counts when the mean face is placed.

    All but the irises, which look about: by eyes and nose alone the whole face was a half per cent
    of the eye distance further off (LFW 3.5 against 2.9 %, the eyes themselves no nearer). The
    contour counts half, it is read less well.
    """
    weights = np.ones(N_POINTS, dtype=np.float32)
    weights[group_slice("contour")] = 0.5
    weights[group_slice("left_iris")] = weights[group_slice("right_iris")] = 0.0
    return np.asarray(weights / weights.sum(), dtype=np.float32)


_PLACE_WEIGHTS = _place_weights()
POSE_MIRROR = np.array([-1.0, 1.0, -1.0], dtype=np.float32)  # what a mirror does to each angle
# Of the natural logarithm of length to width; among people it has a standard deviation of 0.05.
LENGTH_LIMIT = 0.15
_LENGTHEN = np.array([-0.5, 0.5, 0.0], dtype=np.float32)  # of each axis, a unit of that logarithm
_LENGTH_RIDGE = 0.003  # squared eye distances a unit squared: what is hardly seen is not told
_LENGTH_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class FaceShape:
    """The mean face and how expression bends it.

    Attributes:
        mean_xyz: [136, 3], expression coefficients at zero.
        basis_xyz: [52, 136, 3], displacement for each coefficient at one.
    """

    mean_xyz: F32
    basis_xyz: F32

    def __post_init__(self) -> None:
        """Compare the shapes."""
        if self.mean_xyz.shape != (N_POINTS, 3):
            raise SetupError(f"FaceShape: mean_xyz is {self.mean_xyz.shape}")
        if self.basis_xyz.shape != (N_EXPRESSION, N_POINTS, 3):
            raise SetupError(f"FaceShape: basis_xyz is {self.basis_xyz.shape}")

    @classmethod
    def load(cls, path: Path) -> FaceShape:
        """Read `face_shape.npz`.

        Raises:
            SetupError: there is no such file.
        """
        if not path.is_file():
            raise SetupError(f"{path}: the mean face is missing; run `deid train attributes`")
        with np.load(path, allow_pickle=False) as data:
            return cls(data["mean_xyz"], data["basis_xyz"])

    def save(self, path: Path, meta: dict[str, Any]) -> None:
        """Write `face_shape.npz`, with `meta` as JSON text."""
        np.savez_compressed(
            path,
            mean_xyz=self.mean_xyz.astype(np.float32),
            basis_xyz=self.basis_xyz.astype(np.float32),
            meta=np.array(json.dumps(meta)),
        )


def rotation_matrices(pose_deg: F32) -> F32:
    """Return R [n, 3, 3] of poses [n, 3] (roll, pitch, yaw).

    Example:
        >>> rotation_matrices(np.zeros((1, 3), np.float32))[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    roll, pitch, yaw = np.deg2rad(np.asarray(pose_deg, dtype=np.float64)).T
    zero, one = np.zeros_like(roll), np.ones_like(roll)
    cz, sz, cx, sx = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch)
    cy, sy = np.cos(yaw), np.sin(yaw)
    rz = np.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    rx = np.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx], -1).reshape(-1, 3, 3)
    ry = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    return np.asarray(rz @ rx @ ry + 0.0, dtype=np.float32)


def pose_of_rotations(rotation: F32) -> F32:
    """Return (roll, pitch, yaw) in degrees [n, 3] of rotations [n, 3, 3]."""
    pitch = np.arcsin(np.clip(rotation[:, 2, 1], -1.0, 1.0))
    yaw = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    roll = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    return np.asarray(np.rad2deg(np.stack([roll, pitch, yaw], -1)), dtype=np.float32)


def gaze_offsets(points_px: F32) -> F32:
    """Return where each iris centre lies in its eye [n, 2, 2].

    The first axis runs along the line from the eye's outer to its inner corner, the second across
    it; both in eye widths, from the middle of the corners.
    """
    offsets = []
    for outer, inner, iris in EYES:
        a, b = points_px[:, position_of(outer)], points_px[:, position_of(inner)]
        offset = points_px[:, group_slice(iris)].mean(axis=1) - 0.5 * (a + b)
        offsets.append(_into_axis(offset, b - a))
    return np.asarray(np.stack(offsets, axis=1), dtype=np.float32)


def retarget(shape: FaceShape, points_px: F32, pose_deg: F32, expression: F32) -> F32:
    """Draw the mean face with a person's pose, expression, gaze, length and place.

    Args:
        shape: the mean face.
        points_px: [n, 136, 2] the person's own landmarks. They give the place (a similarity over
            all of them), the length of the face and the gaze; the rest of their shape is dropped.
        pose_deg: [n, 3].
        expression: [n, 52].

    Returns:
        [n, 136, 2] landmarks in crop pixels.
    """
    bent = shape.mean_xyz + np.tensordot(expression, shape.basis_xyz, axes=1)
    turned, longer = (
        np.einsum("nij,nkj->nki", rotation_matrices(pose_deg), xyz)[..., :2]
        for xyz in (bent, bent * _LENGTHEN)
    )
    length = face_length(turned, longer, points_px)
    placed = _placed(turned + length[:, None, None] * longer, points_px)
    return np.asarray(_place_irises(placed, gaze_offsets(points_px)), dtype=np.float32)


def face_length(turned: F32, longer: F32, target_px: F32) -> F32:
    """Return how long each face is for its width [n]: the logarithm against the mean face's.

    Least squares over place, size, turn and length at once, in rounds, because the similarity is
    of what the length has changed.

    Args:
        turned: [n, 136, 2] the mean face as the camera sees it, in eye distances.
        longer: [n, 136, 2] what a unit of length adds to it.
        target_px: [n, 136, 2] the person's landmarks.
    """
    length = np.zeros(len(turned), dtype=np.float32)
    t = _centred(_complex(target_px))
    for _ in range(_LENGTH_ROUNDS):
        s, d = _centred(_complex(turned + length[:, None, None] * longer)), _complex(longer)
        turn = _onto(s, t)
        fitted, moved = turn * s, _centred(turn * d)
        moved = moved - _onto(fitted, moved) * fitted  # what no similarity does
        size = np.abs(turn[:, 0]) ** 2  # px^2 in a squared eye distance
        pull = (_PLACE_WEIGHTS * (np.conj(moved) * (t - fitted)).real).sum(-1)
        power = (_PLACE_WEIGHTS * np.abs(moved) ** 2).sum(-1) + _LENGTH_RIDGE * size
        step = (pull - _LENGTH_RIDGE * size * length) / np.maximum(power, 1e-9)
        longest = np.clip(length + step, -LENGTH_LIMIT, LENGTH_LIMIT)
        length = np.asarray(longest, dtype=np.float32)
    return length


def _centred(points: Any) -> Any:
    return points - (_PLACE_WEIGHTS * points).sum(-1, keepdims=True)


def _onto(source: Any, target: Any) -> Any:
    """Return the complex factors [n, 1] that bring centred points nearest to others."""
    power = np.maximum((_PLACE_WEIGHTS * np.abs(source) ** 2).sum(-1, keepdims=True), 1e-9)
    return (_PLACE_WEIGHTS * np.conj(source) * target).sum(-1, keepdims=True) / power


def _placed(source: F32, target: F32) -> F32:
    """Move each face [n, 136, 2] by the similarity that brings it nearest to its target."""
    s, t = _centred(_complex(source)), _complex(target)
    moved = _onto(s, t) * s + (_PLACE_WEIGHTS * t).sum(-1, keepdims=True)
    return np.stack([moved.real, moved.imag], -1).astype(np.float32)


def _place_irises(points_px: F32, gaze: F32) -> F32:
    """Move both irises so that their centres have the given offsets; their size stays."""
    out = points_px.copy()
    for index, (outer, inner, iris) in enumerate(EYES):
        a, b = out[:, position_of(outer)], out[:, position_of(inner)]
        axis = _complex(b - a)
        wanted = 0.5 * _complex(a + b) + axis * _complex(gaze[:, index])
        part = group_slice(iris)
        shift = wanted - _complex(out[:, part].mean(axis=1))
        out[:, part] += np.stack([shift.real, shift.imag], -1)[:, None].astype(np.float32)
    return out


def _into_axis(vectors: F32, axis: F32) -> F32:
    quotient = _complex(vectors) / np.where(np.abs(_complex(axis)) < 1e-6, 1e-6, _complex(axis))
    return np.stack([quotient.real, quotient.imag], -1).astype(np.float32)


def _complex(points: F32) -> Any:
    return points[..., 0].astype(np.float64) + 1j * points[..., 1].astype(np.float64)
