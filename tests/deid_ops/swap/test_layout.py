"""Partners on the other side of a face."""

from pathlib import Path

import numpy as np

from deid_ops.inference.session import Runtime
from deid_ops.swap.attributes import AttributeReader, read_face_shape
from deid_ops.swap.layout import (
    EXPRESSION_MIRROR,
    MESH_MIRROR,
    MESH_POINTS,
    N_EXPRESSION,
    POINT_MIRROR,
    mirrored_points,
)

WEIGHTS = Path(__file__).parents[3] / "configs" / "weights"


def test_partners_are_partners_of_each_other() -> None:
    for partner, n in ((MESH_MIRROR, MESH_POINTS), (EXPRESSION_MIRROR, N_EXPRESSION)):
        assert (partner[partner] == np.arange(n)).all()
        assert (np.sort(partner) == np.arange(n)).all()
    assert (np.arange(MESH_POINTS) == MESH_MIRROR).sum() == 28


def test_partners_lie_at_the_mirrored_place_of_the_mean_face() -> None:
    mean = read_face_shape(str(WEIGHTS / "attributes.onnx")).mean_xyz
    mirrored = mean[POINT_MIRROR] * np.float32([-1, 1, 1])
    apart = np.linalg.norm(mirrored[:, None] - mean[None], axis=2)
    assert (apart.argmin(axis=1) == np.arange(len(mean))).mean() > 0.97  # irises nearly coincide
    assert np.diagonal(apart).max() < 0.08  # of the eye distance


def test_mirrored_twice_is_not_mirrored() -> None:
    points = np.random.default_rng(0).uniform(0, 127, (3, len(POINT_MIRROR), 2)).astype("f4")
    there = mirrored_points(points, POINT_MIRROR, 128)
    assert np.allclose(there[0, POINT_MIRROR[5]], [127 - points[0, 5, 0], points[0, 5, 1]])
    assert np.allclose(mirrored_points(there, POINT_MIRROR, 128), points, atol=1e-4)


def test_the_mirror_image_of_a_face_is_read_as_the_mirror_image_of_its_reading() -> None:
    planes = np.random.default_rng(0).random((2, 3, 128, 128)).astype(np.float32)
    reader = AttributeReader(str(WEIGHTS / "attributes.onnx"), Runtime(threads=1))
    seen = reader.read(planes)
    expected, mirrored = seen.mirrored(), reader.read(np.ascontiguousarray(planes[..., ::-1]))
    for name in ("points_px", "pose_deg", "expression"):
        assert np.allclose(getattr(expected, name), getattr(mirrored, name), atol=2e-3), name
    one, other = reader.both_ways(planes)
    assert np.allclose(seen.points_px, (one.points_px + other.points_px) / 2, atol=1e-4)
    assert np.abs(one.points_px - other.points_px).mean() > 0.01
