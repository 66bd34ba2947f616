"""What the painter misses is corrected along a track, eyes and lips in each frame."""

import numpy as np
import pytest

from deid_ops.swap.aim import GAIN, MEMORY_FACES, ROUNDS, Aim, aim_each
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.layout import N_POINTS, group_slice

LEFT = (1 - GAIN) ** ROUNDS
MOVING = np.zeros(N_POINTS, dtype=bool)
for _name in ("left_eye", "right_eye", "left_iris", "right_iris", "outer_lips", "inner_lips"):
    MOVING[group_slice(_name)] = True


class Painter:
    """Paints every landmark off by its anchor's first number, and by the crop's brightness."""

    def __init__(self):
        self.painted = 0

    def missed_px(self, crops, wanted, told, anchors, crop_from_frame):
        assert len(crops) == len(wanted) == len(told) == len(anchors) == len(crop_from_frame)
        self.painted += len(crops)
        off = anchors[:, 0] + crops.mean(axis=(1, 2, 3))
        return (wanted.points_px - told.points_px - off[:, None, None]).astype(np.float32)


def faces(off, brightness):
    n = len(off)
    crops = np.ones((n, 128, 128, 3), np.uint8) * np.uint8(brightness)[:, None, None, None]
    anchors = np.zeros((n, 128), np.float32)
    anchors[:, 0] = off
    read = FaceConditions.blank(n)
    read.points_px[:] = np.arange(n, dtype=np.float32)[:, None, None]
    read.detail_rms[:] = 7.0
    return crops, read, anchors


def places(n):
    return np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))


def moved(told, read):
    return told.points_px - read.points_px


def test_a_new_track_is_aimed_at_until_little_is_left():
    crops, read, anchors = faces([3, 3, -2], [0, 0, 0])
    painter = Painter()
    told = Aim(painter)(crops, read, anchors, places(3), np.int32([4, 4, 9]))
    assert moved(told, read)[:, 0, 0] == pytest.approx(np.float32([-3, -3, 2]) * (1 - LEFT))
    assert painter.painted == 3 * ROUNDS
    assert (told.detail_rms == 7).all()


def test_single_frames_move_eyes_and_lips_alone():
    """One bright frame in a long track: eyes and lips follow it, the rest its track."""
    dark = [0] * (MEMORY_FACES - 1)
    crops, read, anchors = faces([0] * MEMORY_FACES, [*dark, 16])
    track = np.zeros(MEMORY_FACES, np.int32)
    change = moved(Aim(Painter())(crops, read, anchors, places(len(crops)), track), read)
    own = -16 * (1 - LEFT)
    assert change[:-1] == pytest.approx(0.0)
    assert change[-1, MOVING] == pytest.approx(own, rel=1e-5)
    assert change[-1, ~MOVING] == pytest.approx(own / MEMORY_FACES, rel=1e-5)


def test_a_tracks_average_outlives_its_batch_and_forgets():
    aim, track = Aim(Painter()), np.int32([0])
    for off, times in ((4, 1), (0, 1)):
        for _ in range(times):
            crops, read, anchors = faces([off], [0])
            change = moved(aim(crops, read, anchors, places(1), track), read)
    assert change[0, ~MOVING] == pytest.approx(-2 * (1 - LEFT), rel=1e-5)  # the mean of 4 and 0
    assert change[0, MOVING] == pytest.approx(0.0)
    for _ in range(10 * MEMORY_FACES):
        change = moved(aim(crops, read, anchors, places(1), track), read)
    assert change == pytest.approx(0.0, abs=1e-4)


def test_faces_without_a_track_are_aimed_at_each_for_itself():
    crops, read, anchors = faces([1, -4], [2, 0])
    told = aim_each(Painter(), crops, read, anchors, places(len(crops)))
    assert moved(told, read)[:, 5, 1] == pytest.approx(np.float32([-3, 4]) * (1 - LEFT))


def test_no_faces_are_no_work():
    crops, read, anchors = faces([], [])
    assert len(aim_each(Painter(), crops, read, anchors, places(len(crops)))) == 0
