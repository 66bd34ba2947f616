"""Retargeting keeps pose, expression, gaze and place, and drops the person's own shape."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.errors import SetupError
from deid_ops.swap.layout import GROUP_NAMES, N_POINTS, group_slice
from deid_ops.swap.retarget import (
    LENGTH_LIMIT,
    FaceShape,
    face_length,
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
    return FaceShape(mean, basis)


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


def _in_view(pose: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nkj->nki", rotation_matrices(pose), xyz)[..., :2]


def test_own_shape_is_dropped_but_for_its_length(shape: FaceShape) -> None:
    """Whoever is drawn, the drawing is the mean face, made longer or shorter, moved and scaled."""
    rng = np.random.default_rng(5)
    pose = rng.uniform(-20, 20, (4, 3)).astype(np.float32)
    expression = rng.random((4, 52)).astype(np.float32)
    own = np.ones(N_POINTS, dtype=bool)
    own[group_slice("left_iris")] = own[group_slice("right_iris")] = False
    bent = shape.mean_xyz + np.tensordot(expression, shape.basis_xyz, axes=1)
    mean, longer = (
        _as_complex(_in_view(pose, xyz)[:, own]) for xyz in (bent, bent * (-0.5, 0.5, 0.0))
    )
    person = _points(shape, pose, expression)
    lengths = []
    for _ in range(3):
        person[:, own] += rng.normal(0, 5, person[:, own].shape).astype(np.float32)
        drawings = _as_complex(retarget(shape, person, pose, expression)[:, own])
        for drawing, plain, added in zip(drawings, mean, longer, strict=True):
            # nothing else of the shape went through
            design = np.stack([plain, added, np.ones_like(plain)], axis=1)
            weights, *_ = np.linalg.lstsq(design, drawing)
            assert np.abs(design @ weights - drawing).max() < 1e-2
            length = weights[1] / weights[0]
            assert abs(length.imag) < 1e-3
            assert abs(length.real) <= LENGTH_LIMIT + 1e-3
            lengths.append(length.real)
    assert np.ptp(lengths) > 0.01


@pytest.mark.parametrize(("true", "told"), [(0.1, 0.1), (-0.06, -0.06), (0.4, LENGTH_LIMIT)])
def test_the_length_of_a_face_is_found_and_limited(
    shape: FaceShape, true: float, told: float
) -> None:
    pose = np.random.default_rng(7).uniform(-20, 20, (6, 3)).astype(np.float32)
    bent = np.repeat(shape.mean_xyz[None], 6, axis=0)
    mean, longer = (_in_view(pose, xyz) for xyz in (bent, bent * np.float32([-0.5, 0.5, 0.0])))
    person = np.asarray(30.0 * (mean + true * longer) + 64.0, dtype=np.float32)
    assert np.allclose(face_length(mean, longer, person), told, atol=0.01)


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
        FaceShape(shape.mean_xyz[:5], shape.basis_xyz)
