"""The check finds every breach of the media contract that a broken writer could commit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.video.index import read_index
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.remux import copy_span
from deid_ops.video.segments import plan_spans
from deid_ops.video.verify import compare_media, psnr_outside_db


def problems(make_clip: Any, before: dict[str, Any], after: dict[str, Any]) -> str:
    source, _ = make_clip(**before)
    output, _ = make_clip(**(before | after))
    index = read_index(source)
    (span,) = plan_spans(index, float("inf"))
    return "; ".join(compare_media(source, index, span, output).problems())


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ({"n_frames": 23}, "24 frames in, 23 out"),
        ({"vfr": True}, "timestamps differ by up to 305 ticks"),
        ({"start": 512}, "start 0 -> 512"),
        ({"time_base": Fraction(1, 30720)}, "time_base: 1/15360 -> 1/30720"),
        ({"rotation_deg": 90}, "rotation_deg: 0 -> 90"),
        ({"tags": (1, 1, 1, 1)}, "colorspace: 2 -> 1"),
        ({"tags": (2, 2, 2, 2)}, "color_range: 0 -> 2"),
        ({"pix_fmt": "yuv420p10le"}, "bit_depth: 8 -> 10"),
        ({"pix_fmt": "yuv444p"}, "pix_fmt: yuv420p -> yuv444p"),
        ({"encoder": "libx265"}, "codec: h264 -> hevc"),
        ({"width": 98}, "width: 96 -> 98"),
        ({"gop": 6}, "keyframes lie elsewhere"),
        ({"audio_channels": 0}, "['audio'] -> []"),
        ({"audio_channels": 1}, "copied stream 0 (audio) differs: 39 packets in, 39 out"),
    ],
)
def test_each_breach_is_found(make_clip: Any, after: dict[str, Any], found: str) -> None:
    assert found in problems(make_clip, {"audio_channels": 2}, after)


def test_nothing_is_found_where_nothing_differs(any_clip: tuple[str, Any]) -> None:
    path, _ = any_clip
    index = read_index(path)
    (span,) = plan_spans(index, float("inf"))
    report = compare_media(path, index, span, path)
    assert report.problems() == []
    assert report.n_frames_in == report.n_frames_out == len(index)


def test_psnr_is_that_of_the_formula(make_clip: Any, picture_of: Any) -> None:
    lossless = (("crf", "0"), ("qp", "0"))
    source, spec = make_clip(extra_options=lossless, n_frames=8)
    coarse, _ = make_clip(extra_options=(("crf", "40"),), n_frames=8)
    index = read_index(source)
    (span,) = plan_spans(index, float("inf"))
    assert psnr_outside_db(source, index, span, source, {}) == float("inf")
    level = psnr_outside_db(source, index, span, coarse, {})
    assert 20 < level < 45
    everything_but_a_corner = np.ones((spec.height, spec.width), np.bool_)
    everything_but_a_corner[:4, :4] = False
    masks = dict.fromkeys(range(8), everything_but_a_corner)
    assert psnr_outside_db(source, index, span, coarse, masks) != level


def test_psnr_needs_the_same_timestamps(make_clip: Any) -> None:
    source, _ = make_clip()
    later, _ = make_clip(start=512)
    index = read_index(source)
    (span,) = plan_spans(index, float("inf"))
    with pytest.raises(InvariantError):
        psnr_outside_db(source, index, span, later, {})


def test_a_span_is_compared_with_its_own_part(make_clip: Any, tmp_path: Path) -> None:
    path, _ = make_clip(audio_channels=2)
    index = read_index(path)
    first, second = plan_spans(index, 0.3)[:2]
    assert compare_media(path, index, first, path).problems() != []
    moved = replace(second, pts_start=second.pts_start)
    assert compare_media(path, index, moved, path).max_abs_dpts is None


def test_a_stream_that_ends_early_is_no_breach(make_clip: Any, tmp_path: Path) -> None:
    """Audio for the first second only: later spans have an empty track, or none."""
    path, spec = make_clip(audio_channels=1, n_frames=48, audio_share=0.2)
    index = read_index(path)
    spans = plan_spans(index, 0.3)
    counts = []
    for k, span in enumerate(spans):
        out = str(tmp_path / f"{k}.mp4")
        assert copy_span(path, index, span, out, MediaPolicy()) == "packets"
        report = compare_media(path, index, span, out)
        assert report.problems() == []
        counts.append(sum(s.n_packets_out for s in report.streams))
    assert counts[0] > 0
    assert counts[-1] == 0
    assert spec.n_frames == 48
