"""What the painter misses is corrected along a track, eyes and lips in each frame."""

import numpy as np
import pytest

from deid_ops.swap.aim import GAIN, MEMORY_FACES, ROUNDS_KNOWN, ROUNDS_NEW, Aim, aim_each
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.layout import N_POINTS, group_slice

MOVING = np.zeros(N_POINTS, dtype=bool)
for _name in ("left_eye", "right_eye", "left_iris", "right_iris", "outer_lips", "inner_lips"):
    MOVING[group_slice(_name)] = True


class Painter:
    """Paints every landmark off by its anchor's first number, and by the crop's brightness."""

    def __init__(self):
        self.painted = 0

    def missed_px(self, crops, wanted, told, anchors):
        assert len(crops) == len(wanted) == len(told) == len(anchors)
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


def moved(told, read):
    return told.points_px - read.points_px


def test_a_new_track_is_aimed_at_until_little_is_left():
    crops, read, anchors = faces([3, 3, -2], [0, 0, 0])
    painter = Painter()
    told = Aim(painter)(crops, read, anchors, np.int32([4, 4, 9]))
    left = (1 - GAIN) ** ROUNDS_NEW
    assert moved(told, read)[:, 0, 0] == pytest.approx(np.float32([-3, -3, 2]) * (1 - left))
    assert painter.painted == 3 * ROUNDS_NEW
    assert (told.detail_rms == 7).all()


def test_a_known_track_costs_less_and_keeps_what_was_learnt():
    crops, read, anchors = faces([5, 5], [0, 0])
    painter = Painter()
    aim = Aim(painter)
    track = np.int32([0, 0])
    for _ in range(30):
        told = aim(crops, read, anchors, track)
    assert moved(told, read) == pytest.approx(-5.0, abs=0.01)
    assert painter.painted == 2 * (ROUNDS_NEW + 29 * ROUNDS_KNOWN)


def test_single_frames_move_eyes_and_lips_alone():
    """One bright frame in a long track: its face keeps its place, eyes and lips are aimed at."""
    aim = Aim(Painter())
    track = np.zeros(MEMORY_FACES, np.int32)
    aim(*faces(np.zeros(MEMORY_FACES), np.zeros(MEMORY_FACES)), track)
    crops, read, anchors = faces(np.zeros(MEMORY_FACES), [16, *[0] * (MEMORY_FACES - 1)])
    change = moved(aim(crops, read, anchors, track), read)
    bright, others = change[0], change[1:]
    common = -GAIN * 16 / MEMORY_FACES
    assert bright[~MOVING] == pytest.approx(common, abs=1e-4)
    assert others[:, ~MOVING] == pytest.approx(common, abs=1e-4)
    assert bright[MOVING] == pytest.approx(-GAIN * 16, abs=1e-4)
    assert others[:, MOVING] == pytest.approx(0.0, abs=1e-4)


def test_faces_without_a_track_are_aimed_at_each_for_itself():
    crops, read, anchors = faces([1, -4], [2, 0])
    told = aim_each(Painter(), crops, read, anchors)
    left = (1 - GAIN) ** ROUNDS_NEW
    assert moved(told, read)[:, 5, 1] == pytest.approx(np.float32([-3, 4]) * (1 - left))


def test_no_faces_are_no_work():
    crops, read, anchors = faces([], [])
    assert len(aim_each(Painter(), crops, read, anchors)) == 0
