"""How well a face can be seen: distance of the eyes, blur, turn.

Convention
    Landmarks `[..., 5, 2]` in pixels: left eye, right eye, nose, left and right mouth corner.
    All measures are unchanged when the image is turned in its plane.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.geometry import as_f32
from deid_ops.types import F32, U8

_NOSE_OVER_EYES = 0.9
"""Depth of the nose tip before the eye line, over half the distance of the eyes: about 28 / 31.5
mm in an average adult head. Only used to turn an offset into an angle."""
_BLUR_SIDE_PX = 112
_BLUR_WINDOW_PX = 9


def eye_distances_px(landmarks_xy_px: npt.NDArray[Any]) -> F32:
    """Distance between the eyes, `[n]`, pixels.

    Example:
        >>> eye_distances_px(np.array([[[0, 0], [3, 4], [0, 0], [0, 0], [0, 0]]])).tolist()
        [5.0]
    """
    marks = np.asarray(landmarks_xy_px, dtype=np.float64).reshape(-1, 5, 2)
    return as_f32(np.linalg.norm(marks[:, 1] - marks[:, 0], axis=1))


def turns(landmarks_xy_px: npt.NDArray[Any]) -> F32:
    """How far each head is turned left or right, `[n]`: 0 frontal, 0.5 about 45 degrees, 1 profile.

    The axis of the face runs from between the eyes to between the mouth corners. Let `a` be the
    distance of the nose from this axis and `w` half the distance of the eyes, both measured across
    it. A head turned by `t` shows `a = d sin t` and `w = e cos t` with `d / e` about 0.9, so
    `t = atan(a / (0.9 w))` and the result is `t / 90 degrees`. Nodding does not change it.

    Example:
        >>> frontal = np.array([[[-10.0, 0], [10, 0], [0, 12], [-8, 22], [8, 22]]])
        >>> turns(frontal).tolist()
        [0.0]
        >>> side = np.array([[[-2.0, 0], [2, 0], [9, 12], [-2, 22], [3, 22]]])
        >>> bool(turns(side)[0] > 0.8)
        True
    """
    marks = np.asarray(landmarks_xy_px, dtype=np.float64).reshape(-1, 5, 2)
    eyes, mouth = marks[:, :2].mean(axis=1), marks[:, 3:].mean(axis=1)
    down = mouth - eyes
    length = np.linalg.norm(down, axis=1, keepdims=True)
    down = np.divide(down, length, out=np.zeros_like(down), where=length > 1e-6)
    across = np.stack([-down[:, 1], down[:, 0]], axis=1)
    offset = np.abs(((marks[:, 2] - eyes) * across).sum(axis=1))
    half_eyes = np.abs(((marks[:, 1] - marks[:, 0]) * across).sum(axis=1)) / 2
    angle = np.arctan2(offset, _NOSE_OVER_EYES * half_eyes)
    # no axis at all: nothing is known, which counts as profile
    return np.where(length[:, 0] > 1e-6, angle * 2 / np.pi, 1.0).astype(np.float32)


def blur(face_bgr: U8) -> float:
    """How blurred a face is: 0 sharp, 1 no detail.

    Crete et al. 2007, "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric": a blurred image changes little when it is blurred again. For each of
    the two directions `b = 1 - sum max(0, |dF| - |dB|) / sum |dF|`, where `F` is the grey image,
    `B` is `F` after a moving mean of 9 px and `d` the difference of neighbours; the larger `b`
    counts. Faces above 112 px are shrunk to 112 px first, so that the value speaks of the face and
    not of the sensor; smaller ones are taken as they are.

    Args:
        face_bgr: `[h, w, 3]` cut of the face box.

    Example:
        >>> blur(np.full((40, 40, 3), 90, np.uint8))
        1.0
    """
    if min(face_bgr.shape[:2]) < 3:
        return 1.0
    grey = cv2.cvtColor(face_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    factor = _BLUR_SIDE_PX / max(grey.shape)
    if factor < 1:
        size = (max(3, round(grey.shape[1] * factor)), max(3, round(grey.shape[0] * factor)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    worst = 0.0
    for axis, window in ((0, (1, _BLUR_WINDOW_PX)), (1, (_BLUR_WINDOW_PX, 1))):
        smooth = cv2.blur(grey, window, borderType=cv2.BORDER_REFLECT)
        change = np.abs(np.diff(grey, axis=axis))
        lost = np.maximum(0.0, change - np.abs(np.diff(smooth, axis=axis)))
        total = float(change.sum())
        worst = max(worst, 1.0 - float(lost.sum()) / total if total > 0 else 1.0)
    return worst


def blurs(image_bgr: U8, boxes_xyxy_px: npt.NDArray[Any]) -> F32:
    """`blur` of each box of an image, `[n]`; boxes are cut at the border."""
    height, width = image_bgr.shape[:2]
    values = []
    for x0, y0, x1, y1 in np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4):
        rows = slice(max(0, int(y0)), min(height, int(np.ceil(y1))))
        columns = slice(max(0, int(x0)), min(width, int(np.ceil(x1))))
        values.append(blur(image_bgr[rows, columns]))
    return np.array(values, dtype=np.float32)
