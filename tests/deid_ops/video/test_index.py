"""The index holds exactly what was written, and refuses by name what cannot be treated."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deid_ops.errors import InputError
from deid_ops.video.index import read_index
from deid_ops.video.index_json import index_from_json, index_to_json

MakeClip = Callable[..., tuple[str, Any]]


def refusal(path: str | Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_index(str(path))
    assert str(path) in str(caught.value)
    assert "Remedy:" in str(caught.value)
    return caught.value


def test_index_holds_what_was_written(any_clip: tuple[str, Any]) -> None:
    path, spec = any_clip
    index = read_index(path)
    facts = index.facts
    assert index.pts.tolist() == spec.pts
    assert index.keyframe_pts.tolist() == spec.key_pts
    assert index.clean_keyframe_pts.tolist() == spec.key_pts
    assert facts.time_base == spec.time_base
    assert (facts.width, facts.height) == (spec.width, spec.height)
    assert facts.rotation_deg == spec.rotation_deg
    assert facts.start_pts == spec.pts[0]
    assert facts.n_hidden_packets == 0
    assert facts.n_frames_from_index == spec.n_frames
    assert index.size_bytes == Path(path).stat().st_size
    assert index.duration_s == pytest.approx(
        float((spec.pts[-1] + spec.step - spec.pts[0]) * spec.time_base), rel=0.05
    )
    types = [s.type for s in facts.other_streams]
    assert types.count("audio") == bool(spec.audio_channels)
    assert types.count("subtitle") == spec.subtitle
    assert types.count("data") == spec.data
    if spec.tags != (0, 2, 2, 2):
        tags = (facts.color_range, facts.color_primaries, facts.color_trc, facts.colorspace)
        assert tags == spec.tags


def test_index_survives_json(any_clip: tuple[str, Any]) -> None:
    index = read_index(any_clip[0])
    again = index_from_json(json.loads(json.dumps(index_to_json(index))))
    assert again.facts == index.facts
    np.testing.assert_array_equal(again.pts, index.pts)
    np.testing.assert_array_equal(again.clean_keyframe_pts, index.clean_keyframe_pts)


def test_open_gops_are_no_place_to_cut(make_clip: MakeClip) -> None:
    options = (("g", "8"), ("x264-params", "open-gop=1:keyint=8:min-keyint=8:b-pyramid=0"))
    path, spec = make_clip(gop=100, b_frames=3, n_frames=40, extra_options=options)
    index = read_index(path)
    assert len(index) == spec.n_frames
    assert len(index.keyframe_pts) > 2
    assert len(index.clean_keyframe_pts) < len(index.keyframe_pts)
    assert index.clean_keyframe_pts[0] == index.pts[0]


def test_a_missing_file_is_no_input_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_index(str(tmp_path / "absent.mp4"))


def test_empty_and_garbage(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    assert refusal(path).reason == "empty_file"
    path.write_bytes(np.random.default_rng(0).bytes(50_000))
    assert refusal(path).reason == "unreadable"


def test_truncated_mp4_without_its_index(make_clip: MakeClip, tmp_path: Path) -> None:
    data = Path(make_clip()[0]).read_bytes()  # the index (moov) lies at the end
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    assert refusal(path).reason == "truncated"


def test_truncated_mp4_with_its_index_first(make_clip: MakeClip, tmp_path: Path) -> None:
    whole, _ = make_clip(n_frames=40)
    front = tmp_path / "front.mp4"
    with (
        av.open(whole) as source,
        av.open(str(front), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    data = front.read_bytes()
    for share in (0.6, 0.9):
        path = tmp_path / f"cut{share}.mp4"
        path.write_bytes(data[: int(len(data) * share)])
        error = refusal(path)
        assert error.reason == "truncated"


def test_truncated_mkv(make_clip: MakeClip, tmp_path: Path) -> None:
    tb = Fraction(1, 1000)
    data = Path(make_clip(name="a.mkv", time_base=tb, step=40, n_frames=40)[0]).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) * 6 // 10])
    assert refusal(path).reason == "truncated"


def test_interlaced(make_clip: MakeClip) -> None:
    options = (("flags", "+ildct+ilme"), ("x264-params", "interlaced=1"))
    path, _ = make_clip(extra_options=options)
    assert refusal(path).reason == "unsupported_interlaced"


def test_alpha(make_clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "alpha.webm"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        for k in range(3):
            frame = av.VideoFrame(64, 48, "yuva420p")
            frame.pts = k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert refusal(path).reason == "unsupported_alpha"


def simple(path: Path, codec: str, pix_fmt: str, n_streams: int = 1, **settings: Any) -> Path:
    """Write three black frames with any codec, in `n_streams` streams."""
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(codec, rate=25, **settings) for _ in range(n_streams)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for k in range(3):
            for stream in streams:
                frame = av.VideoFrame(64, 48, pix_fmt)
                frame.pts, frame.time_base = k, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


def test_unsupported_formats_are_named(tmp_path: Path) -> None:
    codec = simple(tmp_path / "a.ts", "mpeg2video", "yuv420p")
    assert refusal(codec).reason == "unsupported_codec"
    rgb = simple(tmp_path / "b.mp4", "libx264rgb", "rgb24")
    assert refusal(rgb).reason == "unsupported_pix_fmt"
    container = simple(tmp_path / "c.avi", "mpeg4", "yuv420p")
    assert refusal(container).reason == "unsupported_container"
    two = simple(tmp_path / "d.mp4", "libx264", "yuv420p", n_streams=2)
    assert refusal(two).reason == "unsupported_multiple_video"


def test_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert refusal(path).reason == "no_video_stream"


def test_hdr_metadata_is_refused(make_clip: MakeClip) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    params = f"log-level=none:master-display={display}:max-cll=1000,400"
    options = (("x265-params", params),)
    path, _ = make_clip(
        encoder="libx265", pix_fmt="yuv420p10le", tags=(1, 9, 16, 9), extra_options=options
    )
    error = refusal(path)
    assert error.reason == "unsupported_side_data"
    assert "mastering_display" in error.detail


def test_cover_art_is_known_and_no_second_video(make_clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(make_clip()[0]) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(32, 32, "yuvj420p")
        frame.pts = 0
        out.mux(cover.encode(frame))
        out.mux(cover.encode(None))
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    index = read_index(str(path))
    assert len(index) == 24
    assert [s.is_picture for s in index.facts.other_streams] == [True]


def test_frames_before_an_edit_list_are_hidden(make_clip: MakeClip, tmp_path: Path) -> None:
    """A trimmed mp4 keeps packets that no player shows; they are counted, not listed."""
    whole, spec = make_clip(n_frames=24, gop=24)
    path = tmp_path / "trimmed.mp4"
    options = {"avoid_negative_ts": "disabled"}
    with av.open(whole) as source, av.open(str(path), "w", container_options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                packet.pts -= 6 * spec.step
                packet.dts -= 6 * spec.step
                out.mux(packet)
    index = read_index(str(path))
    assert index.facts.n_hidden_packets == 6
    assert len(index) == 18


@pytest.mark.shared
def test_real_clips(shared_media: Path) -> None:
    counts = {p.name: len(read_index(str(p))) for p in shared_media.glob("*.[mg][pi][4f]")}
    assert counts == {
        "cosmos_av_mv_input_rgb.mp4": 233,
        "egoblur_gen1_test_video.mp4": 600,
        "facenet_pytorch_video.mp4": 105,
        "intel_headpose_fm.gif": 56,
        "intel_headpose_m.gif": 62,
        "intel_walk.gif": 35,
        "intel_walkpause.gif": 41,
    }
