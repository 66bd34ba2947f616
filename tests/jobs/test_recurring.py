"""One face for who is seen in several segments: who leads, what is tried, what all segments get."""

from __future__ import annotations

from typing import Any

import numpy as np

from deid_ops.types import Treatment
from jobs.recurring import with_one_face
from jobs.rows import Row, shown_anchor

SWAPPED, REDACTED = str(Treatment.SWAPPED), str(Treatment.REDACTED)
ANCHORS = {"ann": (1, 11, 12), "bob": (2, 21, 22), "cat": (3, 31, 32)}


def linked(unit: str, persons: list[str], n_frames: int, planned: str = SWAPPED) -> Row:
    """A segment in which every track has a box in every frame."""
    n = len(persons)
    return {
        "unit_id": unit,
        "status": "ok",
        "stage_seconds": [("detect", 1.0)],
        "idle_seconds": [],
        "box_frame_index": np.repeat(np.arange(n_frames, dtype=np.int32), n),
        "box_track": np.tile(np.arange(n, dtype=np.int32), n_frames),
        "box_treatment": [planned] * (n * n_frames),
        "track_person_id": persons,
        "track_anchor_id": np.array([ANCHORS[p][0] for p in persons], np.int32),
        "track_other_anchor_ids": np.array([ANCHORS[p][1:] for p in persons], np.int32).ravel(),
        "track_anchor_number": np.zeros(n, np.int32),
        "track_anchor_distance": np.full(n, 0.9, np.float32),
    }


class Trial:
    """Stands for the stages: says the same anchor number for every track, and what it was asked."""

    def __init__(self, number: int, **said: Any) -> None:
        self.number, self.said, self.asked = number, said, {}

    def __call__(self, rows):
        self.asked |= {row["unit_id"]: row for row in rows}
        for row in rows:
            numbers = np.full(len(row["track_anchor_id"]), self.number, np.int32)
            yield row | {"track_anchor_number": numbers} | self.said


def shown(rows: list[Row]) -> dict[str, dict[str, int]]:
    return {
        row["unit_id"]: {p: shown_anchor(row, t) for t, p in enumerate(row["track_person_id"])}
        for row in rows
    }


def test_all_segments_show_what_was_found_in_the_one_that_shows_most() -> None:
    rows = [linked("u0", ["ann"], 5), linked("u1", ["bob", "ann"], 9), linked("u2", ["ann"], 7)]
    trial = Trial(2, stage_seconds=[("detect", 1.0), ("trial", 3.0)])
    out = with_one_face(rows, {}, 4, trial)
    assert set(trial.asked) == {"u1"}
    assert shown(out) == {"u0": {"ann": 12}, "u1": {"bob": 2, "ann": 12}, "u2": {"ann": 12}}
    # Nothing else is left to the ladder of a segment; bob, who is in one alone, keeps his choice.
    assert out[0]["track_other_anchor_ids"].tolist() == [-1, -1]
    assert out[1]["track_other_anchor_ids"].tolist() == [21, 22, -1, -1]
    # The distance was of the first choice.
    np.testing.assert_array_equal(out[1]["track_anchor_distance"], np.float32([0.9, -1]))
    assert [dict(row["stage_seconds"]).get("trial") for row in out] == [None, 3.0, None]
    assert rows[1]["track_other_anchor_ids"].tolist() == [21, 22, 11, 12]  # given rows stay


def test_a_few_faces_are_tried_with_their_neighbours_and_only_whom_it_is_about() -> None:
    rows = [linked("u0", ["bob", "ann"], 60), linked("u1", ["ann"], 50)]
    trial = Trial(0)
    with_one_face(rows, {}, 3, trial)
    row = trial.asked["u0"]
    chosen = np.array(row["box_treatment"]) == SWAPPED
    frames = {
        track: row["box_frame_index"][chosen & (row["box_track"] == track)].tolist()
        for track in (0, 1)
    }
    assert frames[1] == [0, 1, 28, 29, 30, 58, 59]
    assert len(frames[0]) == 10  # four faces of somebody else, by whom one sees who is hidden
    assert row["track_other_anchor_ids"].tolist() == [-1, -1, 11, 12]


def test_nothing_is_tried_for_who_is_seen_in_one_segment_or_redacted_in_all_others() -> None:
    rows = [linked("u0", ["ann"], 5), linked("u1", ["bob"], 5), linked("u2", ["ann"], 5, REDACTED)]
    trial = Trial(1)
    out = with_one_face(rows, {}, 4, trial)
    assert trial.asked == {}
    assert shown(out) == shown(rows)


def test_what_is_published_decides_for_a_segment_that_is_tried_again() -> None:
    trial = Trial(1)
    out = with_one_face([linked("u1", ["ann", "bob"], 5)], {"ann": 12, "zoe": 9}, 4, trial)
    assert trial.asked == {}
    assert shown(out) == {"u1": {"ann": 12, "bob": 2}}
    assert out[0]["track_other_anchor_ids"].tolist() == [-1, -1, 21, 22]


def test_a_trial_that_failed_leaves_everybody_the_first_anchor() -> None:
    rows = [linked("u0", ["ann", "cat"], 5), linked("u1", ["cat", "ann"], 4)]
    out = with_one_face(rows, {}, 4, Trial(1, status="quarantined", reason="decoder_killed"))
    assert shown(out) == shown(rows)
    assert all((row["track_other_anchor_ids"] == -1).all() for row in out)
