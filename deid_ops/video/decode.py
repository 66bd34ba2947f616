"""Decoding one span, frame by frame, in the stream's own pixel format and as BGR.

`child.py` runs the same iterator in a process of its own; production code goes through
`child.open_frames`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from deid_ops.errors import InputError
from deid_ops.types import U8, Span
from deid_ops.video import formats
from deid_ops.video.formats import PixelLayout
from deid_ops.video.frame import ColorTags, Frame
from deid_ops.video.probe import codec_name, open_input

Pixels = Literal["native", "bgr", "both"]

_CORRUPT = "replace the file, or accept that this span is quarantined"
# Where to start demuxing, in seconds before the span: containers differ in what a seek promises.
_SEEK_BACK_S = (0.0, 1.0, 10.0, None)


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One decoded frame.

    Attributes:
        frame: native planes; None when only BGR was asked for.
        bgr: [h, w, 3] uint8 full-range BGR, converted with the stream's colour tags; None when
            only native planes were asked for.
        index: 0-based position in the span.
        pts: presentation timestamp.
        is_key: the container stores this frame as a keyframe.
    """

    frame: Frame | None
    bgr: U8 | None
    index: int
    pts: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class StreamLayout:
    """What every frame of one stream has in common.

    `pix_fmt` is that of the `Frame`s (`bgr24` for GIF), `coded_pix_fmt` what the decoder returns.
    """

    width: int
    height: int
    coded_pix_fmt: str
    pix_fmt: str
    color: ColorTags

    @property
    def planes(self) -> PixelLayout:
        """Plane shapes of the `Frame`s."""
        layout = formats.pixel_layout(self.pix_fmt, self.width, self.height)
        if layout is None:
            raise ValueError(f"no layout for {self.pix_fmt}")
        return layout


class SpanReader:
    """Decoder of one span: first the layout, then the raw frames.

    Args:
        path: local file.
        span: of its video stream.
        n_threads: decoder threads, 0 for one a core.

    Raises:
        InputError: `unreadable`, `truncated` or `unsupported_pix_fmt`.
    """

    def __init__(self, path: str, span: Span, n_threads: int = 0) -> None:
        self.path, self.span = path, span
        self._n_threads = n_threads
        with open_input(path) as container:
            stream = container.streams[span.stream_index]
            context = stream.codec_context
            coded = stream.pix_fmt or "unknown"
            pix_fmt = "bgr24" if codec_name(stream) == "gif" else coded
            if formats.pixel_layout(pix_fmt, context.width, context.height) is None:
                remedy = "use planar YUV of 8, 10 or 12 bits"
                raise InputError("unsupported_pix_fmt", path, f"decodes to {coded}", remedy)
            tags = formats.color_tags(
                pix_fmt, int(context.colorspace), int(context.color_range), context.height
            )
            self.layout = StreamLayout(context.width, context.height, coded, pix_fmt, tags)

    def __iter__(self) -> Iterator[tuple[int, int, bool, Any]]:
        """Yield `(index, pts, is_key, PyAV frame)` in presentation order.

        Raises:
            InputError: `decode_error`, `short_decode`, `unsupported_interlaced` or
                `unsupported_alpha`.
        """
        n_out, last_pts = 0, None
        try:
            for pts, is_key, frame in self._frames_from_span_start():
                if not self.span.contains(pts):
                    continue
                if last_pts is not None and pts <= last_pts:
                    detail = f"timestamp {pts} follows {last_pts}"
                    raise InputError("decode_error", self.path, detail, _CORRUPT)
                self._refuse(frame, pts)
                yield n_out, pts, is_key, frame
                n_out, last_pts = n_out + 1, pts
                if n_out == self.span.n_frames:
                    return
        except av.FFmpegError as error:
            detail = f"after {n_out} of {self.span.n_frames} frames: {error}"
            reason = "decoder_memory" if isinstance(error, MemoryError) else "decode_error"
            raise InputError(reason, self.path, detail, _CORRUPT) from error
        detail = f"{n_out} of {self.span.n_frames} frames came out of the decoder"
        raise InputError("short_decode", self.path, detail, _CORRUPT)

    def _refuse(self, frame: Any, pts: int) -> None:
        size = (frame.width, frame.height, frame.format.name)
        want = (self.layout.width, self.layout.height, self.layout.coded_pix_fmt)
        if frame.is_corrupt:
            detail = f"the frame at pts {pts} is damaged"
            raise InputError("decode_error", self.path, detail, _CORRUPT)
        if size != want:
            detail = f"the frame at pts {pts} is {size}, the stream began as {want}"
            raise InputError("decode_error", self.path, detail, "split the file at the change")
        if frame.interlaced_frame:
            detail = f"the frame at pts {pts} is interlaced"
            raise InputError("unsupported_interlaced", self.path, detail, "deinterlace the video")

    def _frames_from_span_start(self) -> Iterator[tuple[int, bool, Any]]:
        """Decode from a keyframe at or before the span's start."""
        for seek_back_s in _SEEK_BACK_S:
            with open_input(self.path) as container:
                stream = container.streams[self.span.stream_index]
                stream.thread_type = "AUTO"
                stream.codec_context.thread_count = self._n_threads
                packets = self._demux(container, stream, seek_back_s)
                first = next(packets, None)
                if first is None and seek_back_s is not None:
                    continue
                if first is not None:
                    yield from self._decode(first, packets)
                return

    def _decode(self, first: Any, rest: Iterator[Any]) -> Iterator[tuple[int, bool, Any]]:
        waiting: dict[int, bool] = {}  # is_key of each packet of the span without its frame
        packet = first
        while packet is not None:
            if packet.size and packet.pts is not None and not packet.is_discard:
                waiting[packet.pts] = packet.is_keyframe
            for frame in packet.decode():
                if frame.pts is None:
                    continue
                is_key = waiting.pop(frame.pts, bool(frame.key_frame))
                passed = [pts for pts in waiting if pts < frame.pts]
                lost = [waiting.pop(pts) for pts in passed if self.span.contains(pts)]
                if lost:
                    detail = f"{len(lost)} frames before pts {frame.pts} did not come out"
                    raise InputError("decode_error", self.path, detail, _CORRUPT)
                yield frame.pts, is_key, frame
            packet = next(rest, None)

    def _demux(self, container: Any, stream: Any, seek_back_s: float | None) -> Iterator[Any]:
        """Yield packets from a keyframe on; nothing at all if that keyframe comes too late."""
        start = self.span.pts_start
        if seek_back_s is not None:
            offset = start - round(seek_back_s / stream.time_base)
            try:
                container.seek(offset, stream=stream, backward=True)
            except av.FFmpegError:
                return  # not seekable to there: the caller goes further back
        found_key = False
        for packet in container.demux(stream):
            if not found_key and packet.size:
                if not packet.is_keyframe:
                    continue
                if seek_back_s is not None and (packet.pts is None or packet.pts > start):
                    return
                found_key = True
            if found_key:
                yield packet


class BgrConverter:
    """YUV to full-range BGR with the stream's colour tags (swscale)."""

    def __init__(self, layout: StreamLayout, path: str) -> None:
        self._layout, self._path = layout, path
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> U8:
        """Return `[h, w, 3]` BGR, a read-only view of memory the result keeps alive.

        Raises:
            InputError: `unsupported_alpha`: a GIF frame with transparent pixels.
        """
        tags = self._layout.color
        if self._layout.pix_fmt != "bgr24":
            space = formats.SWS_COLORSPACE[tags.matrix]
            frame = self._reformatter.reformat(
                frame,
                format="bgr24",
                src_colorspace=space,
                dst_colorspace=space,
                src_color_range=2 if tags.full_range else 1,
                dst_color_range=2,
            )
            shape: tuple[int, ...] = (frame.height, frame.width, 3)
            return formats.planes_of(frame, PixelLayout((shape,), np.dtype(np.uint8), 8))[0]
        shape = (frame.height, frame.width, 4)
        bgra = formats.planes_of(frame, PixelLayout((shape,), np.dtype(np.uint8), 8))[0]
        if int(bgra[..., 3].min()) < 255:
            detail = f"the frame at pts {frame.pts} has transparent pixels"
            raise InputError("unsupported_alpha", self._path, detail, "flatten the animation")
        bgr = np.ascontiguousarray(bgra[..., :3])
        bgr.flags.writeable = False
        return bgr


def iter_frames(
    path: str, span: Span, pixels: Pixels = "both", n_threads: int = 0
) -> Iterator[DecodedFrame]:
    """Decode a span in this process.

    A crash of the decoder takes the process along; `child.open_frames` with limits does not.

    Args:
        path: local file.
        span: as planned from its index.
        pixels: which of `DecodedFrame.frame` and `.bgr` to fill.
        n_threads: decoder threads, 0 for one a core.

    Raises:
        InputError: the file is damaged or holds fewer frames than the span promises
            (`decode_error`, `short_decode`).
    """
    reader = SpanReader(path, span, n_threads)
    layout, convert = reader.layout, BgrConverter(reader.layout, path)
    planes = layout.planes
    for index, pts, is_key, raw in reader:
        packed = layout.pix_fmt == "bgr24"
        bgr = convert(raw) if pixels != "native" or packed else None
        frame = None
        if pixels != "bgr":
            arrays = (bgr,) if packed and bgr is not None else formats.planes_of(raw, planes)
            frame = Frame(index, pts, is_key, layout.pix_fmt, arrays, layout.color)
        yield DecodedFrame(frame, bgr if pixels != "native" else None, index, pts, is_key)
