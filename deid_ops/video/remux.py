"""Copying spans without faces: the same packets, or the very same bytes."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av

from deid_ops.errors import InputError, InvariantError
from deid_ops.types import Span
from deid_ops.video.index import VideoIndex
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.probe import open_input
from deid_ops.video.tracks import (
    OtherStreams,
    copied_tags,
    copy_video_tags,
    muxer_of,
    muxer_options,
    write_error,
)

Copied = Literal["file", "packets"]


def can_copy(index: VideoIndex, span: Span) -> bool:
    """Tell whether a span may be published without decoding it again.

    Not where the stream holds packets that no player shows (before an edit list's start, for
    example): nobody has looked for faces in them. Not for a part of a GIF, whose frames build
    upon each other.
    """
    whole = span.n_frames == len(index)
    return index.facts.n_hidden_packets == 0 and (whole or index.facts.codec != "gif")


def copy_span(
    source_path: str, index: VideoIndex, span: Span, out_path: str, policy: MediaPolicy
) -> Copied:
    """Copy one span bit-exact.

    Where the span is the whole file and the policy strips nothing, the file's bytes are copied;
    else the packets of all kept streams.

    Args:
        source_path: local file.
        index: of the source.
        span: cut at clean keyframes (`segments.plan_spans`).
        out_path: file to write; it appears when it is complete.
        policy: which streams are kept.

    Returns:
        What was copied: `file` or `packets`.

    Raises:
        InvariantError: `can_copy` is false, or the packets are not those of the index.
        InputError: `unsupported_stream`.
    """
    if not can_copy(index, span):
        raise InvariantError(f"{source_path}: the span has frames that no detector has seen")
    part_path = f"{out_path}.part"
    try:
        if span.n_frames == len(index) and not _strips(index, policy):
            shutil.copyfile(source_path, part_path)
            copied: Copied = "file"
        else:
            try:
                _copy_packets(source_path, index, span, part_path, policy)
            except (av.FFmpegError, OSError, ValueError) as error:
                raise write_error(out_path, source_path, error) from error
            copied = "packets"
        os.replace(part_path, out_path)
    finally:
        Path(part_path).unlink(missing_ok=True)
    return copied


def _strips(index: VideoIndex, policy: MediaPolicy) -> bool:
    streams = index.facts.other_streams
    return policy.strip_metadata or any(s.is_picture or not policy.keeps(s.type) for s in streams)


def _copy_packets(
    source_path: str, index: VideoIndex, span: Span, part_path: str, policy: MediaPolicy
) -> None:
    facts = index.facts
    muxer = muxer_of(source_path, facts.container)
    n_copied, starts = 0, span.pts_start <= int(index.pts[0])
    with open_input(source_path) as source, open_input(source_path) as beside:
        options = muxer_options(muxer, facts, source)
        with av.open(part_path, "w", format=muxer, container_options=options) as output:
            others = OtherStreams(beside, output, index, span, policy)
            video: Any = None
            for stream in beside.streams:
                if stream.index == facts.stream_index:
                    video = _add_video(source.streams[stream.index], output, index, policy, starts)
                elif others.keeps(stream):
                    others.add_stream(stream)
            output.metadata.update(copied_tags(source.metadata, policy))
            if span.n_frames == len(index) and not policy.strip_metadata:
                output.set_chapters(source.chapters())
            try:
                output.start_encoding()
            except (av.FFmpegError, ValueError) as error:
                detail = f"the container does not take all streams: {error}"
                remedy = "set strip_data, or remux the file"
                raise InputError("unsupported_stream", source_path, detail, remedy) from error
            others.start()
            for packet in source.demux(source.streams[facts.stream_index]):
                if packet.pts is None or not span.contains(packet.pts):
                    continue
                n_copied += 1
                stamp = packet.dts if packet.dts is not None else packet.pts
                others.copy_until(stamp * packet.time_base)
                packet.stream = video
                output.mux_one(packet)
            others.copy_until(None)
    if n_copied != span.n_frames:
        raise InvariantError(f"{source_path}: {n_copied} packets for {span.n_frames} frames")


def _add_video(
    stream: Any, output: Any, index: VideoIndex, policy: MediaPolicy, starts: bool
) -> Any:
    copy = output.add_stream_from_template(stream, opaque=True)
    if stream.codec_context.codec_tag == "hvc1":
        copy.codec_context.codec_tag = "hvc1"
    if index.facts.display_matrix is not None:
        copy.set_display_matrix(index.facts.display_matrix)
    copy.codec_context.framerate = stream.average_rate or Fraction(25)
    copy_video_tags(stream, copy, policy, starts)
    return copy
