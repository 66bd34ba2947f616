"""Copies are bit-exact, keep the contract, and never carry what nobody looked at."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from deid_ops.errors import InvariantError
from deid_ops.video.index import read_index
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.remux import can_copy, copy_span
from deid_ops.video.segments import plan_spans
from deid_ops.video.verify import compare_media, psnr_outside_db


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def video_packets(path: str) -> list[tuple[int | None, bytes]]:
    with av.open(path) as container:
        return [(p.pts, bytes(p)) for p in container.demux(video=0) if p.size]


def test_a_whole_file_is_copied_byte_by_byte(any_clip: tuple[str, Any], tmp_path: Path) -> None:
    path, _ = any_clip
    index, out = read_index(path), str(tmp_path / Path(path).name)
    (span,) = plan_spans(index, float("inf"))
    assert copy_span(path, index, span, out, MediaPolicy()) == "file"
    assert sha256(out) == sha256(path)


def test_spans_hold_the_same_packets(any_clip: tuple[str, Any], tmp_path: Path) -> None:
    path, spec = any_clip
    if spec.n_frames == 1:
        pytest.skip("one frame cannot be split")
    index, copied = read_index(path), []
    for k, span in enumerate(plan_spans(index, 0.3)):
        out = str(tmp_path / f"{k}{Path(path).suffix}")
        assert copy_span(path, index, span, out, MediaPolicy()) == "packets"
        assert compare_media(path, index, span, out).problems() == []
        assert psnr_outside_db(path, index, span, out, {}) == float("inf")
        copied += video_packets(out)
    assert len(copied) == spec.n_frames
    if not path.endswith(".ts"):  # MPEG-TS repeats parameter sets
        assert copied == video_packets(path)


def test_a_policy_that_strips_copies_packets(make_clip: Any, tmp_path: Path) -> None:
    path, _ = make_clip(audio_channels=2, rotation_deg=90)
    index, out = read_index(path), str(tmp_path / "out.mp4")
    (span,) = plan_spans(index, float("inf"))
    policy = MediaPolicy(strip_audio=True)
    assert copy_span(path, index, span, out, policy) == "packets"
    assert compare_media(path, index, span, out, policy).problems() == []
    assert video_packets(out) == video_packets(path)
    assert read_index(out).facts.other_streams == ()


def test_hidden_frames_are_not_copied(make_clip: Any, tmp_path: Path) -> None:
    path, _ = make_clip()
    index = read_index(path)
    hidden = replace(index, facts=replace(index.facts, n_hidden_packets=3))
    (span,) = plan_spans(index, float("inf"))
    assert can_copy(index, span)
    assert not can_copy(hidden, span)
    with pytest.raises(InvariantError):
        copy_span(path, hidden, span, str(tmp_path / "out.mp4"), MediaPolicy())
    assert list(tmp_path.iterdir()) == []


def test_other_packets_than_promised_leave_no_file(make_clip: Any, tmp_path: Path) -> None:
    path, _ = make_clip()
    index = read_index(path)
    span = replace(plan_spans(index, 0.3)[0], n_frames=7)
    with pytest.raises(InvariantError, match="8 packets for 7 frames"):
        copy_span(path, index, span, str(tmp_path / "out.mp4"), MediaPolicy())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.shared
def test_the_clip_without_faces_comes_out_bit_exact(shared_media: Path, tmp_path: Path) -> None:
    path = str(shared_media / "cosmos_av_mv_input_rgb.mp4")
    index, out = read_index(path), str(tmp_path / "out.mp4")
    (span,) = plan_spans(index, 30.0)
    copy_span(path, index, span, out, MediaPolicy())
    assert sha256(out) == sha256(path)
