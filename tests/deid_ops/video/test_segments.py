"""Every frame lies in exactly one span, and spans begin where a decoder can begin."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.video.index import VideoFacts, VideoIndex, read_index
from deid_ops.video.segments import plan_spans


def index_of(pts: list[int], keys: list[int], clean: list[int]) -> VideoIndex:
    facts = VideoFacts(
        container="mpegts", codec="h264", profile="", pix_fmt="yuv420p", bit_depth=8, width=64,
        height=48, time_base=Fraction(1, 100), average_rate=None, sample_aspect_ratio=None,
        rotation_deg=0, display_matrix=None, color_range=0, color_primaries=2, color_trc=2,
        colorspace=2, has_b_frames=False, stream_index=1, n_frames_from_index=len(pts),
        n_hidden_packets=0, start_pts=pts[0], last_duration=4, bit_rate=None, other_streams=(),
    )  # fmt: skip
    arrays = [np.array(values, np.int64) for values in (pts, keys, clean)]
    return VideoIndex("x.ts", facts, *arrays, duration_s=1.0, size_bytes=1)


@st.composite
def indexes(draw: st.DrawFn) -> VideoIndex:
    steps = draw(st.lists(st.integers(1, 300), min_size=0, max_size=60))
    pts = np.cumsum([draw(st.integers(-500, 5000)), *steps]).tolist()
    keys = [p for p in pts[1:] if draw(st.booleans())]
    clean = [p for p in keys if draw(st.booleans())]
    return index_of(pts, [pts[0], *keys], [pts[0], *clean])


@given(indexes(), st.floats(0.01, 40.0) | st.just(float("inf")))
def test_every_frame_lies_in_exactly_one_span(index: VideoIndex, longest_s: float) -> None:
    spans = plan_spans(index, longest_s)
    for pts in index.pts.tolist():
        assert sum(span.contains(pts) for span in spans) == 1
    assert sum(span.n_frames for span in spans) == len(index)
    for span in spans:
        inside = [p for p in index.pts.tolist() if span.contains(p)]
        assert len(inside) == span.n_frames
        assert inside[0] == span.pts_start
        assert span.pts_start in index.clean_keyframe_pts
        assert (span.stream_index, span.time_base) == (1, Fraction(1, 100))
    assert spans[-1].pts_end is None


@given(indexes(), st.floats(0.01, 40.0))
def test_spans_are_short_where_keyframes_allow(index: VideoIndex, longest_s: float) -> None:
    cuts = set(index.clean_keyframe_pts.tolist())
    end = int(index.pts[-1]) + index.facts.last_duration
    for span in plan_spans(index, longest_s):
        stop = end if span.pts_end is None else span.pts_end
        if stop - span.pts_start > longest_s * 100:
            assert not [c for c in cuts if span.pts_start < c < stop]


def test_spans_take_as_many_gops_as_fit() -> None:
    pts = list(range(0, 400, 4))
    index = index_of(pts, pts[::10], pts[::10])
    assert [s.n_frames for s in plan_spans(index, 0.8)] == [20] * 5
    assert [s.n_frames for s in plan_spans(index, 1.5)] == [30, 30, 30, 10]
    assert [s.n_frames for s in plan_spans(index, 0.1)] == [10] * 10


def test_one_span_where_nothing_can_be_cut(make_clip: Any) -> None:
    path, spec = make_clip(gop=1000)
    (span,) = plan_spans(read_index(path), 0.1)
    assert (span.n_frames, span.pts_end) == (spec.n_frames, None)


def test_a_length_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="max_duration_s"):
        plan_spans(index_of([0], [0], [0]), 0.0)
