"""Lips that are no paler than the skin around them.

An encoder that is asked for somebody finds more of her in a pale lower lip than people have, and
the painter's other losses do not mind. Of 60 synthetic portraits the brightest tenth of the lower
lip is 5 codes above the skin around it, of the faces painted over them it was 21 to 28, and white
lips are what one sees first.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.face_mask import SUBPIXEL_BITS, fixed_point
from deid_ops.swap.layout import group_slice
from deid_ops.types import F32, U8

_BRIGHTEST = 0.94  # of the skin around: portraits' lips are darker still
_TAKEN = 0.85  # of what is brighter
_EDGE_SIGMA_PX = 1.2
_RING_PX = (1, 6)  # the skin that is compared: from and to, around the lips


def muted_lips(crops_bgr: U8, points_px: F32) -> U8:
    """Darken what is too bright on the lips of painted faces; teeth and darker lips stay.

    Args:
        crops_bgr: [n, 128, 128, 3] painted.
        points_px: [n, 136, 2] the landmarks they were painted from.

    Returns:
        [n, 128, 128, 3]; pixels away from the lips are the input's.
    """
    if len(crops_bgr) == 0:
        return crops_bgr
    return np.stack(
        [_muted(crop, points) for crop, points in zip(crops_bgr, points_px, strict=True)]
    )


def _muted(crop_bgr: U8, points_px: F32) -> U8:
    lips = _drawn(points_px, "outer_lips") & (1 - _drawn(points_px, "inner_lips"))
    ring = _widened(lips, _RING_PX[1]) & (1 - _widened(lips, _RING_PX[0]))
    if not (lips.any() and ring.any()):
        return crop_bgr
    brightness = crop_bgr.mean(axis=2, dtype=np.float32)
    brightest = _BRIGHTEST * np.median(brightness[ring > 0])
    weight = cv2.GaussianBlur(lips.astype(np.float32), (0, 0), _EDGE_SIGMA_PX)
    taken = _TAKEN * weight * np.maximum(brightness - brightest, 0.0)
    muted = np.clip(np.rint(crop_bgr - taken[..., None]), 0, 255)
    return np.asarray(muted, dtype=np.uint8)


def _drawn(points_px: F32, group: str) -> U8:
    """Return the polygon of a group of landmarks, [128, 128] of 0 and 1."""
    canvas = np.zeros((CROP_SIZE_PX, CROP_SIZE_PX), np.uint8)
    cv2.fillPoly(canvas, [fixed_point(points_px[group_slice(group)])], 1, shift=SUBPIXEL_BITS)
    return canvas


def _widened(drawn: U8, by_px: int) -> U8:
    size = 2 * by_px + 1
    return np.asarray(cv2.dilate(drawn, np.ones((size, size), np.uint8)), dtype=np.uint8)
