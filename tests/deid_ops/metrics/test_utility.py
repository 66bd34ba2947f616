from dataclasses import replace

import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.metrics.attributes import rotation_from_euler
from deid_ops.metrics.utility import (
    attribute_figures,
    attributes_from_mesh,
    found_again_figure,
    psnr_outside_figure,
    reader_noise_figures,
)


def mesh(n=1, seed=0):
    points = np.random.default_rng(seed).uniform(-40, 40, (1, 478, 3))
    points[:, 33], points[:, 133] = (-30, -10, 0), (-12, -10, 0)
    points[:, 362], points[:, 263] = (12, -10, 0), (30, -10, 0)
    points[:, 468], points[:, 473] = (-21, -10, 0), (21, -10, 0)
    points[:, 10], points[:, 152] = (0, -45, 0), (0, 45, 0)
    return np.repeat(points, n, axis=0).astype(np.float32)


def attributes(points):
    n = len(points)
    return attributes_from_mesh(points, np.zeros((n, 52), np.float32), np.ones(n, np.float32))


def figures(before, after):
    found = attribute_figures(before, after, 35.0, "ours", "set", "mesh")
    return {f.metric: f.estimate for f in found}


def test_an_upright_mesh_looks_straight_ahead():
    a = attributes(mesh())
    assert a.rotation[0] == pytest.approx(np.eye(3), abs=1e-6)
    assert a.gaze_deg[0] == pytest.approx([0, 0], abs=1e-5)


@pytest.mark.parametrize("angles", [(0, 0, 20), (0, -15, 0), (30, 0, 0), (5, 10, -12)])
def test_a_turned_head_has_its_turn_as_pose_error(angles):
    rotation = rotation_from_euler(np.float32([angles]))[0]
    turned = mesh() @ rotation.T
    found = figures(attributes(mesh()), attributes(turned))
    cosine = (np.trace(rotation) - 1) / 2
    assert found["pose_error_deg"].value == pytest.approx(np.degrees(np.arccos(cosine)), abs=0.1)


def test_moved_irises_are_gaze_not_pose():
    looked = mesh(3)
    looked[:, [468, 473], 0] += 18 * 0.4 * np.sin(np.radians(10))
    found = figures(attributes(mesh(3)), attributes(looked))
    assert found["gaze_shift_deg"].value == pytest.approx(10, abs=0.05)
    assert found["pose_error_deg"].value == pytest.approx(0, abs=1e-3)


def test_shift_is_in_percent_of_the_eye_distance():
    found = figures(attributes(mesh(2)), attributes(mesh(2) + np.float32([3.5, 0, 0])))
    assert found["landmark_shift_percent"].value == pytest.approx(10, rel=1e-4)


class BrightestColumn:
    """Reads a mesh that follows the brightest column of a crop, in half of its scale."""

    name = "column"

    def __init__(self, follows):
        self.follows = follows

    def read(self, crops_bgr):
        columns = crops_bgr[:, 0, :, 0].argmax(axis=1) * 0.5 * self.follows
        moved = mesh(len(crops_bgr))
        moved[:, :, 0] += columns[:, None]
        return attributes(moved.astype(np.float32))

    def both_ways(self, crops_bgr):
        seen = self.read(crops_bgr)
        return seen, replace(seen, points_xy_px=seen.points_xy_px + np.float32([0, 0.5]))


@pytest.mark.parametrize(("follows", "percent"), [(1.0, 0.0), (0.0, 10.0)])
def test_a_reader_that_follows_the_face_has_no_noise(follows, percent):
    crops = np.full((2, 4, 256, 3), 9, np.uint8)
    crops[0, :, 100], crops[1, :, 30] = 200, 200
    found = list(reader_noise_figures(BrightestColumn(follows), crops, 0.5, 10.0, "set"))
    shift, mirrored = (f for f in found if f.metric == "landmark_shift_percent")
    assert (shift.subject, shift.bar, shift.estimate.n) == ("source_moved", None, 2)
    assert shift.estimate.value == pytest.approx(percent, abs=1e-3)
    assert (mirrored.subject, mirrored.bar, mirrored.estimate.n) == ("source_mirrored", None, 2)
    assert mirrored.estimate.value == pytest.approx(5.0, abs=1e-3)


def test_unreadable_outputs_are_counted_not_averaged():
    before, after = attributes(mesh(4)), attributes(mesh(4))
    after.present[:2] = False
    found = figures(before, after)
    assert found["attributes_readable"].value == 0.5
    assert found["expression_l2"].n == 2
    after.present[:] = False
    assert list(figures(before, after)) == ["attributes_readable"]


def test_found_again_counts_only_what_was_found_before():
    before, after = np.array([1, 1, 1, 0], bool), np.array([1, 0, 1, 1], bool)
    figure = found_again_figure(before, after, "ours", "set", "det")
    assert (figure.estimate.value, figure.estimate.n) == (pytest.approx(2 / 3), 3)
    with pytest.raises(InvariantError, match="det finds no face"):
        found_again_figure(np.zeros(2, bool), np.ones(2, bool), "ours", "set", "det")


def test_psnr_outside_sees_only_the_outside():
    image = np.full((20, 20, 3), 90, np.uint8)
    output, mask = image.copy(), np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    output[mask] = 0
    figure = psnr_outside_figure((image,), (output,), (mask,), "ours", "set")
    assert figure is not None
    assert figure.estimate.value == 100
    output[0, 0] = 0
    leaked = psnr_outside_figure((image,), (output,), (mask,), "ours", "set")
    assert leaked is not None
    assert leaked.estimate.value < 60
    everything = np.ones((20, 20), bool)
    assert psnr_outside_figure((image,), (output,), (everything,), "ours", "set") is None
