"""Opening a file and refusing by name what the library cannot treat, before work is spent on it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from deid_ops.errors import InputError
from deid_ops.video import formats

COPY_AGAIN = "copy the file again from its source"
ATTACHED_PIC = 1 << 10
_MAX_PROBE_PACKETS = 400
_LOST_SIDE_DATA = (
    "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_METADATA",
    "DOVI_RPU_BUFFER", "A53_CC", "STEREO3D", "SPHERICAL",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """What only a decoded frame tells: counter-clockwise rotation and the display matrix."""

    rotation_deg: int
    display_matrix: tuple[int, ...] | None


def open_input(path: str) -> Any:
    """Open a local file with PyAV, as a context manager.

    Raises:
        InputError: `unreadable` or, where the start of a known container is there, `truncated`.
    """
    try:
        return av.open(path, "r", metadata_errors="replace")
    except FileNotFoundError:
        raise
    except (av.FFmpegError, ValueError, IndexError) as error:
        with Path(path).open("rb") as file:
            head = file.read(12)
        known = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        known = known or head[:4] == b"\x1a\x45\xdf\xa3" or head[:6] in (b"GIF87a", b"GIF89a")
        reason = "truncated" if known else "unreadable"
        detail = f"no decodable container ({type(error).__name__}: {error})"
        raise InputError(reason, path, detail, COPY_AGAIN) from error


def find_video_stream(container: Any, path: str) -> Any:
    """Return the one video stream that is no cover picture.

    Raises:
        InputError: `no_video_stream` or `unsupported_multiple_video`.
    """
    streams = [s for s in container.streams.video if not s.disposition & ATTACHED_PIC]
    if not streams:
        remedy = "leave files without video out of the manifest"
        kinds = [s.type for s in container.streams]
        raise InputError("no_video_stream", path, f"streams are {kinds}", remedy)
    if len(streams) > 1:
        detail = f"{len(streams)} video streams, of which only one would be treated"
        raise InputError("unsupported_multiple_video", path, detail, "split the file by stream")
    return streams[0]


def refuse_unsupported(container: Any, stream: Any, path: str) -> None:
    """Refuse by the header alone.

    Raises:
        InputError: `unsupported_container`, `unsupported_codec`, `unsupported_alpha`,
            `unsupported_interlaced` or `unsupported_pix_fmt`.
    """
    name = container.format.name
    if name not in formats.MUXER_OF_CONTAINER:
        remedy = "remux to mp4, mkv or MPEG-TS"
        raise InputError("unsupported_container", path, f"container is {name}", remedy)
    context = stream.codec_context
    codec = codec_name(stream)
    if context is None or codec not in formats.DEFAULT_ENCODER:
        remedy = f"transcode to one of {', '.join(sorted(formats.DEFAULT_ENCODER))}"
        raise InputError("unsupported_codec", path, f"video codec is {codec}", remedy)
    pix_fmt = stream.pix_fmt or "unknown"
    alpha = codec != "gif" and (
        formats.has_alpha(pix_fmt) or stream.metadata.get("alpha_mode") == "1"
    )
    if alpha:
        raise InputError("unsupported_alpha", path, f"{pix_fmt} with alpha", "flatten the video")
    if context.field_order > 1:
        detail = f"field order is {context.field_order}"
        raise InputError("unsupported_interlaced", path, detail, "deinterlace the video")
    if pix_fmt not in formats.PIX_FMTS_OF_CODEC[codec]:
        remedy = f"use one of {', '.join(sorted(formats.PIX_FMTS_OF_CODEC[codec]))}"
        raise InputError("unsupported_pix_fmt", path, f"{codec} as {pix_fmt}", remedy)


def codec_name(stream: Any) -> str:
    """FFmpeg's codec name of a stream (not the decoder's), `none` where there is no decoder."""
    context = stream.codec_context
    return str(context.codec.canonical_name) if context is not None else "none"


def probe_first_frame(container: Any, stream: Any, path: str) -> Probe:
    """Decode the first frame that comes out: rotation and interlacing live in its side data."""
    for n_packets, packet in enumerate(container.demux(stream)):
        if n_packets > _MAX_PROBE_PACKETS:
            break
        with contextlib.suppress(av.FFmpegError):  # broken packets: counted by the decode step
            for frame in packet.decode():
                _refuse_frame(frame, path)
                data = frame.side_data.get("DISPLAYMATRIX")
                values = None if data is None else np.frombuffer(bytes(data), "<i4", 9)
                matrix = None if values is None else tuple(int(v) for v in values)
                return Probe(frame.rotation % 360, matrix)
    detail = "no frame could be decoded"
    raise InputError("no_frames", path, detail, COPY_AGAIN)


def _refuse_frame(frame: Any, path: str) -> None:
    """Refuse what the encoders cannot write back: fields, and metadata inside the video stream."""
    if frame.interlaced_frame:
        detail = "the first frame is interlaced"
        raise InputError("unsupported_interlaced", path, detail, "deinterlace the video")
    held = [name for name in _LOST_SIDE_DATA if frame.side_data.get(name) is not None]
    if held:
        detail = f"frames carry {', '.join(held).lower()}, which would be lost"
        raise InputError("unsupported_side_data", path, detail, "strip it from the stream")
