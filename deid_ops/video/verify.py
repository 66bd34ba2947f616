"""Holding a written clip to the media contract, and measuring what encoding alone costs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.types import Bool, Span
from deid_ops.video.decode import Pixels, iter_frames
from deid_ops.video.frame import Frame
from deid_ops.video.index import VideoFacts, VideoIndex, read_index
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.probe import open_input
from deid_ops.video.segments import plan_spans
from deid_ops.video.tracks import Bounds, in_span, is_chapters, is_timecode, span_bounds_s

_KEPT = (
    "codec", "width", "height", "bit_depth", "time_base", "sample_aspect_ratio", "rotation_deg",
    "display_matrix", "color_range", "color_primaries", "color_trc", "colorspace",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One copied stream: packets in and out, and whether they are the same.

    `max_abs_dt_s` is the largest difference of packet times in seconds.
    """

    type: str
    n_packets_in: int
    n_packets_out: int
    same_bytes: bool
    max_abs_dt_s: float


@dataclass(frozen=True, slots=True)
class MediaReport:
    """The comparison of one span of a source with the clip made from it.

    Attributes:
        n_frames_in: frames of the span.
        n_frames_out: frames the clip's index holds.
        max_abs_dpts: largest difference of presentation timestamps, in ticks; None where the
            counts differ.
        start_pts_in: first timestamp of the span.
        start_pts_out: first timestamp of the clip.
        changed_facts: properties of the stream that differ, as `name: before -> after`.
        keyframes_equal: the clip has its keyframes at the span's keyframes and nowhere else.
        streams: the other kept streams.
    """

    n_frames_in: int
    n_frames_out: int
    max_abs_dpts: int | None
    start_pts_in: int
    start_pts_out: int
    changed_facts: tuple[str, ...]
    keyframes_equal: bool
    streams: tuple[StreamReport, ...]

    def problems(self) -> list[str]:
        """Every breach of the media contract, in words; empty when the contract is met."""
        found = [f"changed {fact}" for fact in self.changed_facts]
        if self.n_frames_in != self.n_frames_out:
            found.append(f"{self.n_frames_in} frames in, {self.n_frames_out} out")
        elif self.max_abs_dpts:
            found.append(f"timestamps differ by up to {self.max_abs_dpts} ticks")
        if self.start_pts_in != self.start_pts_out:
            found.append(f"start {self.start_pts_in} -> {self.start_pts_out}")
        if not self.keyframes_equal:
            found.append("keyframes lie elsewhere")
        for k, stream in enumerate(self.streams):
            if not stream.same_bytes:
                counts = f"{stream.n_packets_in} packets in, {stream.n_packets_out} out"
                found.append(f"copied stream {k} ({stream.type}) differs: {counts}")
            elif stream.max_abs_dt_s > 0.0011:  # Matroska rounds to milliseconds
                found.append(f"copied stream {k} ({stream.type}) moved {stream.max_abs_dt_s} s")
        return found


def compare_media(
    source_path: str,
    index: VideoIndex,
    span: Span,
    output_path: str,
    policy: MediaPolicy | None = None,
) -> MediaReport:
    """Compare a clip with the span it was made from; reads packets, decodes one frame.

    Args:
        source_path: the source file.
        index: of the source.
        span: that was written.
        output_path: the clip.
        policy: it was written with; streams it strips are expected to be absent.

    Raises:
        InputError: the clip cannot be read at all.
    """
    policy = policy or MediaPolicy()
    output = read_index(output_path)
    first = int(np.searchsorted(index.pts, span.pts_start))
    pts_in = index.pts[first : first + span.n_frames]
    same_count = len(pts_in) == len(output)
    dpts = int(np.abs(pts_in - output.pts).max()) if same_count else None
    keys_in = [int(k) for k in index.keyframe_pts if span.contains(int(k))]
    keys_equal = index.facts.codec == "gif" or keys_in == output.keyframe_pts.tolist()
    return MediaReport(
        n_frames_in=len(pts_in),
        n_frames_out=len(output),
        max_abs_dpts=dpts,
        start_pts_in=int(pts_in[0]),
        start_pts_out=output.facts.start_pts,
        changed_facts=tuple(_changed(index.facts, output.facts)),
        keyframes_equal=keys_equal,
        streams=_compare_streams(source_path, index, span, output_path, policy),
    )


def _changed(before: VideoFacts, after: VideoFacts) -> list[str]:
    before, after = _normal(before), _normal(after)
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in (*_KEPT, "pix_fmt")]
    return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]


def _normal(facts: VideoFacts) -> VideoFacts:
    """FFmpeg has two spellings of full-range 8-bit YUV, and of square pixels."""
    ratio = facts.sample_aspect_ratio or Fraction(1)
    if facts.pix_fmt.startswith("yuvj"):
        plain = facts.pix_fmt.replace("yuvj", "yuv")
        return replace(facts, pix_fmt=plain, color_range=2, sample_aspect_ratio=ratio)
    return replace(facts, sample_aspect_ratio=ratio)


def _compare_streams(
    source_path: str, index: VideoIndex, span: Span, output_path: str, policy: MediaPolicy
) -> tuple[StreamReport, ...]:
    bounds = span_bounds_s(index, span)
    kinds, before = _packets(source_path, policy, bounds)
    kinds_out, after = _packets(output_path, MediaPolicy(), (None, None))
    if kinds != kinds_out:
        n_in, n_out = len(kinds), len(kinds_out)
        return (StreamReport(f"{kinds} -> {kinds_out}", n_in, n_out, False, 0.0),)
    reports = []
    for kind, old, new in zip(kinds, before, after, strict=True):
        same = [digest for _, digest in old] == [digest for _, digest in new]
        moved = max((abs(a - b) for (a, _), (b, _) in zip(old, new, strict=False)), default=0)
        reports.append(StreamReport(kind, len(old), len(new), same, float(moved)))
    return tuple(reports)


def _packets(
    path: str, policy: MediaPolicy, bounds: Bounds
) -> tuple[list[str], list[list[tuple[Fraction, bytes]]]]:
    """Return type and `(time, digest of the bytes)` of every packet, stream by stream."""
    with open_input(path) as container:
        streams = [
            s
            for s in container.streams
            if s.type not in ("video", "attachment")
            and policy.keeps(s.type)
            and not is_chapters(s)
            and not (is_timecode(s) and bounds[0] is not None)  # at the file's start only
        ]
        table: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in streams}
        for packet in container.demux(*streams) if streams else ():
            if packet.size and in_span(packet, bounds):
                stamp = packet.pts if packet.pts is not None else packet.dts or 0
                digest = hashlib.sha256(bytes(packet)).digest()
                table[packet.stream.index].append((stamp * packet.time_base, digest))
        # Muxers leave out tracks without a packet, as audio that ends before the span begins.
        found = [s for s in streams if table[s.index]]
        return [s.type for s in found], [table[s.index] for s in found]


def psnr_outside_db(
    source_path: str, index: VideoIndex, span: Span, output_path: str, masks: dict[int, Bool]
) -> float:
    """Luma PSNR in dB over all pixels outside the masks, over the whole span.

    Compare it with the same figure of a clip encoded from untouched frames by the same policy:
    what lies between the two was changed by something other than the encoder.

    Args:
        source_path: the source file.
        index: of the source.
        span: that was written.
        output_path: the clip.
        masks: frame index -> [h, w] true where the frame was edited; absent means nowhere.

    Returns:
        10 log10(peak^2 / mean squared error); infinity where nothing differs.

    Raises:
        InvariantError: the clip has other frames than the span.
    """
    output = read_index(output_path)
    (out_span,) = plan_spans(output, float("inf"))
    pixels: Pixels = "native"
    pairs = zip(
        iter_frames(source_path, span, pixels),
        iter_frames(output_path, out_span, pixels),
        strict=True,
    )
    squared, count = 0.0, 0
    for old, new in pairs:
        if old.pts != new.pts or old.frame is None or new.frame is None:
            raise InvariantError(f"{output_path}: pts {new.pts} where the source has {old.pts}")
        error = _luma(old.frame).astype(np.float64) - _luma(new.frame)
        outside = ~masks[old.index] if old.index in masks else np.ones(error.shape, np.bool_)
        squared += float((error[outside] ** 2).sum())
        count += int(outside.sum())
    if squared == 0.0:
        return float("inf")
    peak = float(2**index.facts.bit_depth - 1)
    return float(10.0 * np.log10(peak * peak * count / squared))


def _luma(frame: Frame) -> Any:
    plane = frame.planes[0]
    return plane if plane.ndim == 2 else plane.mean(axis=-1)
