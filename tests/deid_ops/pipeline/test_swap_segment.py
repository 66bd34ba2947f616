"""Swapping a segment: which faces are painted, with what, in which order."""

import doctest

import numpy as np
import pytest
from made_tracks import tracks_with

from deid_ops.pipeline import smooth
from deid_ops.pipeline.smooth import Neighbours
from deid_ops.pipeline.swap import swap_segment
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import TEMPLATE_PX

POINTS = np.float32([[-9, -9], [9, -9], [0, 0], [-7, 9], [7, 9]])
ANCHORS = np.eye(2, 128, dtype=np.float32)


def tracks_of(boxes):
    """`boxes`: (frame, track, x) of faces 40 px below the top."""
    frame, track, x = (np.array(column) for column in zip(*boxes, strict=True))
    marks = POINTS + np.stack([x, np.full(len(x), 40)], axis=1)[:, None]
    return tracks_with(frame, track, marks, 18)


class Painter:
    """Reads a crop's brightness as its conditions, paints the anchor's number, 1 px off."""

    def __init__(self):
        self.batches = []
        self.told = []

    def find_points(self, crops):
        return np.tile(TEMPLATE_PX, (len(crops), 1, 1))

    def read(self, crops):
        told = FaceConditions.blank(len(crops))
        told.detail_rms[:] = crops.mean(axis=(1, 2, 3))[:, None]
        return told

    def missed_px(self, crops, wanted, told, anchors, crop_from_frame):
        assert len(crops) == len(wanted) == len(told) == len(anchors)
        return wanted.points_px + 1 - told.points_px

    def __call__(self, crops, conditions, anchors):
        self.batches.append(len(crops))
        self.told.append(conditions.points_px)
        return (
            np.full_like(crops, 10)
            * (1 + anchors.argmax(axis=1)).astype(np.uint8)[:, None, None, None]
        )


def flat(index):
    """Frame `index` is grey `10 * index`."""
    return np.full((80, 160, 3), 10 * index, np.uint8)


def embed(image, points):
    return np.repeat(image[:1, 0, :1].astype(np.float32), len(points), axis=0)


def swap(tracks, rows, frames, batch_faces=32):
    painter = Painter()
    numbered = ((i, flat(i)) for i in frames)
    swapped = swap_segment(numbered, tracks, np.int32(rows), ANCHORS, painter, embed, batch_faces)
    return swapped, painter


@pytest.mark.parametrize("batch_faces", [1, 2, 3, 32])
def test_every_face_is_painted_once_whatever_the_batch(batch_faces):
    tracks = tracks_of([(f, t, 30 + 60 * t) for f in range(7) for t in (0, 1)])
    swapped, painter = swap(tracks, np.arange(14), range(7), batch_faces)
    assert swapped.crops.row.tolist() == list(range(14))
    assert sum(painter.batches) == 14
    assert (swapped.crops.crops_bgr[:, 0, 0, 0] == np.tile([10, 20], 7)).all()
    assert swapped.judge_original[:, 0].tolist() == [10 * f for f in range(7) for _ in (0, 1)]
    # brightness grows evenly: the mean over neighbours is the frame's own, but at the ends
    told = swapped.conditions.detail_rms[::2, 0]
    assert told == pytest.approx([10 / 3, 10, 20, 30, 40, 50, 60 - 10 / 3], abs=1e-4)
    # the faces are painted from aimed conditions, and these go on to the diffusion
    told = np.concatenate(painter.told)
    assert told == pytest.approx(0.96)
    assert np.array_equal(np.sort(swapped.conditions.points_px, 0), np.sort(told, 0))


def test_the_guards_see_originals_where_the_painter_found_them():
    """A detector's points are off on tilted heads; the crop is cut by better ones."""
    tracks = tracks_of([(f, 0, 30) for f in range(3)])
    looked_at = []

    def look(crop, points):
        looked_at.append((crop.shape, points))
        return embed(crop, points)

    numbered = ((i, flat(i)) for i in range(3))
    swap_segment(numbered, tracks, np.arange(3, dtype=np.int32), ANCHORS, Painter(), look, 1)
    assert [shape for shape, _ in looked_at] == [(128, 128, 3)] * 3
    assert all(np.array_equal(points, TEMPLATE_PX[None]) for _, points in looked_at)


def test_rows_that_are_not_wanted_are_left_alone():
    tracks = tracks_of([(0, 0, 30), (0, 1, 90), (1, 0, 30), (1, 1, 90)])
    swapped, _ = swap(tracks, [1, 2], range(2))
    assert swapped.crops.row.tolist() == [1, 2]
    assert swapped.conditions.detail_rms[:, 0].tolist() == [0, 10]  # nobody is a neighbour


def test_faces_of_frames_that_never_came_are_not_replaced():
    tracks = tracks_of([(f, 0, 30) for f in range(5)])
    swapped, painter = swap(tracks, range(5), [0, 1, 3], batch_faces=1)
    assert swapped.crops.row.tolist() == [0, 1, 3]
    assert sum(painter.batches) == 3
    assert len(swap(tracks, range(5), [])[0].crops) == 0


def test_steady_motion_is_followed_and_jitter_is_not():
    still = tracks_of([(f, 0, 40) for f in range(9)])
    moving = tracks_of([(f, 0, 40 + 3 * f) for f in range(9)])
    shaking = tracks_of([(f, 0, 40 + (f % 2)) for f in range(9)])

    def centres(tracks):
        """Where the crops' middle lies in the frame, x."""
        matrices = swap(tracks, range(9), range(9))[0].crops.crop_from_frame
        return np.array([np.linalg.solve(m[:, :2], [63.5, 66] - m[:, 2])[0] for m in matrices])

    assert np.ptp(centres(still)) < 1e-3
    assert np.diff(centres(moving)) == pytest.approx(np.full(8, 3.0), abs=1e-3)
    assert np.abs(np.diff(centres(shaking)))[2:-2].max() < 1e-3


def test_doc_examples_hold():
    result = doctest.testmod(smooth)
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_neighbours_are_found_in_any_order():
    found = Neighbours.of(np.int32([3, 3, 3]), np.int32([6, 4, 5]))
    assert (found.before.tolist(), found.after.tolist()) == ([2, -1, 1], [-1, 2, 0])
