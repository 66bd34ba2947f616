"""People for generated drives: cut-outs of portraits, drawn at any place and size.

Convention: images are BGR, uint8; a sprite is BGRA float32 with premultiplied alpha in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.types import F32, U8
from jobs.fleet.portraits import Look, Portrait, dress

_MAKING = Lock()  # recordings are written side by side; a cache alone would paint people twice


@dataclass(frozen=True, slots=True)
class _Sprite:
    """A cut-out in halving sizes; the face's place is that in the largest."""

    levels: tuple[F32, ...]
    face_width_px: float
    face_centre_px: tuple[float, float]


class Person:
    """Draws one person into frames.

    Args:
        portrait: whose picture.
        look: its variation.
    """

    def __init__(self, portrait: Portrait, look: Look) -> None:
        with _MAKING:
            self._sprite = _make_sprite(portrait, look)
        self._stretch = look.stretch

    def draw(
        self, frame: U8, centre_xy_px: tuple[float, float], face_px: float, tilt_degrees: float
    ) -> None:
        """Blend the person into `frame` [h, w, 3] in place.

        Args:
            frame: BGR image, changed.
            centre_xy_px: where the middle of the face goes.
            face_px: width of the face.
            tilt_degrees: rotation of the head and shoulders around the face, counter-clockwise.
        """
        levels = self._sprite.levels
        scale = face_px / self._sprite.face_width_px
        level = 0
        while scale < 0.6 and level + 1 < len(levels):
            scale, level = scale * 2, level + 1
        sprite = levels[level]
        cx, cy = (value / 2**level for value in self._sprite.face_centre_px)
        turn = np.deg2rad(tilt_degrees)
        rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        linear = rotate @ np.diag([scale * self._stretch, scale])
        offset = np.asarray(centre_xy_px) - linear @ np.array([cx, cy])
        self._legs(frame, sprite.shape, np.column_stack([linear, offset]))
        _blend(frame, sprite, linear, offset)

    @staticmethod
    def _legs(
        frame: U8, shape: tuple[int, ...], frame_from_sprite: npt.NDArray[np.float64]
    ) -> None:
        """Draw plain dark trousers below the picture, down to the edge of the frame."""
        height, width = shape[:2]
        corners = np.array([[0.15 * width, 0.93 * height, 1], [0.8 * width, 0.93 * height, 1]])
        (x0, y0), (x1, y1) = corners @ frame_from_sprite.T
        bottom = frame.shape[0] + 1
        polygon = np.array([[x0, y0], [x1, y1], [x1, bottom], [x0, bottom]])
        if bottom > max(y0, y1):
            cv2.fillConvexPoly(frame, np.round(polygon).astype(np.int32), (24, 42, 96), cv2.LINE_AA)


@cache
def _make_sprite(portrait: Portrait, look: Look) -> _Sprite:
    sprite, face = _cut_out(portrait, dress(portrait, look))
    if look.mirrored:
        sprite = np.ascontiguousarray(sprite[:, ::-1])
        face = (sprite.shape[1] - face[2], face[1], sprite.shape[1] - face[0], face[3])
    levels: list[F32] = [sprite]
    while min(levels[-1].shape[:2]) > 64:
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
    centre = ((face[0] + face[2]) / 2, (face[1] + face[3]) / 2)
    return _Sprite(tuple(levels), face[2] - face[0], centre)


def _cut_out(portrait: Portrait, image: U8) -> tuple[F32, tuple[int, int, int, int]]:
    """Return the sprite and the face's box in it."""
    alpha = np.zeros(image.shape[:2], np.uint8)
    for outline in (portrait.body_xy_px, portrait.head_xy_px):
        cv2.fillPoly(alpha, [np.array(outline, np.int32)], 255)
    x, y, width, height = cv2.boundingRect(alpha)
    soft = cv2.GaussianBlur(alpha, (0, 0), 2.5).astype(np.float32) / 255
    sprite: F32 = np.dstack([image * soft[..., None], soft]).astype(np.float32)
    x0, y0, x1, y1 = portrait.face_xyxy_px
    return sprite[y : y + height, x : x + width], (x0 - x, y0 - y, x1 - x, y1 - y)


def _blend(
    frame: U8, sprite: F32, linear: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]
) -> None:
    """Composite a premultiplied sprite under the affine map, touching only its bounding box."""
    height, width = sprite.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ linear.T + offset
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    x1 = min(int(np.ceil(corners[:, 0].max())), frame.shape[1])
    y1 = min(int(np.ceil(corners[:, 1].max())), frame.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    matrix = np.column_stack([linear, offset - (x0, y0)])
    warped = cv2.warpAffine(sprite, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    under = frame[y0:y1, x0:x1].astype(np.float32)
    mixed = under * (1 - warped[..., 3:]) + warped[..., :3]
    frame[y0:y1, x0:x1] = np.clip(mixed, 0, 255).astype(np.uint8)
