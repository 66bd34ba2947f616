"""Linking a wave: anchors are chosen with a view to who is seen at the same time."""

from __future__ import annotations

import numpy as np
import pytest
from made_tracks import tracks_with

from deid_ops.identity.vectors import unit_rows
from jobs.anchoring import Anchors, AnchorSet
from jobs.config import JobConfig
from jobs.linking import link_wave
from jobs.rows import Row, tracks_to_row

MARKS = np.float32([[0, 0], [20, 0], [10, 12], [2, 24], [18, 24]])


def tracked(own: np.ndarray, judged: np.ndarray) -> Row:
    """One segment: tracks 0 and 1 side by side in frames 0 to 9, track 2 in frames 30 to 39."""
    frame = np.concatenate([np.repeat(np.arange(10), 2), np.arange(30, 40)])
    track = np.concatenate([np.tile([0, 1], 10), np.full(10, 2)])
    boxes = tracks_with(frame, track, MARKS + 100.0 * track[:, None, None], 20.0)
    return tracks_to_row(boxes) | {
        "scope_id": "scope", "recording_id": "r", "drive_id": "d", "camera": "front",
        "segment_index": 0, "start_frame": 0, "n_frames": 40,
        "track_embedding": own.ravel(), "embedding_dim": own.shape[1],
        "track_guard_vector": judged.ravel(), "guard_dim": judged.shape[1],
        "track_has_embedding": np.ones(3, np.bool_),
    }  # fmt: skip


def test_anchors_are_chosen_with_a_view_to_the_others_in_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    own, judged = (unit_rows(rng.normal(size=(3, 128)).astype(np.float32)) for _ in range(2))
    asked = {}

    def choose(_self, person, _scope, _name, _taken, _live, others):
        number = int((own @ person.own_unit).argmax())
        asked[number] = [
            (int((own @ o.own_unit).argmax()), int((judged @ o.guard_unit).argmax()))
            for o in others
        ]
        return AnchorSet((number,), 1.0)

    monkeypatch.setattr(Anchors, "choose", choose)
    (linked,) = link_wave([tracked(own, judged)], JobConfig(), b"k" * 32)
    assert asked == {0: [(1, 1)], 1: [(0, 0)], 2: []}
    assert linked["track_anchor_id"].tolist() == [0, 1, 2]
