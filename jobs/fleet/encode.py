"""Write generated frames as the kinds of files that fleets store.

The encoders run with fixed thread counts and without version tags, so that one seed gives one
file, byte by byte, whatever the machine's number of cores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from deid_ops.types import U8

_AUDIO_RATE_HZ = 48_000
_TICKS = Fraction(1, 90_000)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a recording is stored.

    `rotation_degrees` is the display rotation (counter-clockwise, as FFmpeg counts); the frames
    handed in are upright and are turned the other way before coding.
    """

    codec: Literal["h264", "hevc"] = "h264"
    ten_bit: bool = False
    b_frames: int = 0
    keyframe_every: int = 25
    rotation_degrees: Literal[0, 90] = 0
    audio: bool = False


def encode(path: Path, frames: Iterable[tuple[Fraction, U8]], fps: int, encoding: Encoding) -> int:
    """Write a recording and return its number of frames.

    Args:
        path: the suffix chooses the container (`.mp4`, `.mkv`, `.ts`).
        frames: (time in seconds, BGR image), times rising.
        fps: nominal rate, for the header.
        encoding: codec and container features.
    """
    container = av.open(str(path), "w", options={"fflags": "+bitexact"})
    stream: Any = None
    count, time_s = 0, Fraction(0)
    with container:
        for time_s, upright in frames:
            image = (
                np.ascontiguousarray(np.rot90(upright, -1))
                if encoding.rotation_degrees
                else upright
            )
            if stream is None:
                stream = _video_stream(container, image, fps, encoding)
                sound = _audio_stream(container) if encoding.audio else None
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame = frame.reformat(format=stream.codec_context.pix_fmt, dst_colorspace="ITU709")
            frame.pts, frame.time_base = int(time_s / _TICKS), _TICKS
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
        if sound is not None:
            _write_sound(container, sound, float(time_s) + 1 / fps)
    return count


def _video_stream(container: Any, image: U8, fps: int, encoding: Encoding) -> Any:
    encoder = {"h264": "libx264", "hevc": "libx265"}[encoding.codec]
    stream = container.add_stream(encoder, rate=fps)
    context = stream.codec_context
    context.height, context.width = image.shape[:2]
    context.pix_fmt = "yuv420p10le" if encoding.ten_bit else "yuv420p"
    context.time_base = stream.time_base = _TICKS
    context.thread_count = 2
    context.max_b_frames, context.gop_size = encoding.b_frames, encoding.keyframe_every
    context.color_range, context.colorspace = 1, 1
    context.color_primaries, context.color_trc = 1, 1
    options = {"preset": "veryfast", "crf": "20"}
    if encoding.codec == "hevc":
        options["x265-params"] = "log-level=error:pools=2:frame-threads=1:info=0"
    context.options = options
    if encoding.rotation_degrees:
        stream.set_display_rotation(encoding.rotation_degrees)
    return stream


def _audio_stream(container: Any) -> Any:
    stream = container.add_stream("aac", rate=_AUDIO_RATE_HZ, layout="mono")
    stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
    return stream


def _write_sound(container: Any, stream: Any, duration_s: float) -> None:
    """Write an engine-like hum."""
    n = int(duration_s * _AUDIO_RATE_HZ)
    t = np.arange(n) / _AUDIO_RATE_HZ
    hum = 0.2 * np.sin(2 * np.pi * 90 * t) + 0.1 * np.sin(2 * np.pi * 180 * t + 0.3)
    for start in range(0, n, 1024):
        block = hum[None, start : start + 1024].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = _AUDIO_RATE_HZ, start
        frame.time_base = Fraction(1, _AUDIO_RATE_HZ)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
