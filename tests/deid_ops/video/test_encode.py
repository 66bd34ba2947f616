"""Written clips meet the media contract, for every kind and every span, or do not appear."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deid_ops.errors import InputError, InvariantError, RetryableError, SetupError
from deid_ops.types import Span
from deid_ops.video.decode import iter_frames
from deid_ops.video.encode import ClipWriter
from deid_ops.video.frame import Frame
from deid_ops.video.index import VideoIndex, read_index
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.remux import copy_span
from deid_ops.video.segments import plan_spans
from deid_ops.video.tracks import write_error
from deid_ops.video.verify import compare_media, psnr_outside_db

MakeClip = Callable[..., tuple[str, Any]]


def rewrite(
    path: str, out: Path, policy: MediaPolicy | None = None, longest_s: float = float("inf")
) -> tuple[VideoIndex, list[tuple[Span, str]]]:
    """Decode and encode every span; return the index and `(span, file)` pairs."""
    index, written = read_index(path), []
    for k, span in enumerate(plan_spans(index, longest_s)):
        target = str(out / f"{k}-{Path(path).name}")
        with ClipWriter(target, path, index, span, policy or MediaPolicy()) as clip:
            for decoded in iter_frames(path, span, "native"):
                assert decoded.frame is not None
                clip.write(decoded.frame)
        written.append((span, target))
    return index, written


@pytest.mark.parametrize("longest_s", [float("inf"), 0.3])
def test_media_contract(any_clip: tuple[str, Any], tmp_path: Path, longest_s: float) -> None:
    path, spec = any_clip
    index, written = rewrite(path, tmp_path, longest_s=longest_s)
    for span, out in written:
        report = compare_media(path, index, span, out)
        assert report.problems() == []
        assert report.n_frames_out == span.n_frames
        assert report.max_abs_dpts == 0
        assert psnr_outside_db(path, index, span, out, {}) > 38
    if len(written) == 1:
        assert len(report.streams) == bool(spec.audio_channels) + spec.subtitle + spec.data
        assert all(s.n_packets_in == s.n_packets_out > 0 for s in report.streams)
    assert not list(tmp_path.glob("*.part"))


MS = {"time_base": Fraction(1, 1000), "step": 33}
TS = {"name": "clip.ts", "time_base": Fraction(1, 90000), "step": 3003}
RARER: dict[str, dict[str, Any]] = {
    "fragmented": {"container_options": (("movflags", "frag_keyframe+empty_moov"),), "b_frames": 2},
    "five_hours_late": {"start": 15360 * 3600 * 5, "b_frames": 2, "audio_channels": 2},
    "mkv_five_hours_late": {"name": "clip.mkv", "start": 18_000_000, **MS, "audio_channels": 2},
    "mkv_rotated": {"name": "clip.mkv", "rotation_deg": 90, **MS},
    "mpegts_from_zero": {"b_frames": 2, "audio_channels": 2, **TS},
    "mpegts_timestamps_wrap": {"start": 2**33 - 30000, "audio_channels": 2, **TS},
    "mpegts_hevc": {"encoder": "libx265", "start": 900000, "b_frames": 3, **TS},
    "vp9_mp4": {"encoder": "libvpx-vp9"},
    "av1_webm": {"name": "clip.webm", "encoder": "libsvtav1", **MS},
    "coarse_time_base": {"time_base": Fraction(1, 24), "step": 1, "b_frames": 2},
    "ntsc_upside_down": {"time_base": Fraction(1, 30000), "step": 1001, "rotation_deg": 180},
}


@pytest.mark.parametrize("kind", list(RARER))
def test_media_contract_of_rarer_files(make_clip: MakeClip, tmp_path: Path, kind: str) -> None:
    path, spec = make_clip(**RARER[kind])
    index, written = rewrite(path, tmp_path, longest_s=0.3)
    assert (len(index), len(written)) == (spec.n_frames, 3)
    assert index.facts.rotation_deg == spec.rotation_deg
    for span, out in written:
        assert compare_media(path, index, span, out).problems() == []
        copied = f"{out}.copy"
        copy_span(path, index, span, copied, MediaPolicy())
        assert compare_media(path, index, span, copied).problems() == []


def test_packets_of_other_streams_go_to_exactly_one_span(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    path, _ = make_clip(audio_channels=2, subtitle=True)
    (tmp_path / "whole").mkdir()
    index, ((span, out),) = rewrite(path, tmp_path / "whole")
    whole = {s.type: s.n_packets_out for s in compare_media(path, index, span, out).streams}
    index, written = rewrite(path, tmp_path, longest_s=0.3)
    assert len(written) == 3
    parts = {"audio": 0, "subtitle": 0}
    for part, clip in written:
        for stream in compare_media(path, index, part, clip).streams:
            parts[stream.type] += stream.n_packets_out
    assert parts == whole


def test_lossless_policy_changes_no_pixel(make_clip: MakeClip, tmp_path: Path) -> None:
    """What lies between decoder and encoder touches no sample."""
    path, _ = make_clip(width=70, height=50)
    index, ((span, out),) = rewrite(path, tmp_path, MediaPolicy(crf=0))
    assert psnr_outside_db(path, index, span, out, {}) == float("inf")


def test_finer_quality_is_closer(make_clip: MakeClip, tmp_path: Path) -> None:
    path, _ = make_clip(encoder="libx265", pix_fmt="yuv420p10le")
    levels = []
    for crf in (2, 20, 45):
        index, ((span, out),) = rewrite(path, tmp_path, MediaPolicy(crf=crf))
        levels.append(psnr_outside_db(path, index, span, out, {}))
    assert levels[0] > levels[1] + 3 > levels[2] + 6


def test_edited_pixels_are_written_where_they_were_edited(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    path, _ = make_clip()
    index = read_index(path)
    (span,) = plan_spans(index, float("inf"))
    out, plain = str(tmp_path / "edited.mp4"), str(tmp_path / "plain.mp4")
    policy, masks = MediaPolicy(crf=0), {}
    with (
        ClipWriter(out, path, index, span, policy) as clip,
        ClipWriter(plain, path, index, span, policy) as untouched,
    ):
        for decoded in iter_frames(path, span, "native"):
            assert decoded.frame is not None
            luma = decoded.frame.planes[0].copy()
            luma[10:30, 20:40] = 255 - luma[10:30, 20:40]
            clip.write(replace(decoded.frame, planes=(luma, *decoded.frame.planes[1:])))
            untouched.write(decoded.frame)
            masks[decoded.index] = np.zeros(luma.shape, np.bool_)
            masks[decoded.index][10:30, 20:40] = True
    assert psnr_outside_db(path, index, span, out, masks) == float("inf")
    assert psnr_outside_db(path, index, span, plain, {}) == float("inf")
    assert psnr_outside_db(path, index, span, out, {}) < 30


def test_missing_frames_leave_no_file(make_clip: MakeClip, tmp_path: Path) -> None:
    path, _ = make_clip(audio_channels=1)
    index = read_index(path)
    (span,) = plan_spans(index, float("inf"))
    out = tmp_path / "out.mp4"

    def write_some(n: int) -> None:
        with ClipWriter(str(out), path, index, span, MediaPolicy()) as clip:
            for decoded in iter_frames(path, span, "native"):
                if decoded.frame is not None and decoded.index < n:
                    clip.write(decoded.frame)

    for n in (0, 23):
        with pytest.raises(InvariantError, match=f"{n} of 24 frames"):
            write_some(n)
        assert list(tmp_path.iterdir()) == []


def test_an_error_inside_leaves_no_file_and_the_old_one_alone(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    path, _ = make_clip()
    index = read_index(path)
    (span,) = plan_spans(index, float("inf"))
    out = tmp_path / "out.mp4"
    out.write_bytes(b"older")
    with pytest.raises(KeyError), ClipWriter(str(out), path, index, span, MediaPolicy()):
        raise KeyError("consumer")
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert out.read_bytes() == b"older"


def test_wrong_frames_are_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    path, spec = make_clip()
    index = read_index(path)
    (span,) = plan_spans(index, float("inf"))
    frames = [d.frame for d in iter_frames(path, span, "native") if d.frame is not None]
    out = str(tmp_path / "out.mp4")
    small = Frame(0, 0, True, "gray", (np.zeros((8, 8), np.uint8),), frames[0].color)

    def write(chosen: list[Frame]) -> None:
        with ClipWriter(out, path, index, span, MediaPolicy()) as clip:
            for frame in chosen:
                clip.write(frame)

    for wrong in ([frames[1]], [frames[0], frames[0]], [small], [*frames, frames[-1]]):
        with pytest.raises(InvariantError, match="frame"):
            write(wrong)
    assert spec.n_frames == len(frames)
    assert list(tmp_path.iterdir()) == []


def test_policy_strips(make_clip: MakeClip, tmp_path: Path) -> None:
    tags = (("title", "route 7"), ("location", "+48.1351+011.5820/"))
    path, _ = make_clip(audio_channels=2, subtitle=True, metadata=tags)
    policies = {
        "audio": MediaPolicy(strip_audio=True),
        "subtitle": MediaPolicy(strip_data=True),
        "tags": MediaPolicy(strip_metadata=True),
        "": MediaPolicy(),
    }
    for gone, policy in policies.items():
        folder = tmp_path / f"no-{gone}"
        folder.mkdir()
        index, ((span, out),) = rewrite(path, folder, policy)
        assert compare_media(path, index, span, out, policy).problems() == []
        with av.open(out) as container:
            types = {s.type for s in container.streams}
            assert types == {"video", "audio", "subtitle"} - {gone}
            kept = container.metadata.get("title")
            assert kept == (None if gone == "tags" else "route 7")
            assert ("location" in container.metadata) == (gone != "tags")


def test_cover_art_is_never_copied(make_clip: MakeClip, tmp_path: Path) -> None:
    """A thumbnail may show a face that nobody has looked for."""
    cover = tmp_path / "cover.mp4"
    with av.open(make_clip()[0]) as source, av.open(str(cover), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        picture: Any = out.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(32, 32, "yuvj420p")
        frame.pts = 0
        out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    index, ((span, written),) = rewrite(str(cover), tmp_path)
    assert compare_media(str(cover), index, span, written).problems() == []
    copied = str(tmp_path / "copied.mp4")
    assert copy_span(str(cover), index, span, copied, MediaPolicy()) == "packets"
    for path in (written, copied):
        assert read_index(path).facts.other_streams == ()


def test_attachments_are_kept(make_clip: MakeClip, tmp_path: Path) -> None:
    fonts = tmp_path / "fonts.mkv"
    plain, _ = make_clip(name="clip.mkv", time_base=Fraction(1, 1000), step=40)
    with av.open(plain) as source, av.open(str(fonts), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.add_attachment("subtitles.ttf", "font/ttf", b"font bytes")
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    for policy, kept in ((MediaPolicy(strip_metadata=True), 1), (MediaPolicy(strip_data=True), 0)):
        _, ((_, written),) = rewrite(str(fonts), tmp_path, policy)
        with av.open(written) as container:
            found = [s for s in container.streams if s.type == "attachment"]
            assert [s.data for s in found] == [b"font bytes"] * kept


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov"])
def test_timecode_stays_with_the_first_span(make_clip: MakeClip, tmp_path: Path, name: str) -> None:
    path, _ = make_clip(name=name, metadata=(("timecode", "01:02:03:04"),), audio_channels=1)
    index, written = rewrite(path, tmp_path, longest_s=0.3)
    for k, (span, out) in enumerate(written):
        assert compare_media(path, index, span, out).problems() == []
        types = [s.type for s in read_index(out).facts.other_streams]
        assert types == (["audio", "data"] if k == 0 else ["audio"])
    (tmp_path / "stripped").mkdir()
    policy = MediaPolicy(strip_data=True)
    _, ((_, out),) = rewrite(path, tmp_path / "stripped", policy)
    assert [s.type for s in read_index(out).facts.other_streams] == ["audio"]


def test_chapters_are_kept(make_clip: MakeClip, tmp_path: Path) -> None:
    plain, _ = make_clip()
    path = str(tmp_path / "chapters.mp4")
    tick = Fraction(1, 1000)
    titles = [
        {
            "id": k,
            "start": 400 * k,
            "end": 400 * k + 400,
            "time_base": tick,
            "metadata": {"title": t},
        }
        for k, t in enumerate(("one", "two"))
    ]
    with av.open(plain) as source, av.open(path, "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.set_chapters(titles)  # type: ignore[arg-type]
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    for policy, kept in ((MediaPolicy(), ["one", "two"]), (MediaPolicy(strip_metadata=True), [])):
        index, ((span, written),) = rewrite(path, tmp_path, policy)
        assert compare_media(path, index, span, written, policy).problems() == []
        with av.open(written) as container:
            assert [c["metadata"]["title"] for c in container.chapters()] == kept


def test_vendor_tags_are_kept(make_clip: MakeClip, tmp_path: Path) -> None:
    tags = (("com.apple.quicktime.model", "dashcam 3"),)
    options = (("movflags", "use_metadata_tags"),)
    path, _ = make_clip(metadata=tags, container_options=options)
    _, ((_, out),) = rewrite(path, tmp_path)
    with av.open(out) as container:
        assert container.metadata["com.apple.quicktime.model"] == "dashcam 3"


def test_a_full_disk_can_be_retried(make_clip: MakeClip) -> None:
    path, _ = make_clip()
    error = write_error("out.mp4", path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(error, RetryableError)
    assert isinstance(write_error("out.mp4", path, ValueError("no")), InputError)


def test_hvc1_stays_hvc1(make_clip: MakeClip, tmp_path: Path) -> None:
    path, _ = make_clip(encoder="libx265", n_frames=3)
    tagged = tmp_path / "tagged.mp4"
    with av.open(path) as source, av.open(str(tagged), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.codec_context.codec_tag = "hvc1"
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    _, ((_, written),) = rewrite(str(tagged), tmp_path)
    with av.open(written) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_the_same_input_gives_the_same_bytes(make_clip: MakeClip, tmp_path: Path) -> None:
    for name in ("h264.mp4", "x.mkv"):
        changes = {} if name.endswith("mp4") else {"time_base": Fraction(1, 1000), "step": 40}
        path, _ = make_clip(name=name, audio_channels=2, **changes)
        contents = []
        for k in range(2):
            (tmp_path / f"{k}{name}").mkdir()
            alone = MediaPolicy(n_threads=1)  # x264's threads are not always exact
            _, ((_, out),) = rewrite(path, tmp_path / f"{k}{name}", alone)
            contents.append(Path(out).read_bytes())
        assert contents[0] == contents[1]


def test_an_encoder_that_is_not_there_is_a_setup_error(make_clip: MakeClip, tmp_path: Path) -> None:
    path, _ = make_clip()
    index = read_index(path)
    (span,) = plan_spans(index, float("inf"))
    policy = MediaPolicy(encoders={"h264": "h264_nonexistent"})
    with pytest.raises(SetupError, match="h264_nonexistent"):
        ClipWriter(str(tmp_path / "out.mp4"), path, index, span, policy)
    assert list(tmp_path.iterdir()) == []


def test_nvenc_where_there_is_one(make_clip: MakeClip, tmp_path: Path) -> None:
    path, _ = make_clip(width=256, height=192)
    policy = MediaPolicy(encoders={"h264": "h264_nvenc"})
    try:
        index, ((span, out),) = rewrite(path, tmp_path, policy)
    except SetupError as error:
        pytest.skip(f"no NVENC on this machine: {error}")
    assert compare_media(path, index, span, out).problems() == []


def test_a_time_base_that_cannot_be_written_is_named(make_clip: MakeClip, tmp_path: Path) -> None:
    """The index of an mp4 read as if it were in another time base."""
    path, _ = make_clip(name="clip.mkv", time_base=Fraction(1, 1000), step=40)
    index = read_index(path)
    facts = replace(index.facts, time_base=Fraction(1, 90000))
    index = replace(index, facts=facts)
    (span,) = plan_spans(index, float("inf"))
    with pytest.raises(InputError) as caught:
        ClipWriter(str(tmp_path / "out.mkv"), path, index, span, MediaPolicy())
    assert caught.value.reason == "unsupported_time_base"


@pytest.mark.shared
def test_the_main_test_clip(shared_media: Path, tmp_path: Path) -> None:
    path = str(shared_media / "facenet_pytorch_video.mp4")
    index, ((span, out),) = rewrite(path, tmp_path, MediaPolicy(preset="ultrafast"))
    report = compare_media(path, index, span, out)
    assert report.problems() == []
    assert [(s.type, s.n_packets_out) for s in report.streams] == [("audio", 197)]
