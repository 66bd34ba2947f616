"""What judges say of tracks whose vectors are known."""

import doctest

import numpy as np
import pytest

from deid_ops.judge.calibration import FARS, Calibration, CalibrationRow, OperatingPoint
from deid_ops.pipeline import judging
from deid_ops.pipeline.judging import JudgedFaces
from deid_ops.types import BoxOrigin, FaceTracks

POINTS = tuple(OperatingPoint(far, 0.5, 1.0) for far in FARS)
ROW = CalibrationRow("judge", 24.0, 10**6, 10**3, 0.99, 0.01, 0.5, POINTS)
AXES = np.eye(3, dtype=np.float32)
BLANK = np.zeros((8, 8, 3), np.uint8)


def tracks(n_frames=2, n_tracks=3):
    n = n_frames * n_tracks
    ones = np.ones(n, np.float32)
    return FaceTracks(
        np.repeat(np.arange(n_frames), n_tracks),
        np.tile(np.arange(n_tracks), n_frames),
        np.zeros((n, 4), np.float32),
        np.zeros((n, 5, 2), np.float32),
        np.ones(n, bool),
        np.full(n, BoxOrigin.DETECTED),
        ones,
        30 * ones,
        0 * ones,
        0 * ones,
    )


def judged(after, people, swapped=None):
    """Three tracks in two frames; before they are the axes, afterwards `after` [3, 3]."""
    seen = iter([AXES, after, AXES, after])
    everyone = np.ones(6, bool) if swapped is None else swapped
    faces = JudgedFaces(tracks(), everyone, {"judge": lambda image, points: next(seen)})
    faces.add(BLANK, BLANK, np.arange(3, dtype=np.int32))
    faces.add(BLANK, BLANK, np.arange(3, 6, dtype=np.int32))
    return faces.by_track(people, Calibration((ROW,), {}))


def test_untouched_faces_match_themselves_and_nobody_else():
    for track in judged(AXES, ["a", "b", "c"]):
        assert (track.n_faces_judged, track.matched[1e-3], track.n_rank1) == (2, 2, 2)
        assert (track.matched_others, track.gallery_size) == (0.0, 3)
        assert track.to_original == pytest.approx([0, 0])


def test_exchanged_faces_match_the_others():
    exchanged = judged(AXES[[1, 0, 2]], ["a", "b", "c"])
    assert [t.matched[1e-3] for t in exchanged] == [0, 0, 2]
    assert [t.n_rank1 for t in exchanged] == [0, 0, 2]
    # each of the two faces of a track matches one of the two other people
    assert [t.matched_others for t in exchanged] == [1.0, 1.0, 0.0]


def test_who_is_alone_has_no_others():
    assert [t.matched_others for t in judged(AXES, ["a", "a", "a"])] == [None, None, None]


def test_swapped_faces_are_counted_apart():
    swapped = np.array([True, False, True, True, False, False])
    assert [t.n_swapped_judged for t in judged(AXES, ["a", "b", "c"], swapped)] == [2, 0, 1]


def test_a_crowd_is_compared_in_pieces(monkeypatch):
    rng = np.random.default_rng(1)
    before, after = (rng.normal(size=(20, 4)).astype(np.float32) for _ in range(2))
    limits, people = np.full(20, 0.8, np.float32), np.array([f"p{i % 7}" for i in range(20)])
    whole = judging.matches_of_others(before, after, limits, people)
    monkeypatch.setattr(judging, "_ROWS_AT_ONCE", 3)
    assert judging.matches_of_others(before, after, limits, people) == pytest.approx(whole)
    assert 0.1 < whole.mean() < 0.9


def test_nothing_looked_at_gives_nothing():
    assert JudgedFaces(tracks(), np.ones(6, bool), {}).by_track(["a"] * 3, None) == ()


def test_doctests():
    assert doctest.testmod(judging).failed == 0
