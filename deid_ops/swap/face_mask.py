"""Which pixels of a crop are replaced: the face, as far as the mean face in its pose reaches.

Leak rule: the mask is drawn from the retargeted landmarks alone, which are conditions anyway. A
mask that followed the person's own outline would tell the outline; its length alone passes.

Hair, ears, neck and what lies behind a turned head keep their own pixels. A fixed mask that held
them all had to be painted from averages of 16 px: hair grew on foreheads and rims of background
stuck to cheeks. The margin is a choice between hairlines and identification: at 3 px, with a ramp
of 9, portraits were matched and ranked as rarely as before, but in a clip of a crowd retail-0095
ranked the right one of 19 people first in 13.5 % of the faces; at 7 px, with a ramp of 7, in 9.1 %
(chance 5.3 %; four and two keys). Where a turned head's far cheek ends there is nothing but what
lies behind; 4 px less there looked a little better, and rank 1 rose from 9.1 to 14.2 % (two keys).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deid_ops.swap.crop import CROP_SIZE_PX, INNER_MASK, TEMPLATE_PX, blend_weights
from deid_ops.types import F32, I32, U8, Bool

MARGIN_PX = 6  # beyond the outermost landmarks
_CORE_MARGIN_PX = 11  # around eyes, nose and mouth, where the crop's template has them
SUBPIXEL_BITS = 4  # of the corners that OpenCV's polygons are drawn from
CHIN_FROM_Y_PX = 76.0  # between nose and mouth, in crops
_PART_EDGES_Y_PX = (33.0, CHIN_FROM_Y_PX)  # the first lies between forehead and brows
_PART_RAMP_PX = 10.0


def face_masks(points_px: F32, margins_px: Sequence[int] | None = None) -> Bool:
    """Return the pixels of each crop that are replaced.

    The convex hull of the landmarks, widened by a margin, and whatever was read: eyes, nose and
    mouth where every crop has them, so that a misread face stays covered. Never beyond
    `INNER_MASK`.

    Args:
        points_px: [n, 136, 2] retargeted landmarks in crop pixels.
        margins_px: [n] whole pixels beyond the landmarks; None for `MARGIN_PX`.

    Returns:
        [n, 128, 128] bool.
    """
    margins = [MARGIN_PX] * len(points_px) if margins_px is None else margins_px
    drawn = [_hull(points, margin) for points, margin in zip(points_px, margins, strict=True)]
    masks = np.asarray(drawn, dtype=np.bool_).reshape(-1, CROP_SIZE_PX, CROP_SIZE_PX)
    return np.asarray((masks | _CORE) & INNER_MASK)


def drawn_weights(masks: Bool) -> U8:
    """Return how much of each pixel the replacement takes when it is drawn, [n, 128, 128], of 255.

    See `blend_weights`.
    """
    soft = np.asarray([blend_weights(mask) for mask in masks], dtype=np.float32)
    codes = np.rint(soft.reshape(-1, CROP_SIZE_PX, CROP_SIZE_PX) * 255.0)
    return np.asarray(codes, dtype=np.uint8)


def blended(originals_bgr: U8, painted_bgr: U8, weights: U8) -> U8:
    """Return crops [n, 128, 128, 3] as they are published: painted ones, soft at the rim.

    Args:
        originals_bgr: [n, 128, 128, 3] what was replaced.
        painted_bgr: [n, 128, 128, 3].
        weights: [n, 128, 128] of `drawn_weights`.
    """
    share = weights[..., None].astype(np.float32) / 255.0
    mixed = originals_bgr + share * (painted_bgr.astype(np.float32) - originals_bgr)
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def fixed_point(points_px: F32) -> I32:
    """Return corners [..., 2] in pixels as OpenCV draws them with `shift=SUBPIXEL_BITS`."""
    return np.asarray(np.rint(np.clip(points_px, -1e3, 1e3) * 2**SUBPIXEL_BITS), dtype=np.int32)


def part_rows() -> F32:
    """Return how much every row belongs to forehead, eyes and nose, mouth and chin, [3, 128].

    They sum to 1, with ramps between the parts; the upper border lies above the brows.
    """
    y = np.arange(CROP_SIZE_PX, dtype=np.float64)
    below = [np.clip((y - edge) / _PART_RAMP_PX + 0.5, 0.0, 1.0) for edge in _PART_EDGES_Y_PX]
    rows = np.stack([1.0 - below[0], below[0] - below[1], below[1]])
    return np.asarray(rows, dtype=np.float32)


def _hull(points_px: F32, margin_px: int) -> Bool:
    hull = np.asarray(cv2.convexHull(np.asarray(points_px, dtype=np.float32)), dtype=np.float32)
    canvas = np.zeros((CROP_SIZE_PX, CROP_SIZE_PX), np.uint8)
    cv2.fillConvexPoly(canvas, fixed_point(hull), 1, shift=SUBPIXEL_BITS)
    side = 2 * margin_px + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(canvas, disc), dtype=np.bool_)


_CORE: Bool = _hull(TEMPLATE_PX, _CORE_MARGIN_PX)
