"""Geometry: the matrices do what their names say, and the doc examples hold."""

import doctest

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops import geometry as g
from deid_ops.errors import InvariantError


def test_doc_examples_hold():
    result = doctest.testmod(g)
    assert result.attempted >= 8
    assert result.failed == 0


@given(
    angle=st.floats(-np.pi, np.pi),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_similarity_is_recovered(angle, scale, shift):
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = g.ARCFACE_TEMPLATE_112 @ (scale * rotation).T + np.array(shift)
    matrix = g.similarity_from_points(g.ARCFACE_TEMPLATE_112, moved)
    np.testing.assert_allclose(matrix[:, :2], scale * rotation, atol=1e-8 * max(scale, 1))
    np.testing.assert_allclose(g.transform_points(matrix, g.ARCFACE_TEMPLATE_112), moved, atol=1e-7)
    back = g.transform_points(g.invert_affine(matrix), moved)
    np.testing.assert_allclose(back, g.ARCFACE_TEMPLATE_112, atol=1e-7)


def test_similarity_is_least_squares_and_never_a_mirror():
    rng = np.random.default_rng(0)
    noisy = g.ARCFACE_TEMPLATE_112 * 2 + rng.normal(0, 3, (5, 2))
    best = g.similarity_from_points(g.ARCFACE_TEMPLATE_112, noisy)

    def cost(matrix):
        return ((g.transform_points(matrix, g.ARCFACE_TEMPLATE_112) - noisy) ** 2).sum()

    for _ in range(50):
        c, s = best[0, 0] + rng.normal(0, 0.05), best[1, 0] + rng.normal(0, 0.05)
        other = np.array([[c, -s, best[0, 2]], [s, c, best[1, 2]]])
        other[:, 2] += rng.normal(0, 1, 2)
        assert cost(other) > cost(best)
    mirrored = g.ARCFACE_TEMPLATE_112 * [-1, 1]
    assert np.linalg.det(g.similarity_from_points(g.ARCFACE_TEMPLATE_112, mirrored)[:, :2]) > 0


def test_batched_equals_single_and_collinear_points_work():
    rng = np.random.default_rng(1)
    marks = g.ARCFACE_TEMPLATE_112 + rng.normal(0, 4, (7, 5, 2))
    batch = g.crop_matrices(marks, g.arcface_template(256))
    for one, matrix in zip(marks, batch, strict=True):
        np.testing.assert_allclose(
            g.similarity_from_points(one, g.arcface_template(256)), matrix, atol=1e-9
        )
    line = np.array([[0.0, 0], [1, 0], [3, 0]])
    matrix = g.similarity_from_points(line, line[:, ::-1] * 2)  # x axis -> y axis, twice as long
    np.testing.assert_allclose(g.transform_points(matrix, line), line[:, ::-1] * 2, atol=1e-9)
    assert g.crop_matrices(np.zeros((0, 5, 2)), g.arcface_template(112)).shape == (0, 2, 3)


def test_coinciding_points_are_refused():
    with pytest.raises(InvariantError, match="coincide"):
        g.crop_matrices(np.full((1, 5, 2), 3.0), g.arcface_template(112))


def test_crop_matrix_matches_opencv_warp():
    frame = np.zeros((300, 400), np.float32)
    marks = g.arcface_template(112, zoom=0.7) * 1.5 + [100, 60]
    for x, y in marks:
        cv2.circle(frame, (round(x), round(y)), 3, 1.0, -1)
    matrix = g.crop_matrices(marks[None], g.arcface_template(160))[0]
    crop = cv2.warpAffine(frame, matrix, (160, 160))
    for x, y in g.arcface_template(160):
        assert crop[round(y), round(x)] > 0.9


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270, -90, -180])
def test_quarter_turns_move_points_as_pixels(rotation_deg):
    width, height = 7, 5
    image = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    turned = g.rotate_image(image, rotation_deg)
    points = np.array([(x, y) for y in range(height) for x in range(width)], float)
    moved = g.rotate_points(points, (width, height), rotation_deg)
    for (x, y), (u, v) in zip(points.astype(int), moved.astype(int), strict=True):
        assert image[y, x] == turned[v, u]
    back = g.rotate_points(moved, (turned.shape[1], turned.shape[0]), -rotation_deg)
    np.testing.assert_array_equal(back, points)


def test_odd_angles_are_refused():
    with pytest.raises(InvariantError, match="45"):
        g.quarter_turns(45)


def test_overlaps_of_disjoint_nested_and_empty_boxes():
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9]])
    b = np.array([[20, 20, 30, 30], [2, 2, 4, 4], [0, 0, 10, 10]])
    np.testing.assert_allclose(g.iou_matrix(a, b), [[0, 0.04, 1], [0, 0, 0]])
    np.testing.assert_allclose(g.covered_fraction_matrix(b, a)[:, 0], [0, 1, 1])
    assert g.iou_matrix(np.zeros((0, 4)), b).shape == (0, 3)


def test_transform_boxes_is_the_hull_of_the_corners():
    quarter = np.array([[0.0, -1, 10], [1, 0, 0]])
    np.testing.assert_allclose(g.transform_boxes(quarter, [[1, 2, 4, 3]]), [[7, 1, 8, 4]])
