"""Fit the mean face and its expression basis to the teacher's meshes; label head pose.

Method: generalised Procrustes analysis over the rigid points (rotation, scale, place of each
mesh to the current mean, then the mean again), after which every aligned mesh is explained as
mean + coefficients x basis by ridge regression. What the regression cannot explain is the person,
and is left out; that is the point of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.swap.layout import MESH_INDEX, N_POINTS, position_of
from deid_ops.swap.retarget import FaceShape, pose_of_rotations
from deid_ops.types import F32

Floats = npt.NDArray[np.floating[Any]]
ROUNDS = 4
RIDGE = 3.0
# Points that hardly move with expression: eye corners, nose, the upper contour.
RIGID_POINTS = tuple(
    position_of(i)
    for i in (
        *(33, 133, 263, 362, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327),
        *(10, 297, 284, 389, 162, 54, 67, 454, 234),
    )
)


def align_rotations(mesh_xyz: Floats, mean_xyz: Floats) -> tuple[F32, F32]:
    """Find each mesh's rotation against the mean and undo it.

    Args:
        mesh_xyz: [n, k, 3] image-frame points.
        mean_xyz: [k, 3] canonical points.

    Returns:
        `(rotation [n, 3, 3], aligned [n, k, 3])`: rotation turns canonical into image; aligned is
        the mesh in the canonical frame and scale (Kabsch 1976, over `RIGID_POINTS`).
    """
    rigid = list(RIGID_POINTS)
    target_centre = mean_xyz[rigid].mean(0)
    target = mean_xyz[rigid] - target_centre
    centre = mesh_xyz[:, rigid].mean(1, keepdims=True)
    source = mesh_xyz[:, rigid] - centre
    u, s, vt = np.linalg.svd(np.einsum("nki,kj->nij", source, target))
    sign = np.sign(np.linalg.det(u @ vt))
    fix = np.ones((len(u), 3))
    fix[:, 2] = sign
    rotation = (u * fix[:, None, :]) @ vt
    scale = (s * fix).sum(-1) / np.maximum((source**2).sum((1, 2)), 1e-9)
    turned = np.einsum("nij,nki->nkj", rotation, mesh_xyz - centre) * scale[:, None, None]
    return rotation.astype(np.float32), (turned + target_centre).astype(np.float32)


def fit_shape(mesh_xyz_px: F32, expression: F32) -> FaceShape:
    """Fit the mean face.

    Args:
        mesh_xyz_px: [n, 478, 3] teacher meshes.
        expression: [n, 52] teacher coefficients.
    """
    points = mesh_xyz_px[:, list(MESH_INDEX)].astype(np.float64)
    mean = points.mean(0)
    for _ in range(ROUNDS):
        _, aligned = align_rotations(points, _normalise(mean))
        mean = aligned.mean(0)
    mean = _normalise(mean)
    _, aligned = align_rotations(points, mean)
    design = np.concatenate([np.ones((len(points), 1)), expression], 1).astype(np.float64)
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    weights = np.linalg.solve(
        design.T @ design + penalty, design.T @ aligned.reshape(len(points), -1)
    ).reshape(-1, N_POINTS, 3)
    return FaceShape(weights[0].astype(np.float32), weights[1:].astype(np.float32))


def layout_points(mesh_xyz_px: F32) -> F32:
    """Return the landmarks of this project [n, 136, 2] out of the teacher's meshes [n, 478, 3]."""
    return np.ascontiguousarray(mesh_xyz_px[:, list(MESH_INDEX), :2])


def pose_labels(mesh_xyz_px: F32, shape: FaceShape, expression: F32) -> F32:
    """Return (roll, pitch, yaw) in degrees [n, 3] of the teacher's meshes.

    The mean is bent by each face's expression on average only: the rigid points hardly move.
    """
    mean = shape.mean_xyz + np.tensordot(expression.mean(0), shape.basis_xyz, axes=1)
    points = mesh_xyz_px[:, list(MESH_INDEX)]
    return pose_of_rotations(align_rotations(points, mean)[0])


def _normalise(mean: Floats) -> Floats:
    """Centre between the eyes, eye distance one, eyes level and the face frontal on average."""
    left = mean[[position_of(33), position_of(133)]].mean(0)
    right = mean[[position_of(263), position_of(362)]].mean(0)
    out = (mean - 0.5 * (left + right)) / np.linalg.norm(right - left)
    return np.asarray(out)
