"""What a container promises about its video stream, read from packets and one probed frame.

The index is the reference of the media contract: every later step (spans, decoding, encoding,
verification) is held to its timestamps. Reading it costs one pass over the packets of the video
stream; a single frame is decoded, because display rotation and interlacing are only known there.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from deid_ops.errors import InputError
from deid_ops.types import I64, frozen_array
from deid_ops.video import formats
from deid_ops.video.frame import ColorTags
from deid_ops.video.probe import (
    ATTACHED_PIC,
    COPY_AGAIN,
    Probe,
    codec_name,
    find_video_stream,
    open_input,
    probe_first_frame,
    refuse_unsupported,
)


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """A stream of the file other than the video stream.

    `is_picture` marks cover art and thumbnails: still images that may show a face and are
    therefore never copied.
    """

    index: int
    type: str
    codec: str
    is_picture: bool = False


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Everything about the video stream that the output must keep.

    `rotation_deg` is the counter-clockwise display rotation; `display_matrix` holds the nine
    integers of FFmpeg's display matrix where the file has one (it also covers mirroring).
    Colour tags are FFmpeg's numbers, 2 (0 for the range) meaning "not tagged".
    """

    container: str
    codec: str
    profile: str
    pix_fmt: str
    bit_depth: int
    width: int
    height: int
    time_base: Fraction
    average_rate: Fraction | None
    sample_aspect_ratio: Fraction | None
    rotation_deg: int
    display_matrix: tuple[int, ...] | None
    color_range: int
    color_primaries: int
    color_trc: int
    colorspace: int
    has_b_frames: bool
    stream_index: int
    n_frames_from_index: int
    n_hidden_packets: int
    start_pts: int
    last_duration: int
    bit_rate: int | None
    other_streams: tuple[StreamFacts, ...]

    @property
    def color(self) -> ColorTags:
        """Conversion to RGB."""
        return formats.color_tags(self.pix_fmt, self.colorspace, self.color_range, self.height)

    @property
    def frame_pix_fmt(self) -> str:
        """Pixel format of the decoded `Frame`: the stream's own, `bgr24` for GIF."""
        return "bgr24" if self.codec == "gif" else self.pix_fmt


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """Timestamps of every frame a player would show, in presentation order.

    Attributes:
        path: the file.
        facts: properties of the stream.
        pts: [n] strictly rising presentation timestamps in `facts.time_base`.
        keyframe_pts: [k] subset of `pts` that the file stores as keyframes.
        clean_keyframe_pts: [c] keyframes with a closed GOP: no packet after it is shown before it
            and none before it is shown after it, so the stream can be cut there.
        duration_s: from the first frame to the end of the last one.
        size_bytes: of the file.
    """

    path: str
    facts: VideoFacts
    pts: I64
    keyframe_pts: I64
    clean_keyframe_pts: I64
    duration_s: float
    size_bytes: int

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("pts", "keyframe_pts", "clean_keyframe_pts"):
            value = frozen_array(getattr(self, name), np.int64, (-1,), name)
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.pts)


def read_index(path: str) -> VideoIndex:
    """Read the index of one video file.

    Args:
        path: local path of an mp4/mov, mkv/webm, MPEG-TS or GIF file.

    Raises:
        InputError: the file cannot be treated. Reasons: `empty_file`, `unreadable`, `truncated`,
            `no_video_stream`, `no_frames`, `missing_timestamps`, `unsupported_container`,
            `unsupported_codec`, `unsupported_pix_fmt`, `unsupported_alpha`,
            `unsupported_interlaced`, `unsupported_side_data` (HDR metadata, closed captions),
            `unsupported_multiple_video`.
        FileNotFoundError: there is no such file.

    Example:
        >>> read_index("drive.mp4").facts.codec  # doctest: +SKIP
        'h264'
    """
    size_bytes = Path(path).stat().st_size
    if size_bytes == 0:
        raise InputError("empty_file", path, "the file holds 0 bytes", COPY_AGAIN)
    with open_input(path) as container:
        stream = find_video_stream(container, path)
        refuse_unsupported(container, stream, path)
        stream_index = stream.index
        probe = probe_first_frame(container, stream, path)
    with open_input(path) as container:
        stream = container.streams[stream_index]
        packets = _read_packets(container, stream, path)
        facts = _facts(container, stream, probe, packets)
        _refuse_truncated(container, stream, packets, path)
    duration_s = float((packets.pts[-1] + facts.last_duration - facts.start_pts) * facts.time_base)
    return VideoIndex(
        path, facts, packets.pts, packets.keyframe_pts, packets.clean_pts, duration_s, size_bytes
    )


@dataclass(frozen=True, slots=True)
class _Packets:
    pts: I64
    keyframe_pts: I64
    clean_pts: I64
    last_duration: int
    n_all: int
    n_hidden: int
    n_corrupt: int


def _read_packets(container: Any, stream: Any, path: str) -> _Packets:
    """Collect timestamps and flags of all packets, in decode order."""
    rows: list[tuple[int, int, bool, bool]] = []
    n_all = n_corrupt = n_untimed = 0
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            n_all += 1
            n_corrupt += packet.is_corrupt
            if packet.pts is not None:
                shown = not packet.is_discard
                rows.append((packet.pts, packet.duration or 0, packet.is_keyframe, shown))
            elif not packet.is_discard:
                n_untimed += 1
    except av.FFmpegError as error:
        detail = f"demuxing stopped after {n_all} packets ({error})"
        raise InputError("truncated", path, detail, COPY_AGAIN) from error
    n_twice = len(rows) - len({row[0] for row in rows})
    if n_untimed or n_twice:
        detail = f"{n_untimed + n_twice} of {n_all} packets have no timestamp of their own"
        remedy = "remux with generated timestamps"
        raise InputError("missing_timestamps", path, detail, remedy)
    if not any(is_key for _, _, is_key, _ in rows):
        raise InputError("no_frames", path, f"{n_all} packets, no keyframe", COPY_AGAIN)
    packets = _order(rows, n_all, n_corrupt)
    if packets is None:
        raise InputError("no_frames", path, f"{n_all} packets, none is shown", COPY_AGAIN)
    return packets


def _order(rows: list[tuple[int, int, bool, bool]], n_all: int, n_corrupt: int) -> _Packets | None:
    """Sort by presentation, find the closed GOPs, hide what no player shows.

    Hidden are packets before an edit list's start, and at the very start of the stream those
    before the first keyframe and the leading pictures of an open GOP, whose references are not in
    the file. The first frame shown counts as a keyframe: a clip can only begin with one.
    """
    pts, duration = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    is_key, shown = (np.array([row[k] for row in rows], np.bool_) for k in (2, 3))
    first_key = int(np.argmax(is_key))
    shown &= (np.arange(len(pts)) >= first_key) & (pts >= pts[first_key])
    if not shown.any():
        return None
    n_hidden = n_all - int(shown.sum())
    pts, duration, is_key = pts[shown], duration[shown], is_key[shown]
    is_key |= pts == pts.min()
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(pts)[:-1]])
    after = np.minimum.accumulate(pts[::-1])[::-1]
    clean = is_key & (before < pts) & (after == pts)
    ordered = np.sort(pts)
    last_duration = int(duration[np.argmax(pts)])
    if last_duration <= 0:
        last_duration = int(np.median(np.diff(ordered))) if len(ordered) > 1 else 1
    keyframes = np.sort(pts[is_key])
    return _Packets(ordered, keyframes, pts[clean], last_duration, n_all, n_hidden, n_corrupt)


def _refuse_truncated(container: Any, stream: Any, packets: _Packets, path: str) -> None:
    """Compare what was demuxed with what the header promises."""
    promised = stream.frames if not container.format.name.startswith("gif") else 0
    if packets.n_corrupt or packets.n_all < promised:
        detail = f"{packets.n_all} of {max(promised, packets.n_all)} packets"
        detail += f", {packets.n_corrupt} of them incomplete"
        raise InputError("truncated", path, detail, COPY_AGAIN)
    promised_s = _tagged_duration_s(stream.metadata.get("DURATION", ""))
    found_s = float((packets.pts[-1] + packets.last_duration) * stream.time_base)
    slack_s = max(0.05, 3.0 * float(packets.last_duration * stream.time_base))
    if promised_s is not None and found_s + slack_s < promised_s:
        detail = f"the header promises {promised_s:.3f} s, packets end at {found_s:.3f} s"
        raise InputError("truncated", path, detail, COPY_AGAIN)


def _tagged_duration_s(text: str) -> float | None:
    """Parse Matroska's per-stream tag `HH:MM:SS.nnnnnnnnn`."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    try:
        return int(parts[0]) * 3600.0 + int(parts[1]) * 60.0 + float(parts[2])
    except ValueError:
        return None


def _facts(container: Any, stream: Any, probe: Probe, packets: _Packets) -> VideoFacts:
    context = stream.codec_context
    others = tuple(
        StreamFacts(s.index, s.type, codec_name(s), bool(s.disposition & ATTACHED_PIC))
        for s in container.streams
        if s.index != stream.index
    )
    codec = codec_name(stream)
    layout = formats.pixel_layout(stream.pix_fmt, context.width, context.height)
    return VideoFacts(
        container=container.format.name,
        codec=codec,
        profile=context.profile or "",
        pix_fmt=stream.pix_fmt,
        bit_depth=8 if layout is None else layout.bit_depth,
        width=context.width,
        height=context.height,
        time_base=stream.time_base,
        average_rate=stream.average_rate,
        sample_aspect_ratio=stream.sample_aspect_ratio,
        rotation_deg=probe.rotation_deg,
        display_matrix=probe.display_matrix,
        color_range=int(context.color_range),
        color_primaries=int(context.color_primaries),
        color_trc=int(context.color_trc),
        colorspace=int(context.colorspace),
        has_b_frames=bool(context.has_b_frames),
        stream_index=stream.index,
        n_frames_from_index=len(packets.pts),
        n_hidden_packets=packets.n_hidden,
        start_pts=int(packets.pts[0]),
        last_duration=packets.last_duration,
        bit_rate=stream.bit_rate,
        other_streams=others,
    )
