"""The streams beside the video: which are kept, and copying their packets unchanged."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.stream import Discard

from deid_ops.errors import InputError, RetryableError
from deid_ops.types import Span
from deid_ops.video.formats import MUXER_OF_CONTAINER
from deid_ops.video.index import VideoFacts, VideoIndex
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.probe import codec_name

# Written by the muxer itself; copying them would describe the source file.
_MUXER_TAGS = ("major_brand", "minor_version", "compatible_brands", "DURATION", "BPS")
_EMPTY_CUE = b"\x00\x00"
_MAX_TIMESCALE = 2**31 - 1


def muxer_of(source_path: str, container: str) -> str:
    """Name of the muxer that writes the same kind of file as the source."""
    if container == "matroska,webm":
        with open(source_path, "rb") as file:
            return "webm" if b"webm" in file.read(64) else "matroska"
    if container.startswith("mov,"):
        with open(source_path, "rb") as file:
            return "mov" if file.read(12)[8:12] == b"qt  " else "mp4"
    return MUXER_OF_CONTAINER[container]


def muxer_options(muxer: str, facts: VideoFacts, source: Any) -> dict[str, str]:
    """Options under which the muxer keeps timestamps, time base and tags as they are."""
    options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    if muxer in ("mp4", "mov"):
        scales = [facts.time_base.denominator]
        scales += [s.time_base.denominator for s in source.streams if s.time_base]
        common = math.lcm(*scales)
        # Edit lists count in the movie timescale; only a common multiple keeps every start exact.
        options["movie_timescale"] = str(common if common <= _MAX_TIMESCALE else scales[0])
        options["video_track_timescale"] = str(facts.time_base.denominator)
        if any("." in key for key in source.metadata):
            options["movflags"] = "use_metadata_tags"
    if muxer == "mpegts":
        options["mpegts_copyts"] = "1"
    return options


def copied_tags(tags: dict[str, str], policy: MediaPolicy) -> dict[str, str]:
    """Tags of a container or stream that the output gets."""
    if policy.strip_metadata:
        return {}
    return {key: value for key, value in tags.items() if not key.startswith(_MUXER_TAGS)}


class OtherStreams:
    """Copies the packets of one span of all kept streams but the video.

    Args:
        source: the opened source file, not used by anyone else.
        output: the container to write; its streams are added by `add_stream`.
        index: of the source.
        span: packets whose time lies in it are copied. The first span of a file also takes what
            lies before, the last one what lies behind.
        policy: decides which streams are kept.
    """

    def __init__(
        self, source: Any, output: Any, index: VideoIndex, span: Span, policy: MediaPolicy
    ) -> None:
        self._source, self._output = source, output
        self._policy, self._path = policy, index.path
        self._out_of: dict[int, Any] = {}
        self._bounds_s = span_bounds_s(index, span)
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None

    def keeps(self, stream: Any) -> bool:
        """Tell whether a stream of the source is copied."""
        kept = stream.type != "video" and self._policy.keeps(stream.type)
        return kept and not is_timecode(stream) and not is_chapters(stream)

    def add_stream(self, stream: Any) -> None:
        """Declare a kept stream in the output.

        Raises:
            InputError: `unsupported_stream`: the container takes no such stream.
        """
        try:
            copy = self._output.add_stream_from_template(stream)
        except (av.FFmpegError, ValueError) as error:
            raise unsupported_stream(self._path, stream, error) from error
        copy_stream_tags(stream, copy, self._policy)
        self._out_of[stream.index] = copy

    def start(self) -> None:
        """Begin to read, after the header is written."""
        streams = [self._source.streams[k] for k in self._out_of]
        streams = [s for s in streams if s.type != "attachment"]
        if streams:
            for stream in self._source.streams:
                if stream.index not in self._out_of:
                    stream.discard = Discard.all
            self._packets = self._source.demux(*streams)
            self._next = next(self._packets, None)

    def copy_until(self, time_s: Fraction | None) -> None:
        """Mux every packet due before `time_s` (all that are left for None)."""
        while self._next is not None:
            packet = self._next
            stamp = packet.dts if packet.dts is not None else packet.pts
            due = None if stamp is None else stamp * packet.time_base
            if time_s is not None and due is not None and due > time_s:
                return
            if packet.size and in_span(packet, self._bounds_s):
                packet.stream = self._out_of[packet.stream.index]
                self._output.mux_one(packet)
            self._next = next(self._packets, None)


Bounds = tuple[Fraction | None, Fraction | None]


def span_bounds_s(index: VideoIndex, span: Span) -> Bounds:
    """Half-open interval of a span in seconds; None where it takes everything on that side.

    The first span of a file also takes the packets before its first frame, the last one those
    behind its last frame.
    """
    starts = span.pts_start <= int(index.pts[0])
    start = None if starts else span.pts_start * span.time_base
    return start, None if span.pts_end is None else span.pts_end * span.time_base


def in_span(packet: Any, bounds_s: Bounds) -> bool:
    """Tell whether a packet's time lies between the bounds.

    Never true for the empty cues of mp4 subtitles: they fill the gaps between two texts, and the
    muxer writes its own.
    """
    if codec_name(packet.stream) == "mov_text" and bytes(packet) == _EMPTY_CUE:
        return False
    start, end = bounds_s
    stamp = packet.pts if packet.pts is not None else packet.dts
    if stamp is None:
        return start is None
    time_s = stamp * packet.time_base
    return (start is None or time_s >= start) and (end is None or time_s < end)


def is_timecode(stream: Any) -> bool:
    """Tell mp4 timecode tracks; the muxer writes them itself from the video stream's tag."""
    return stream.type == "data" and "timecode" in stream.metadata


def is_chapters(stream: Any) -> bool:
    """Tell mp4 chapter tracks: the demuxer has turned them into chapters and reads no packets."""
    return bool(stream.type == "data" and stream.discard == Discard.all)


def copy_video_tags(stream: Any, copy: Any, policy: MediaPolicy, starts: bool) -> None:
    """Copy what belongs to the video stream; its timecode only where the file's start is."""
    copy_stream_tags(stream, copy, policy)
    if not starts or policy.strip_data:
        copy.metadata.pop("timecode", None)


def copy_stream_tags(stream: Any, copy: Any, policy: MediaPolicy) -> None:
    """Copy identity, disposition and tags of a stream."""
    copy.time_base = stream.time_base
    copy.disposition = stream.disposition
    copy.metadata.clear()
    tags = copied_tags(stream.metadata, policy)
    if stream.type == "attachment":  # its file name and type are no description but its content
        tags = {key: stream.metadata[key] for key in ("filename", "mimetype")}
    copy.metadata.update(tags)
    if stream.container.format.name == "mpegts":
        copy.id = stream.id


def unsupported_stream(path: str, stream: Any, error: Exception) -> InputError:
    """Name a stream that cannot be copied into the same kind of container."""
    detail = f"stream {stream.index} ({stream.type}) cannot be copied: {error}"
    return InputError("unsupported_stream", path, detail, "set strip_data, or remux the file")


def write_error(out_path: str, source_path: str, error: Exception) -> InputError | RetryableError:
    """Name a failure while writing: the disk's fault or the file's."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return RetryableError(f"{out_path} cannot be written: {error}")
    detail = f"the clip cannot be written: {error}"
    return InputError("encode_error", source_path, detail, "remux the file, or strip its streams")
