"""Retargeting keeps pose, expression, gaze and place, and drops the person's own shape."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.errors import SetupError
from deid_ops.swap.layout import GROUP_NAMES, N_POINTS, group_slice
from deid_ops.swap.retarget import (
    FaceShape,
    gaze_offsets,
    pose_of_rotations,
    retarget,
    rotation_matrices,
)


@pytest.fixture
def shape() -> FaceShape:
    rng = np.random.default_rng(3)
    mean = rng.normal(0, 1, (N_POINTS, 3)).astype(np.float32)
    basis = rng.normal(0, 0.05, (52, N_POINTS, 3)).astype(np.float32)
    return FaceShape(mean, basis, np.arange(N_POINTS).astype(np.float32))


def _points(shape: FaceShape, pose: np.ndarray, expression: np.ndarray) -> np.ndarray:
    bent = shape.mean_xyz + np.tensordot(expression, shape.basis_xyz, axes=1)
    turned = np.einsum("nij,nkj->nki", rotation_matrices(pose), bent)[..., :2]
    return (20.0 * turned + 64.0).astype(np.float32)


def test_groups_cover_every_point_once() -> None:
    covered = [i for name in GROUP_NAMES for i in range(*group_slice(name).indices(N_POINTS))]
    assert covered == list(range(N_POINTS))


def test_pose_round_trip() -> None:
    rng = np.random.default_rng(0)
    pose = rng.uniform(-60, 60, (20, 3)).astype(np.float32)
    assert np.allclose(pose_of_rotations(rotation_matrices(pose)), pose, atol=1e-3)


def test_yaw_turns_the_nose_to_the_side() -> None:
    nose = np.array([0.0, 0.0, -1.0])  # towards the camera
    turned = rotation_matrices(np.array([[0.0, 0.0, 30.0]], np.float32))[0] @ nose
    assert turned[0] < -0.4
    assert abs(turned[1]) < 1e-6


def test_own_shape_is_dropped(shape: FaceShape) -> None:
    """Two persons who differ in shape get the same drawing, at another place and scale."""
    rng = np.random.default_rng(5)
    pose = rng.uniform(-20, 20, (4, 3)).astype(np.float32)
    expression = rng.random((4, 52)).astype(np.float32)
    first = _points(shape, pose, expression)
    second = first.copy()
    own = np.ones(N_POINTS, dtype=bool)
    own[group_slice("left_iris")] = own[group_slice("right_iris")] = False
    second[:, own] += rng.normal(0, 5, second[:, own].shape).astype(np.float32)
    drawings = [
        _as_complex(retarget(shape, points, pose, expression)[:, own]) for points in (first, second)
    ]
    for one, other in zip(*drawings, strict=True):
        # a similarity takes one to the other exactly: nothing of the shape went through
        design = np.stack([one, np.ones_like(one)], axis=1)
        similarity, *_ = np.linalg.lstsq(design, other)
        assert np.abs(design @ similarity - other).max() < 1e-2
        assert np.abs(one - other).max() > 0.05  # the place follows all points


def _as_complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0].astype(np.float64) + 1j * points[..., 1].astype(np.float64)


def test_place_and_gaze_are_kept(shape: FaceShape) -> None:
    rng = np.random.default_rng(6)
    pose = rng.uniform(-20, 20, (3, 3)).astype(np.float32)
    expression = rng.random((3, 52)).astype(np.float32)
    points = _points(shape, pose, expression)
    points[:, group_slice("left_iris")] += (3.0, -1.0)
    out = retarget(shape, points, pose, expression)
    own = np.ones(N_POINTS, dtype=bool)
    own[group_slice("left_iris")] = own[group_slice("right_iris")] = False
    assert np.allclose(out[:, own], points[:, own], atol=0.02)
    assert np.allclose(gaze_offsets(out), gaze_offsets(points), atol=2e-3)


def test_wrong_arrays_are_refused(shape: FaceShape) -> None:
    with pytest.raises(SetupError, match="mean_xyz"):
        FaceShape(shape.mean_xyz[:5], shape.basis_xyz, shape.mirror)
