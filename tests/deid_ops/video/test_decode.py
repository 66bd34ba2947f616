"""Frames come out in order, unchanged, converted with the stream's colour tags, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deid_ops.errors import InputError
from deid_ops.video.decode import SpanReader, iter_frames
from deid_ops.video.index import read_index
from deid_ops.video.segments import plan_spans

LOSSLESS = (("crf", "0"), ("qp", "0"))


def whole_span(path: str) -> Any:
    (span,) = plan_spans(read_index(path), float("inf"))
    return span


def test_frames_follow_the_index(any_clip: tuple[str, Any]) -> None:
    path, spec = any_clip
    index = read_index(path)
    frames = list(iter_frames(path, whole_span(path), "both"))
    assert [f.pts for f in frames] == spec.pts
    assert [f.index for f in frames] == list(range(spec.n_frames))
    assert [f.pts for f in frames if f.is_key] == spec.key_pts
    for decoded in frames:
        assert decoded.frame is not None
        assert decoded.bgr is not None
        assert decoded.bgr.shape == (spec.height, spec.width, 3)
        assert decoded.frame.pix_fmt == index.facts.frame_pix_fmt
        assert decoded.frame.color == index.facts.color
        assert decoded.frame.size_wh_px == (spec.width, spec.height)
        assert not decoded.bgr.flags.writeable
        assert not decoded.frame.planes[0].flags.writeable


def test_spans_together_are_the_whole(any_clip: tuple[str, Any]) -> None:
    path, spec = any_clip
    spans = plan_spans(read_index(path), 0.3)
    assert len(spans) > 1 or spec.n_frames == 1
    whole = list(iter_frames(path, whole_span(path), "bgr"))
    parts = [f for span in spans for f in iter_frames(path, span, "bgr")]
    assert [f.pts for f in parts] == [f.pts for f in whole]
    for part, frame in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part.bgr, frame.bgr)


def test_spans_can_be_decoded_in_any_order(make_clip: Any) -> None:
    """All-intra with reordering delay: a seek by decode time must not land behind the span."""
    path, _ = make_clip(n_frames=40, gop=2, b_frames=3, vfr=True, start=9000)
    spans = plan_spans(read_index(path), 0.01)
    assert len(spans) == 20
    for span in reversed(spans):
        pts = [f.pts for f in iter_frames(path, span, "native")]
        assert len(pts) == 2
        assert pts[0] == span.pts_start


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p"])
def test_native_planes_are_exact(make_clip: Any, picture_of: Any, pix_fmt: str) -> None:
    extra = LOSSLESS if "10" not in pix_fmt else (("x264-params", "qp=0"),)
    path, spec = make_clip(pix_fmt=pix_fmt, extra_options=extra, width=70, height=54)
    for decoded in iter_frames(path, whole_span(path), "native"):
        assert decoded.bgr is None
        assert decoded.frame is not None
        expected = picture_of(spec, decoded.index)
        assert len(expected) == len(decoded.frame.planes)
        for plane, want in zip(decoded.frame.planes, expected, strict=True):
            np.testing.assert_array_equal(plane, want)


KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}


def reference_bgr(frame: Any) -> Any:
    """ITU conversion in floating point, for 4:4:4."""
    kr, kb = KR_KB[frame.color.matrix]
    scale = 2 ** (frame.bit_depth - 8)
    y, u, v = (p.astype(np.float64) / scale for p in frame.planes)
    if frame.color.full_range:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.dstack([blue, green, red]) * 255, 0, 255)


@pytest.mark.parametrize(
    ("tags", "pix_fmt", "matrix", "full"),
    [
        ((1, 1, 1, 1), "yuv444p", "bt709", False),
        ((2, 1, 1, 1), "yuv444p", "bt709", True),
        ((1, 6, 6, 6), "yuv444p", "bt601", False),
        ((0, 2, 2, 2), "yuv444p", "bt601", False),
        ((1, 9, 16, 9), "yuv444p10le", "bt2020nc", False),
    ],
)
def test_bgr_follows_the_colour_tags(
    make_clip: Any, tags: Any, pix_fmt: str, matrix: str, full: bool
) -> None:
    path, _ = make_clip(tags=tags, pix_fmt=pix_fmt, n_frames=3)
    for decoded in iter_frames(path, whole_span(path), "both"):
        assert decoded.frame is not None
        assert (decoded.frame.color.matrix, decoded.frame.color.full_range) == (matrix, full)
        error = np.abs(decoded.bgr.astype(float) - reference_bgr(decoded.frame))
        assert error.max() < 3.5
        assert error.mean() < 1.0


def test_untagged_high_definition_is_bt709(make_clip: Any) -> None:
    path, _ = make_clip(width=128, height=720, n_frames=1)
    (decoded,) = iter_frames(path, whole_span(path), "native")
    assert decoded.frame is not None
    assert decoded.frame.color.matrix == "bt709"


def test_a_span_that_promises_more_is_short(make_clip: Any) -> None:
    path, spec = make_clip()
    span = replace(whole_span(path), n_frames=spec.n_frames + 1)
    with pytest.raises(InputError) as caught:
        list(iter_frames(path, span, "bgr"))
    assert caught.value.reason == "short_decode"
    assert "24 of 25" in caught.value.detail


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "yuv420p12le"])
def test_native_planes_of_hevc_are_exact(make_clip: Any, picture_of: Any, pix_fmt: str) -> None:
    extra = (("x265-params", "lossless=1:log-level=none:bframes=0"),)
    path, spec = make_clip(encoder="libx265", pix_fmt=pix_fmt, extra_options=extra)
    for decoded in iter_frames(path, whole_span(path), "native"):
        assert decoded.frame is not None
        assert decoded.frame.pix_fmt == pix_fmt
        expected = picture_of(spec, decoded.index)
        for plane, want in zip(decoded.frame.planes, expected, strict=True):
            np.testing.assert_array_equal(plane, want)


def damaged(path: str, out: Path, from_packet: int, n_packets: int, skip: int) -> str:
    """Overwrite some packets in place, `skip` bytes after their begin."""
    data = bytearray(Path(path).read_bytes())
    with av.open(path) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    noise = np.random.default_rng(1)
    for packet in packets[from_packet : from_packet + n_packets]:
        assert packet.pos is not None
        start = packet.pos + skip
        data[start : packet.pos + packet.size] = noise.bytes(packet.size - skip)
    out.write_bytes(bytes(data))
    return str(out)


@pytest.mark.parametrize(("encoder", "skip"), [("libx264", 12), ("libx264", 0), ("libx265", 0)])
def test_damaged_packets_are_not_concealed(
    make_clip: Any, tmp_path: Path, encoder: str, skip: int
) -> None:
    path, _ = make_clip(encoder=encoder, n_frames=30, gop=10)
    broken = damaged(path, tmp_path / "broken.mp4", 10, 3, skip)
    spans = plan_spans(read_index(path), 0.3)
    assert len(list(iter_frames(broken, spans[0], "bgr"))) == spans[0].n_frames
    with pytest.raises(InputError) as caught:
        list(iter_frames(broken, spans[1], "bgr"))
    assert caught.value.reason in ("decode_error", "short_decode")
    assert len(list(iter_frames(broken, spans[2], "bgr"))) == spans[2].n_frames


class Swallowed:
    """A packet whose frame never comes out."""

    def __init__(self, packet: Any) -> None:
        self.size, self.pts = packet.size, packet.pts
        self.is_keyframe, self.is_discard = packet.is_keyframe, packet.is_discard

    def decode(self) -> list[Any]:
        return []


@pytest.mark.parametrize("n_frames", [23, 24])
def test_a_frame_that_the_decoder_swallows_is_missed(
    make_clip: Any, monkeypatch: pytest.MonkeyPatch, n_frames: int
) -> None:
    """A gap is an error where it is, even if the count were right."""
    path, spec = make_clip(gop=1)
    span = replace(whole_span(path), n_frames=n_frames)
    demux = SpanReader._demux

    def demux_with_a_gap(self: Any, *args: Any) -> Any:
        for packet in demux(self, *args):
            yield Swallowed(packet) if packet.pts == spec.pts[9] else packet

    monkeypatch.setattr(SpanReader, "_demux", demux_with_a_gap)
    with pytest.raises(InputError) as caught:
        list(iter_frames(path, span, "native"))
    assert caught.value.reason == "decode_error"
    assert "1 frames before" in caught.value.detail


@pytest.mark.shared
def test_real_clips(shared_media: Path) -> None:
    for path in sorted(shared_media.glob("intel_walk*.gif")):
        index = read_index(str(path))
        pts = [f.pts for f in iter_frames(str(path), whole_span(str(path)), "bgr")]
        assert pts == index.pts.tolist()
