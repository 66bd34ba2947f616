import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import InvariantError
from deid_ops.metrics.attributes import (
    expression_distance,
    landmark_shift_percent,
    pose_error_deg,
)


@given(st.integers(0, 2), st.floats(-170, 170))
def test_turn_about_one_axis_is_its_angle(axis, angle):
    pose = np.zeros((1, 3), np.float32)
    pose[0, axis] = angle
    error = float(pose_error_deg(np.zeros((1, 3), np.float32), pose)[0])
    assert error == pytest.approx(abs(angle), abs=0.05)


def test_small_errors_are_not_lost_to_rounding():
    pose = np.array([[10.0, -20.0, 30.0]], np.float32)
    assert float(pose_error_deg(pose, pose)[0]) < 0.05
    turned = pose + np.float32([0, 0, 0.5])
    assert float(pose_error_deg(pose, turned)[0]) == pytest.approx(0.5, abs=0.05)


def test_full_turns_are_the_same_pose():
    a = np.array([[179.0, 0, 0]], np.float32)
    b = np.array([[-179.0, 0, 0]], np.float32)
    assert float(pose_error_deg(a, b)[0]) == pytest.approx(2, abs=0.05)


def test_landmark_shift_is_relative_to_the_eyes():
    marks = np.random.default_rng(0).uniform(0, 50, (3, 5, 2)).astype(np.float32)
    eyes = np.array([50, 25, 100], np.float32)
    shift = landmark_shift_percent(marks, marks + np.float32([3, 4]), eyes)
    assert shift == pytest.approx([10, 20, 5], rel=1e-4)
    with pytest.raises(InvariantError, match="eye distance"):
        landmark_shift_percent(marks, marks, np.zeros(3, np.float32))


def test_expression_is_a_distance():
    assert expression_distance(np.zeros((2, 4)), np.ones((2, 4))) == pytest.approx([2, 2])
