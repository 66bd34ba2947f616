"""Portraits that installed packages ship, and the looks that make several people of one of them.

Convention: images are BGR, uint8; tones multiply the colours, in the order blue, green, red.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from deid_ops.errors import SetupError
from deid_ops.types import F32, U8, Bool
from jobs.fleet.faces import paint_face

Points = tuple[tuple[int, int], ...]
Tone = tuple[float, float, float]
_PLAIN: Tone = (1.0, 1.0, 1.0)
_CLOTHES_SATURATION = 0.45  # collar and straps have less and keep their colours
_SOFT_EDGE_PX = 2.0


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photograph of one person in a package's data, and where the person is in it.

    `face_xyxy_px` bounds the face, `landmarks_xy_px` are its eyes, nose and corners of the mouth
    as in `deid_ops.types`. The polygons `head_xy_px` and `body_xy_px` are cut out; the latter holds
    the lower part of the face, too. `skin_xy_px` is the polygon of face and neck: what else is in
    the head is hair. Coloured pixels below the face are clothes.
    """

    name: str
    package: str
    file: str
    face_xyxy_px: tuple[int, int, int, int]
    landmarks_xy_px: Points
    head_xy_px: Points
    body_xy_px: Points
    skin_xy_px: Points
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

    def read(self) -> U8:
        """Return the picture [h, w, 3].

        Raises:
            SetupError: as `path`, or the file is not a picture.
        """
        image = cv2.imread(str(self.path()), cv2.IMREAD_COLOR)
        if image is None:
            raise SetupError(f"{self.path()}: not a readable image; install the package again")
        return np.asarray(image, np.uint8)


ASTRONAUT = Portrait(
    name="astronaut",
    package="skimage",
    file="data/astronaut.png",
    face_xyxy_px=(178, 62, 272, 192),
    landmarks_xy_px=((203, 102), (247, 105), (224, 127), (203, 142), (243, 144)),
    head_xy_px=(
        (173, 120), (164, 108), (158, 96), (156, 80), (155, 70), (159, 60), (167, 52), (180, 44),
        (192, 36), (193, 31), (206, 24), (228, 18), (240, 18), (252, 21), (269, 29), (283, 39),
        (291, 49), (296, 61), (298, 75), (300, 85), (298, 98), (294, 107), (284, 120), (278, 130),
        (270, 136), (180, 131), (174, 124),
    ),
    body_xy_px=(
        (112, 205), (125, 175), (160, 152), (188, 148), (178, 115), (278, 115), (256, 176),
        (285, 190), (306, 232), (352, 285), (362, 345), (290, 420), (60, 430), (50, 290),
    ),
    skin_xy_px=(
        (186, 76), (205, 80), (230, 82), (250, 87), (266, 93), (270, 108), (271, 124), (280, 131),
        (271, 138), (266, 150), (256, 172), (254, 192), (190, 192), (185, 150), (181, 132),
        (172, 122), (180, 115), (181, 100),
    ),
    source="NASA portrait of Eileen Collins, public domain, in scikit-image",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How a person differs from the portrait.

    Attributes:
        face: number of the face that is painted (`faces.paint_face`); None leaves the portrait's.
        mirrored: left and right change places.
        stretch: widens (> 1) or narrows the head.
        tone_bgr: of the whole picture, skin included.
        hair_bgr: of the hair, on top.
        clothes_bgr: of the clothes, on top.
    """

    face: int | None = None
    mirrored: bool = False
    stretch: float = 1.0
    tone_bgr: Tone = _PLAIN
    hair_bgr: Tone = _PLAIN
    clothes_bgr: Tone = _PLAIN


def dress(portrait: Portrait, look: Look) -> U8:
    """Return the portrait with the look's colours and face, [h, w, 3]; not mirrored or stretched.

    Raises:
        SetupError: the portrait or the weights that paint are missing.
    """
    original = portrait.read()
    image = original.astype(np.float32) * np.array(look.tone_bgr, np.float32)
    dyes = (look.hair_bgr, look.clothes_bgr)
    for mask, tone in zip(_hair_and_clothes(portrait, original), dyes, strict=True):
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SOFT_EDGE_PX)[..., None]
        image *= 1 + soft * (np.array(tone, np.float32) - 1)
    coloured = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    if look.face is None:
        return coloured
    # after the dyes: the painted skin takes its light and tone from the surroundings
    return paint_face(coloured, np.array(portrait.landmarks_xy_px, np.float32), look.face)


def _hair_and_clothes(portrait: Portrait, image: U8) -> tuple[Bool, Bool]:
    """Return the pixels [h, w] of hair and of clothes."""
    hair = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(hair, [np.array(portrait.head_xy_px, np.int32)], 1)
    cv2.fillPoly(hair, [np.array(portrait.skin_xy_px, np.int32)], 0)
    values: F32 = image.astype(np.float32)
    saturation = 1 - values.min(axis=2) / np.maximum(values.max(axis=2), 1)
    below = np.arange(len(image))[:, None] >= portrait.face_xyxy_px[3]
    return hair > 0, (saturation > _CLOTHES_SATURATION) & below
