"""One decoded frame in the stream's own pixel format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ColorTags:
    """How luma and chroma map to RGB, as tagged in the stream (untagged: what players assume).

    `matrix` is one of `bt601`, `bt709`, `bt2020nc`; `full_range` tells 0..255 from 16..235
    (scaled to the bit depth). Untagged video: `bt709` from 720 lines up, else `bt601`, limited.
    """

    matrix: str
    full_range: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as the decoder returned it, before display rotation.

    Attributes:
        index: 0-based position in the segment, in presentation order.
        pts: presentation timestamp in the stream's time base.
        is_key: the source stores this frame as a keyframe; the output keeps it one.
        pix_fmt: FFmpeg's name, for example `yuv420p`, `yuv422p10le`, `gray`, `bgr24`.
        planes: one array a plane. Planar YUV: luma `[h, w]`, then both chroma planes
            `[ceil(h / sub_y), ceil(w / sub_x)]`; uint8, or uint16 for more than 8 bits (values
            in the low bits). Packed `bgr24`: one `[h, w, 3]` array.
        color: conversion to RGB.
    """

    index: int
    pts: int
    is_key: bool
    pix_fmt: str
    planes: tuple[npt.NDArray[Any], ...]
    color: ColorTags

    @property
    def size_wh_px(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.planes[0].shape[:2]
        return width, height

    @property
    def bit_depth(self) -> int:
        """Bits per sample: 8, 10 or 12."""
        if self.planes[0].dtype == np.uint8:
            return 8
        return 12 if "12" in self.pix_fmt else 10
