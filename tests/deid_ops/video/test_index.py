"""The index holds exactly what was written, and refuses by name what cannot be treated."""

from __future__ import annotations

from typing import Any

from conftest import ClipSpec  # type: ignore[import-not-found]

from deid_ops.video.index import read_index


def test_index_holds_what_was_written(any_clip: tuple[str, Any]) -> None:
    path, spec = any_clip
    index = read_index(path)
    facts = index.facts
    assert index.pts.tolist() == spec.pts
    assert index.keyframe_pts.tolist() == spec.key_pts
    assert facts.time_base == spec.time_base
    assert (facts.width, facts.height) == (spec.width, spec.height)
    assert facts.rotation_deg == spec.rotation_deg
    assert facts.start_pts == spec.start
    assert facts.n_hidden_packets == 0
