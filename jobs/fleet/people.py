"""People for generated drives: cut-outs of freely licensed portraits that come with packages.

Convention: images are BGR, uint8; a sprite is BGRA float32 with premultiplied alpha in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError
from deid_ops.types import F32, U8


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photograph of one person in a package's data, and where the person is in it.

    `face_xyxy_px` bounds the face, `head_xywh_px` is the ellipse (centre, half axes) that is cut
    out, `body_xy_px` the polygon of the shoulders below it.
    """

    name: str
    package: str
    file: str
    face_xyxy_px: tuple[int, int, int, int]
    head_xywh_px: tuple[int, int, int, int]
    body_xy_px: tuple[tuple[int, int], ...]
    source: str

    def path(self) -> Path:
        """Return the file on disk.

        Raises:
            SetupError: the package is not installed or no longer holds the file.
        """
        spec = find_spec(self.package)
        folders = list(spec.submodule_search_locations or []) if spec else []
        for folder in folders:
            if (Path(folder) / self.file).is_file():
                return Path(folder) / self.file
        raise SetupError(
            f"the portrait {self.package}/{self.file} is missing: install the versions of "
            "infra/constraints.txt again (bash infra/demo.sh does)"
        )


ASTRONAUT = Portrait(
    name="astronaut",
    package="skimage",
    file="data/astronaut.png",
    face_xyxy_px=(178, 62, 272, 192),
    head_xywh_px=(228, 84, 75, 71),
    body_xy_px=(
        (112, 205), (125, 175), (160, 152), (188, 148), (178, 115), (278, 115), (256, 176),
        (285, 190), (306, 232), (352, 285), (362, 345), (290, 420), (60, 430), (50, 290),
    ),
    source="NASA portrait of Eileen Collins, public domain, in scikit-image",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How a person's picture is varied, so that not everybody looks alike.

    `stretch` widens (> 1) or narrows the head; `tone_bgr` multiplies the colours.
    """

    mirrored: bool = False
    stretch: float = 1.0
    tone_bgr: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Person:
    """Draws one person into frames.

    Args:
        portrait: whose picture.
        look: its variation.
    """

    def __init__(self, portrait: Portrait, look: Look) -> None:
        sprite, face = _cut_out(portrait)
        sprite = sprite.copy()
        sprite[..., :3] = np.minimum(sprite[..., :3] * np.array(look.tone_bgr, np.float32), 255)
        if look.mirrored:
            sprite = np.ascontiguousarray(sprite[:, ::-1])
            face = (sprite.shape[1] - face[2], face[1], sprite.shape[1] - face[0], face[3])
        self._levels: list[F32] = [sprite]
        while min(self._levels[-1].shape[:2]) > 64:
            self._levels.append(np.asarray(cv2.pyrDown(self._levels[-1]), np.float32))
        self._stretch = look.stretch
        self._face_width_px = face[2] - face[0]
        self._face_centre_px = ((face[0] + face[2]) / 2, (face[1] + face[3]) / 2)

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
        scale = face_px / self._face_width_px
        level = 0
        while scale < 0.6 and level + 1 < len(self._levels):
            scale, level = scale * 2, level + 1
        sprite = self._levels[level]
        cx, cy = (value / 2**level for value in self._face_centre_px)
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
def _cut_out(portrait: Portrait) -> tuple[F32, tuple[int, int, int, int]]:
    """Return the sprite and the face's box in it."""
    image = cv2.imread(str(portrait.path()), cv2.IMREAD_COLOR)
    if image is None:
        raise SetupError(f"{portrait.path()}: not a readable image; install the package again")
    alpha = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [np.array(portrait.body_xy_px, np.int32)], 255)
    cx, cy, rx, ry = portrait.head_xywh_px
    cv2.ellipse(alpha, (cx, cy), (rx, ry), 0, 0, 360, 255, -1)
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
