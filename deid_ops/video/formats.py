"""What the library reads and writes: containers, codecs, pixel formats, colour tags.

A format is listed only where decoder *and* encoder keep the media contract; everything else is
refused by name when the index is read, before any work is spent on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.video.frame import ColorTags

# FFmpeg's demuxer name -> muxer name.
MUXER_OF_CONTAINER = {
    "mov,mp4,m4a,3gp,3g2,mj2": "mp4",
    "matroska,webm": "matroska",
    "mpegts": "mpegts",
    "gif": "gif",
}

# Codec -> the encoder used unless the policy names another one of the same codec.
DEFAULT_ENCODER = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "mpeg4": "mpeg4",
    "mjpeg": "mjpeg",
    "gif": "gif",
}

_YUV8 = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
_YUV10 = {"yuv420p10le", "yuv422p10le", "yuv444p10le"}
_YUV12 = {"yuv420p12le", "yuv422p12le", "yuv444p12le"}
# Codec -> pixel formats that survive decode, edit and encode unchanged.
PIX_FMTS_OF_CODEC = {
    "h264": _YUV8 | _YUV10 | {"gray", "gray10le"},
    "hevc": _YUV8 | _YUV10 | _YUV12 | {"gray", "gray10le", "gray12le"},
    "vp9": {"yuv420p", "yuv422p", "yuv440p", "yuv444p"},
    "av1": {"yuv420p", "yuv420p10le"},
    "mpeg4": {"yuv420p"},
    "mjpeg": {"yuvj420p", "yuvj422p", "yuvj444p"},
    "gif": {"bgra"},
}

_SUBSAMPLING_XY = {"420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}
_PLANAR = re.compile(r"^(?:yuvj?(420|422|440|444)p|gray)(10le|12le)?$")


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How the planes of a pixel format lie in memory.

    Attributes:
        plane_shapes: array shape of each plane for one frame size.
        dtype: sample type, uint8 or little-endian uint16.
        bit_depth: significant bits per sample.
    """

    plane_shapes: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    bit_depth: int

    @property
    def nbytes(self) -> int:
        """Bytes of one frame without padding."""
        return sum(int(np.prod(shape)) for shape in self.plane_shapes) * self.dtype.itemsize


def pixel_layout(pix_fmt: str, width: int, height: int) -> PixelLayout | None:
    """Return the layout of a supported pixel format, None for any other.

    Example:
        >>> pixel_layout("yuv420p10le", 5, 3).plane_shapes
        ((3, 5), (2, 3), (2, 3))
    """
    if pix_fmt == "bgr24":
        return PixelLayout(((height, width, 3),), np.dtype(np.uint8), 8)
    match = _PLANAR.match(pix_fmt)
    if match is None:
        return None
    bits = int(match[2][:2]) if match[2] else 8
    shapes: list[tuple[int, ...]] = [(height, width)]
    if match[1]:
        sub_x, sub_y = _SUBSAMPLING_XY[match[1]]
        shapes += [(-(-height // sub_y), -(-width // sub_x))] * 2
    return PixelLayout(tuple(shapes), np.dtype(np.uint8 if bits == 8 else "<u2"), bits)


def has_alpha(pix_fmt: str) -> bool:
    """Tell whether FFmpeg's pixel format carries transparency."""
    return pix_fmt.startswith(("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya", "pal8"))


def color_tags(pix_fmt: str, space: int, color_range: int, height: int) -> ColorTags:
    """Turn FFmpeg's `AVColorSpace` and `AVColorRange` numbers into a conversion to RGB.

    Untagged video gets what players assume: BT.709 from 720 lines up, else BT.601, limited range.
    """
    full = color_range == 2 or pix_fmt.startswith("yuvj") or pix_fmt == "bgr24"
    if space in (9, 10):
        return ColorTags("bt2020nc", full)
    if space in (4, 5, 6):
        return ColorTags("bt601", full)
    if space in (1, 7):
        return ColorTags("bt709", full)
    return ColorTags("bt709" if height >= 720 else "bt601", full)


# swscale's numbers (SWS_CS_*), as PyAV's `reformat` takes them.
SWS_COLORSPACE = {"bt709": 1, "bt601": 5, "bt2020nc": 9}


def planes_of(frame: Any, layout: PixelLayout) -> tuple[npt.NDArray[Any], ...]:
    """View the planes of a PyAV frame without its row padding; read-only, no copy."""
    views = []
    for plane, shape in zip(frame.planes, layout.plane_shapes, strict=False):
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: shape[0]]
        width_bytes = int(np.prod(shape[1:])) * layout.dtype.itemsize
        view = rows[:, :width_bytes].view(layout.dtype).reshape(shape)
        view.flags.writeable = False
        views.append(view)
    return tuple(views)


def fill_planes(frame: Any, planes: tuple[npt.NDArray[Any], ...], layout: PixelLayout) -> None:
    """Copy arrays into the planes of a writable PyAV frame."""
    for plane, source, shape in zip(frame.planes, planes, layout.plane_shapes, strict=True):
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: shape[0]]
        flat = np.ascontiguousarray(source, dtype=layout.dtype).reshape(shape[0], -1)
        rows[:, : flat.shape[1] * layout.dtype.itemsize] = flat.view(np.uint8)
