"""Where a face is replaced, and how softly: regions of a frame with a weight for every pixel.

Convention
    A weight of 1 replaces a pixel, 0 leaves it bit-exact, values between blend. The replacement
    of a redacted face is opaque over the *whole* head: the soft edge lies outside of it, so that
    no pixel of the head shines through.
    Regions begin at a pixel that is a multiple of the chroma subsampling and hold whole footprints
    (except at the right and lower border of frames of odd size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError
from deid_ops.geometry import invert_affine, transform_points

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

NEGLIGIBLE = 1.0 / 1024.0  # below this a weight changes no code of 8 bits, and is set to 0


@dataclass(frozen=True, slots=True)
class HeadMaskParams:
    """Shape of the mask over a redacted head.

    The mask is the superellipse `|x / a|^n + |y / b|^n <= 1` about the centre of the face box.
    With a margin of at least 0.1 and `n = 4` all of the face box, corners included, lies inside.

    Attributes:
        margin: growth of the face box on each side, as a fraction of its size.
        margin_min_px: the least growth on each side.
        exponent: `n`; 2 is an ellipse, large values a rectangle.
        edge: width of the soft edge outside, as a fraction of the half axis.
    """

    margin: float = 0.35
    margin_min_px: float = 3.0
    exponent: float = 4.0
    edge: float = 0.12

    def __post_init__(self) -> None:
        """Refuse shapes that leave a corner of the face box outside."""
        corner = 2.0 * (0.5 / (0.5 + max(self.margin, 0.0))) ** self.exponent
        if self.margin < 0 or corner > 1.0:
            raise SetupError(
                f"head mask: margin {self.margin} with exponent {self.exponent} leaves the corners "
                "of the face box uncovered; use a larger margin"
            )
        if not 0.0 < self.edge <= 1.0:
            raise SetupError(f"head mask: edge is {self.edge}, outside (0, 1]")


@dataclass(frozen=True, slots=True)
class MaskRegion:
    """A rectangle of the frame with a weight for every pixel.

    Attributes:
        x0_px: left column, a multiple of the horizontal subsampling.
        y0_px: upper row, a multiple of the vertical subsampling.
        weight: `[h, w]` float32 in [0, 1].
    """

    x0_px: int
    y0_px: int
    weight: F32

    @property
    def inside(self) -> Bool:
        """Pixels that may change, `[h, w]`."""
        return self.weight > 0

    @property
    def box_xyxy_px(self) -> tuple[int, int, int, int]:
        """The rectangle; right and lower border exclusive."""
        height, width = self.weight.shape
        return self.x0_px, self.y0_px, self.x0_px + width, self.y0_px + height


def head_axes_px(
    box_xyxy_px: npt.NDArray[Any], params: HeadMaskParams
) -> tuple[float, float, float, float]:
    """Return centre x, centre y and the half axes of the opaque part of a head's mask.

    Example:
        >>> head_axes_px(np.array([0.0, 0, 20, 40]), HeadMaskParams(margin=0.5))
        (10.0, 20.0, 20.0, 40.0)
    """
    x0, y0, x1, y1 = (float(v) for v in box_xyxy_px)
    half_x, half_y = max(x1 - x0, 0.0) / 2, max(y1 - y0, 0.0) / 2
    a = max(half_x * (1 + 2 * params.margin), half_x + params.margin_min_px)
    b = max(half_y * (1 + 2 * params.margin), half_y + params.margin_min_px)
    return (x0 + x1) / 2, (y0 + y1) / 2, a, b


def head_hull_px(
    box_xyxy_px: npt.NDArray[Any], params: HeadMaskParams
) -> tuple[float, float, float, float]:
    """Return the rectangle around a head's mask, soft edge included, not cut at the frame."""
    cx, cy, a, b = head_axes_px(box_xyxy_px, params)
    outer = 1.0 + params.edge
    return cx - a * outer, cy - b * outer, cx + a * outer, cy + b * outer


def head_region(
    box_xyxy_px: npt.NDArray[Any],
    frame_size_wh_px: tuple[int, int],
    sub_xy: tuple[int, int],
    params: HeadMaskParams,
) -> MaskRegion | None:
    """Return the mask over a redacted head; None where it lies outside the frame.

    Args:
        box_xyxy_px: `[4]` face box in frame pixels; may reach over the border.
        frame_size_wh_px: width and height of the frame.
        sub_xy: chroma subsampling.
        params: shape.
    """
    cx, cy, a, b = head_axes_px(box_xyxy_px, params)
    box = _aligned(head_hull_px(box_xyxy_px, params), frame_size_wh_px, sub_xy)
    if box is None:
        return None
    x, y = np.arange(box[0], box[2]), np.arange(box[1], box[3])
    value = _superellipse(x - cx, y - cy, (a, b), params.exponent)
    none = (1.0 + params.edge) ** params.exponent
    return MaskRegion(box[0], box[1], _ramp(value, 1.0, none))


def swap_region(
    crop_from_frame: npt.NDArray[Any],
    weight: U8,
    frame_size_wh_px: tuple[int, int],
    sub_xy: tuple[int, int],
) -> MaskRegion | None:
    """Return a swapped face's weights warped into the frame; None where they are 0 or outside.

    Args:
        crop_from_frame: `[2, 3]` similarity, frame pixels to crop pixels.
        weight: `[S, S]` uint8, how much of each crop pixel is drawn, of 255.
        frame_size_wh_px: width and height of the frame.
        sub_xy: chroma subsampling.
    """
    rows, columns = (np.flatnonzero(weight.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    # bilinear sampling reaches up to one pixel beyond the outermost weight
    corners = np.array([[x, y] for x in _reach(columns) for y in _reach(rows)])
    in_frame = transform_points(invert_affine(crop_from_frame), corners)
    low, high = in_frame.min(axis=0), in_frame.max(axis=0)
    hull = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    box = _aligned(hull, frame_size_wh_px, sub_xy)
    if box is None:
        return None
    share = weight.astype(np.float32) / 255.0
    drawn = warp_to_frame(share, crop_from_frame, box, repeat_border=False)
    drawn[drawn < NEGLIGIBLE] = 0.0
    return MaskRegion(box[0], box[1], drawn)


def _reach(index: npt.NDArray[Any]) -> tuple[float, float]:
    return float(index[0]) - 1.0, float(index[-1]) + 1.0


def warp_to_frame(
    crop: npt.NDArray[Any],
    crop_from_frame: npt.NDArray[Any],
    box_xyxy_px: tuple[int, int, int, int],
    *,
    repeat_border: bool,
) -> npt.NDArray[Any]:
    """Return the part of a frame that a crop covers, by bilinear sampling.

    A crop that is larger than the face in the frame is reduced by area averaging first, so that
    no detail aliases.

    Args:
        crop: `[S, S]` or `[S, S, 3]`.
        crop_from_frame: `[2, 3]` similarity.
        box_xyxy_px: part of the frame to fill; right and lower border exclusive.
        repeat_border: outside the crop repeat its border; otherwise 0.
    """
    matrix = np.array(crop_from_frame, dtype=np.float64)
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    if scale > 1.5:
        size = max(round(crop.shape[0] / scale), 2)
        factor = size / crop.shape[0]
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        matrix *= factor
        matrix[:, 2] += 0.5 * factor - 0.5  # pixel centres: (p + 0.5) * factor - 0.5
    matrix[:, 2] += matrix[:, :2] @ np.array([box_xyxy_px[0], box_xyxy_px[1]], dtype=np.float64)
    size_wh = (box_xyxy_px[2] - box_xyxy_px[0], box_xyxy_px[3] - box_xyxy_px[1])
    return cv2.warpAffine(
        crop,
        matrix,
        size_wh,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def _aligned(
    hull_xyxy_px: tuple[float, float, float, float],
    frame_size_wh_px: tuple[int, int],
    sub_xy: tuple[int, int],
) -> tuple[int, int, int, int] | None:
    """Whole footprints around a hull, cut at the frame."""
    ends: list[tuple[int, int]] = []
    for axis in (0, 1):
        sub, size = sub_xy[axis], frame_size_wh_px[axis]
        start = math.floor(hull_xyxy_px[axis]) // sub * sub
        stop = -(-(math.ceil(hull_xyxy_px[axis + 2]) + 1) // sub) * sub
        ends.append((max(start, 0), min(stop, size)))
    if any(start >= stop for start, stop in ends):
        return None
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def _superellipse(
    x: npt.NDArray[Any], y: npt.NDArray[Any], half_xy: tuple[float, float], exponent: float
) -> F32:
    """`|x/a|^n + |y/b|^n` on the grid of `y` rows and `x` columns."""
    column = np.abs(x / max(half_xy[0], 1e-6)) ** exponent
    row = np.abs(y / max(half_xy[1], 1e-6)) ** exponent
    return row.astype(np.float32)[:, None] + column.astype(np.float32)[None, :]


def _ramp(value: F32, full: float, none: float) -> F32:
    """1 up to `full`, 0 from `none` on, between them a smooth step; overwrites `value`."""
    value -= np.float32(none)
    value *= np.float32(1.0 / (full - none))
    np.clip(value, 0.0, 1.0, out=value)
    weight = value * value
    value *= np.float32(-2.0)
    value += np.float32(3.0)
    weight *= value
    weight[weight < NEGLIGIBLE] = 0.0
    return weight
