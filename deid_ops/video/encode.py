"""Writing a clip that meets the media contract.

Timestamps, time base, start, rotation, colour tags, bit depth, keyframe positions and all other
streams come out as they went in; only pixels change. The file appears under its name when it is
complete, never before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.frame import PictureType

from deid_ops.errors import InputError, InvariantError, SetupError
from deid_ops.types import Span
from deid_ops.video import formats
from deid_ops.video.frame import Frame
from deid_ops.video.gif import GifFrames
from deid_ops.video.index import VideoIndex
from deid_ops.video.policy import MediaPolicy, encoder_options
from deid_ops.video.probe import open_input
from deid_ops.video.scheduling import restore_scheduling
from deid_ops.video.tracks import (
    OtherStreams,
    copied_tags,
    copy_video_tags,
    muxer_of,
    muxer_options,
    write_error,
)


class ClipWriter:
    """Encodes the frames of one span; a context manager.

    Args:
        out_path: file to write, in the container of the source. Replaced if it exists.
        source_path: where the other streams and the tags come from.
        index: of the source.
        span: what is written. Its frames must come in order, each exactly once.
        policy: encoders, quality, what to strip.

    Raises:
        InputError: `unsupported_stream`, `unsupported_time_base`.
        SetupError: the policy names an encoder that this machine cannot open.
        InvariantError: a frame is not the next one of the span, or frames are missing at the end;
            no file is left.

    Example:
        >>> with ClipWriter(out, path, index, span, MediaPolicy()) as clip:  # doctest: +SKIP
        ...     for decoded in frames:
        ...         clip.write(decoded.frame)
    """

    def __init__(
        self, out_path: str, source_path: str, index: VideoIndex, span: Span, policy: MediaPolicy
    ) -> None:
        self._out_path, self._part_path = out_path, f"{out_path}.part"
        self._index, self._span, self._policy = index, span, policy
        first = int(np.searchsorted(index.pts, span.pts_start))
        self._expected_pts = index.pts[first : first + span.n_frames].tolist()
        self._key_pts = set(index.keyframe_pts.tolist())
        self._n_written = 0
        facts = index.facts
        end = facts.last_duration + int(index.pts[-1]) if span.pts_end is None else span.pts_end
        steps = np.diff([*self._expected_pts, end]).tolist()
        self._duration_at = dict(zip(self._expected_pts, steps, strict=True))
        layout = formats.pixel_layout(facts.frame_pix_fmt, facts.width, facts.height)
        if layout is None:
            raise InvariantError(f"{source_path}: no layout for {facts.pix_fmt}")
        self._layout = layout
        self._resources = contextlib.ExitStack()
        try:
            self._open(source_path)
        except BaseException:
            self._discard()
            raise

    def _open(self, source_path: str) -> None:
        facts, policy = self._index.facts, self._policy
        source = self._resources.enter_context(open_input(source_path))
        muxer = muxer_of(source_path, facts.container)
        options = muxer_options(muxer, facts, source)
        self._gif = GifFrames(self._index, self._span) if muxer == "gif" else None
        if self._gif is not None:
            options |= self._gif.muxer_options
        self._output = av.open(self._part_path, "w", format=muxer, container_options=options)
        self._others = OtherStreams(source, self._output, self._index, self._span, policy)
        for stream in source.streams:
            if stream.index == facts.stream_index:
                self._add_video(stream)
            elif self._others.keeps(stream):
                self._others.add_stream(stream)
        self._output.metadata.update(copied_tags(source.metadata, policy))
        if len(self._expected_pts) == len(self._index) and not policy.strip_metadata:
            self._output.set_chapters(source.chapters())
        self._write_header()
        self._others.start()

    def _add_video(self, source: Any) -> None:
        facts, policy = self._index.facts, self._policy
        encoder = policy.encoder_of(facts.codec)
        self._encoder_name = encoder
        rate = facts.average_rate or Fraction(25)
        options = encoder_options(encoder, policy, facts)
        try:
            stream: Any = self._output.add_stream(encoder, rate=rate, options=options)
        except (av.FFmpegError, ValueError) as error:
            raise SetupError(f"encoder {encoder} cannot write {facts.codec}: {error}") from error
        context = stream.codec_context
        context.width, context.height = facts.width, facts.height
        context.pix_fmt = self._coded_pix_fmt = self._choose_pix_fmt(context)
        stream.time_base = context.time_base = facts.time_base
        context.color_range, context.color_primaries = facts.color_range, facts.color_primaries
        context.color_trc, context.colorspace = facts.color_trc, facts.colorspace
        if facts.sample_aspect_ratio:
            context.sample_aspect_ratio = facts.sample_aspect_ratio
        if source.codec_context.codec_tag == "hvc1":
            context.codec_tag = "hvc1"
        context.thread_count = policy.n_threads
        if facts.display_matrix is not None:
            stream.set_display_matrix(facts.display_matrix)
        copy_video_tags(source, stream, policy, self._expected_pts[0] == self._index.pts[0])
        self._stream, self._context = stream, context

    def _choose_pix_fmt(self, context: Any) -> str:
        """Take the stream's own format, or the encoder's rearrangement of the same samples."""
        if self._gif is not None:
            return "pal8"
        own = self._index.facts.pix_fmt
        taken = {f.name for f in context.codec.video_formats or ()}
        same = {"yuv420p10le": "p010le", "yuvj420p": "yuv420p"}.get(own, own)
        return own if own in taken or same not in taken else same

    def _write_header(self) -> None:
        try:
            self._context.open()
        except av.FFmpegError as error:
            name = self._encoder_name
            raise SetupError(f"encoder {name} cannot be opened on this machine: {error}") from error
        finally:
            restore_scheduling()
        try:
            self._output.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            detail = f"the container does not take all streams: {error}"
            remedy = "set strip_data, or remux the file"
            raise InputError("unsupported_stream", self._index.path, detail, remedy) from error
        if self._stream.time_base != self._index.facts.time_base:
            detail = f"{self._index.facts.time_base} would become {self._stream.time_base}"
            remedy = "remux the file with the container's usual time base"
            raise InputError("unsupported_time_base", self._index.path, detail, remedy)

    def __enter__(self) -> Self:
        return self

    def write(self, frame: Frame) -> None:
        """Encode the next frame of the span."""
        self._check(frame)
        if self._gif is not None:
            coded = self._gif.to_pal8(frame)
        else:
            coded = av.VideoFrame(*frame.size_wh_px, frame.pix_fmt)
            formats.fill_planes(coded, frame.planes, self._layout)
            if self._coded_pix_fmt != frame.pix_fmt:
                coded = self._rearranged(coded)
        facts = self._index.facts
        coded.pts, coded.time_base = frame.pts, facts.time_base
        coded.duration = self._duration_at[frame.pts]
        coded.color_range, coded.colorspace = facts.color_range, facts.colorspace
        if frame.pts in self._key_pts:
            coded.pict_type = PictureType.I
        self._n_written += 1
        with self._naming_errors():
            self._mux(self._stream.encode(coded))

    def _rearranged(self, coded: Any) -> Any:
        if (coded.format.name, self._coded_pix_fmt) == ("yuvj420p", "yuv420p"):
            full = {"src_color_range": 2, "dst_color_range": 2}
            return coded.reformat(format=self._coded_pix_fmt, **full)
        return coded.reformat(format=self._coded_pix_fmt)

    def _check(self, frame: Frame) -> None:
        facts, k = self._index.facts, self._n_written
        want_pts = self._expected_pts[k] if k < len(self._expected_pts) else None
        if frame.pts != want_pts:
            raise InvariantError(f"{self._out_path}: frame {k} has pts {frame.pts}, not {want_pts}")
        got = (frame.pix_fmt, frame.size_wh_px, len(frame.planes))
        want = (facts.frame_pix_fmt, (facts.width, facts.height), len(self._layout.plane_shapes))
        if got != want:
            raise InvariantError(f"{self._out_path}: frame {k} is {got}, the stream is {want}")

    def _mux(self, packets: list[Any]) -> None:
        """Write video packets, and before each what is due of the other streams."""
        for packet in packets:
            packet.duration = self._duration_at.get(packet.pts, packet.duration)
            self._others.copy_until(packet.dts * packet.time_base)
            self._output.mux_one(packet)

    @contextlib.contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise write_error(self._out_path, self._index.path, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        if self._n_written != self._span.n_frames:
            raise InvariantError(
                f"{self._out_path}: {self._n_written} of {self._span.n_frames} frames were written"
            )
        with self._naming_errors():
            self._mux(self._stream.encode(None))
            self._others.copy_until(None)
            self._output.close()
        self._resources.close()
        os.replace(self._part_path, self._out_path)

    def _discard(self) -> None:
        """Close everything and leave no file."""
        output = getattr(self, "_output", None)
        if output is not None:
            with contextlib.suppress(av.FFmpegError, ValueError):
                output.close()
        self._resources.close()
        Path(self._part_path).unlink(missing_ok=True)
