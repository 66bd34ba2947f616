"""Where the samples of a pixel format lie, which codes they may take, and how BGR maps to them.

Convention
    A pixel format is named as FFmpeg does. A chroma sample of a subsampled format belongs to the
    `sub_x * sub_y` luma pixels that it is the mean of (its footprint). Chroma siting finer than
    that (a quarter pixel at most) is left to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.redact.fill import CodeRange
from deid_ops.video.frame import ColorTags, Frame

F32 = npt.NDArray[np.float32]

SUBSAMPLING = {
    "444": (1, 1),
    "422": (2, 1),
    "420": (2, 2),
    "440": (1, 2),
    "411": (4, 1),
    "410": (4, 4),
}

KR_KB = {  # luma weights of red and blue
    "bt601": (0.299, 0.114),  # ITU-R BT.601-7, 2.5.1
    "bt709": (0.2126, 0.0722),  # ITU-R BT.709-6, 3.2
    "bt2020nc": (0.2627, 0.0593),  # ITU-R BT.2020-2, table 4
}


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """How the planes of a frame relate to its pixels.

    Attributes:
        sub_xy: horizontal and vertical subsampling of the chroma planes.
        n_planes: 1 (gray or packed BGR) or 3.
        packed_bgr: the one plane holds BGR triples.
        codes: valid codes of each plane.
    """

    sub_xy: tuple[int, int]
    n_planes: int
    packed_bgr: bool
    codes: tuple[CodeRange, ...]

    def plane_sub_xy(self, plane_index: int) -> tuple[int, int]:
        """Subsampling of one plane."""
        return (1, 1) if plane_index == 0 else self.sub_xy


def layout_of(frame: Frame) -> PlaneLayout:
    """Return the layout of a frame's pixel format.

    Raises:
        InvariantError: a format the decoder should have refused, or planes that do not fit it.
    """
    name, bits = frame.pix_fmt, frame.bit_depth
    full = frame.color.full_range or name.startswith("yuvj")
    luma, chroma = code_ranges(bits, full_range=full)
    if name == "bgr24":
        layout = PlaneLayout((1, 1), 1, True, (CodeRange(0, 255, 256),))
    elif name.startswith("gray"):
        layout = PlaneLayout((1, 1), 1, False, (luma,))
    else:
        digits = name.removeprefix("yuvj").removeprefix("yuv")[:3]
        if not name.startswith("yuv") or digits not in SUBSAMPLING:
            raise InvariantError(f"compose: pixel format {name} is not supported")
        layout = PlaneLayout(SUBSAMPLING[digits], 3, False, (luma, chroma, chroma))
    _check_shapes(frame, layout)
    return layout


def code_ranges(bit_depth: int, *, full_range: bool) -> tuple[CodeRange, CodeRange]:
    """Return the valid codes of luma and chroma.

    Limited range: 16..235 and 16..240, times `2 ** (bits - 8)` (ITU-R BT.709-6, 4).
    """
    scale = 1 << bit_depth
    if full_range:
        return CodeRange(0, scale - 1, scale), CodeRange(0, scale - 1, scale)
    unit = scale >> 8
    return CodeRange(16 * unit, 235 * unit, scale), CodeRange(16 * unit, 240 * unit, scale)


def yuv_from_bgr(bgr: npt.NDArray[Any], color: ColorTags, bit_depth: int, *, full: bool) -> F32:
    """Convert 8-bit BGR to Y'CbCr codes, not rounded.

    With R, G, B in [0, 1]: `Y = Kr R + (1 - Kr - Kb) G + Kb B`, `Cb = (B - Y) / (2 (1 - Kb))`,
    `Cr = (R - Y) / (2 (1 - Kr))` (ITU-R BT.601-7, BT.709-6, BT.2020-2 non-constant luminance).
    Limited range codes: `(219 Y + 16) * 2^(n-8)`, `(224 C + 128) * 2^(n-8)`; full range codes:
    `(2^n - 1) Y` and `(2^n - 1) C + 2^(n-1)` (ITU-T H.273, 8.3).

    Args:
        bgr: `[h, w, 3]` uint8.
        color: matrix; its range flag is overruled by `full` (`yuvj` formats are always full).
        bit_depth: `n`.
        full: full range codes.

    Returns:
        `[h, w, 3]` float32 codes.

    Example:
        >>> white = np.full((1, 1, 3), 255, np.uint8)
        >>> yuv_from_bgr(white, ColorTags("bt709", False), 8, full=False).round().tolist()
        [[[235.0, 128.0, 128.0]]]
    """
    if color.matrix not in KR_KB:
        raise InvariantError(f"compose: colour matrix {color.matrix} is not supported")
    kr, kb = KR_KB[color.matrix]
    y_of_bgr = np.array([kb, 1.0 - kr - kb, kr])
    cb_of_bgr = (np.array([1.0, 0.0, 0.0]) - y_of_bgr) / (2 * (1 - kb))
    cr_of_bgr = (np.array([0.0, 0.0, 1.0]) - y_of_bgr) / (2 * (1 - kr))
    peak, unit = (1 << bit_depth) - 1, (1 << bit_depth) / 256
    gains = (peak, peak) if full else (219 * unit, 224 * unit)
    zero, middle = (0.0, float(1 << (bit_depth - 1))) if full else (16 * unit, 128 * unit)
    matrix = np.zeros((3, 4))
    matrix[0, :3], matrix[0, 3] = gains[0] / 255 * y_of_bgr, zero
    matrix[1, :3], matrix[1, 3] = gains[1] / 255 * cb_of_bgr, middle
    matrix[2, :3], matrix[2, 3] = gains[1] / 255 * cr_of_bgr, middle
    return np.asarray(cv2.transform(np.asarray(bgr, np.float32), matrix), dtype=np.float32)


def planes_from_bgr(bgr: npt.NDArray[Any], frame: Frame, layout: PlaneLayout) -> tuple[F32, ...]:
    """Return the planes of a BGR patch in the frame's pixel format, not rounded.

    The patch must begin at a pixel that is a multiple of the subsampling.
    """
    if layout.packed_bgr:
        return (np.asarray(bgr, dtype=np.float32),)
    full = layout.codes[0].low == 0
    yuv = yuv_from_bgr(bgr, frame.color, frame.bit_depth, full=full)
    luma = np.ascontiguousarray(yuv[..., 0])
    if layout.n_planes == 1:
        return (luma,)
    chroma = mean_over_footprints(yuv[..., 1:], layout.sub_xy)
    return luma, np.ascontiguousarray(chroma[..., 0]), np.ascontiguousarray(chroma[..., 1])


def mean_over_footprints(values: F32, sub_xy: tuple[int, int]) -> F32:
    """Mean of `[h, w, c]` over each chroma sample's footprint, `[ceil(h/sy), ceil(w/sx), c]`."""
    if sub_xy == (1, 1):
        return values
    padded = _padded(values, sub_xy)
    size = (padded.shape[1] // sub_xy[0], padded.shape[0] // sub_xy[1])
    mean = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    return np.asarray(mean.reshape(size[1], size[0], -1), dtype=np.float32)


def max_over_footprints(values: npt.NDArray[Any], sub_xy: tuple[int, int]) -> npt.NDArray[Any]:
    """Maximum of `[h, w]` over the footprint of each chroma sample."""
    if sub_xy == (1, 1):
        return values
    padded = _padded(values, sub_xy)
    columns = padded[:, :: sub_xy[0]]
    for i in range(1, sub_xy[0]):
        columns = np.maximum(columns, padded[:, i :: sub_xy[0]])
    rows = columns[:: sub_xy[1]]
    for i in range(1, sub_xy[1]):
        rows = np.maximum(rows, columns[i :: sub_xy[1]])
    return rows


def _padded(values: npt.NDArray[Any], sub_xy: tuple[int, int]) -> npt.NDArray[Any]:
    """Repeat the last row and column up to a multiple of the subsampling."""
    extra_x, extra_y = -values.shape[1] % sub_xy[0], -values.shape[0] % sub_xy[1]
    if not extra_x and not extra_y:
        return values
    widths = ((0, extra_y), (0, extra_x), *[(0, 0)] * (values.ndim - 2))
    return np.pad(values, widths, mode="edge")


def _check_shapes(frame: Frame, layout: PlaneLayout) -> None:
    width, height = frame.size_wh_px
    sx, sy = layout.sub_xy
    chroma = (-(-height // sy), -(-width // sx))
    first: tuple[int, ...] = (height, width, 3) if layout.packed_bgr else (height, width)
    expected = [first, *[chroma] * (layout.n_planes - 1)]
    found = [plane.shape for plane in frame.planes]
    if found != expected:
        raise InvariantError(f"compose: {frame.pix_fmt} planes {found}, expected {expected}")
