"""A set of face pictures with the person on each, for verification and for attacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.swap.crop import CROP_SIZE_PX, crop_matrices, warp_crop
from deid_ops.types import F32, I64, U8, frozen_array

_NUMBERED = re.compile(r"^(?P<person>.+)_\d+$")


@dataclass(frozen=True, slots=True)
class FaceSet:
    """`n` pictures with one labelled face each; sizes may differ.

    Attributes:
        name: what figures call the set.
        images_bgr: `n` arrays `[h, w, 3]` uint8.
        landmarks_xy_px: `[n, 5, 2]` in each picture's pixels.
        person: `[n]` number of the person.
    """

    name: str
    images_bgr: tuple[U8, ...]
    landmarks_xy_px: F32
    person: I64

    def __post_init__(self) -> None:
        """Compare lengths."""
        n = len(self.images_bgr)
        marks = frozen_array(self.landmarks_xy_px, np.float32, (n, 5, 2), "landmarks_xy_px")
        object.__setattr__(self, "landmarks_xy_px", marks)
        object.__setattr__(self, "person", frozen_array(self.person, np.int64, (n,), "person"))

    def __len__(self) -> int:
        return len(self.images_bgr)

    @property
    def eye_distance_px(self) -> F32:
        """Distance `[n]` between the eyes."""
        eyes = self.landmarks_xy_px[:, 0] - self.landmarks_xy_px[:, 1]
        return np.asarray(np.linalg.norm(eyes, axis=1), dtype=np.float32)

    def aligned(self, size_px: int = CROP_SIZE_PX) -> U8:
        """Return the crops of `deid_ops/swap/crop.py`, `[n, size_px, size_px, 3]` BGR."""
        matrices = crop_matrices(self.landmarks_xy_px)
        pairs = zip(self.images_bgr, matrices, strict=True)
        return np.stack([warp_crop(image, matrix, size_px) for image, matrix in pairs])

    def take(self, rows: Sequence[int] | I64) -> FaceSet:
        """Return the given pictures, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        images = tuple(self.images_bgr[i] for i in index)
        return FaceSet(self.name, images, self.landmarks_xy_px[index], self.person[index])

    def with_images(self, images_bgr: Sequence[U8]) -> FaceSet:
        """Return the same faces in other pictures of the same sizes.

        Raises:
            InvariantError: a size changed.
        """
        for before, after in zip(self.images_bgr, images_bgr, strict=True):
            if before.shape != after.shape:
                raise InvariantError(f"FaceSet: picture {before.shape} became {after.shape}")
        return FaceSet(self.name, tuple(images_bgr), self.landmarks_xy_px, self.person)

    def shrunk(self, eye_distance_px: float) -> FaceSet:
        """Return the set with every face shrunk to the given eye distance, as a far camera sees it.

        Faces that are smaller already stay as they are (enlarging adds nothing). Pixels are
        averaged by area.
        """
        images: list[U8] = []
        marks = np.array(self.landmarks_xy_px)
        for i, image in enumerate(self.images_bgr):
            factor = eye_distance_px / max(float(self.eye_distance_px[i]), 1e-6)
            if factor >= 1.0:
                images.append(image)
                continue
            height, width = (max(2, round(side * factor)) for side in image.shape[:2])
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            images.append(np.asarray(small, dtype=np.uint8))
            scale = np.array([width / image.shape[1], height / image.shape[0]], dtype=np.float32)
            # pixel centres lie at integers, so areas are aligned with the half-pixel shift
            marks[i] = (marks[i] + 0.5) * scale - 0.5
        name = f"{self.name}@{eye_distance_px:g}px"
        return FaceSet(name, tuple(images), marks, self.person)


def person_of_file(name: str) -> str:
    """Return the person a file name stands for.

    `Ada_Lovelace_0002.webp` is `Ada_Lovelace`; otherwise the folder names the person, and a file
    without either is a person of its own.

    Example:
        >>> person_of_file("Ada_Lovelace_0002.webp"), person_of_file("ada/2.png")
        ('Ada_Lovelace', 'ada')
    """
    folder, _, file = name.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    numbered = _NUMBERED.match(stem)
    if numbered:
        return numbered.group("person")
    return folder or stem


def number_people(people: Sequence[str]) -> I64:
    """Return `[n]` numbers for names, in alphabetical order.

    Example:
        >>> number_people(["b", "a", "b"]).tolist()
        [1, 0, 1]
    """
    _, numbers = np.unique(np.asarray(people, dtype=np.str_), return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)


def split_people(person: I64, held_out_per_mille: int, seed: int) -> tuple[I64, I64]:
    """Split rows so that no person is on both sides.

    Args:
        person: `[n]`.
        held_out_per_mille: share of the people on the second side.
        seed: of the draw.

    Returns:
        Row numbers of the two sides, each in order.
    """
    people = np.unique(person)
    drawn = np.random.default_rng(seed).permutation(people)
    n_held = round(len(people) * held_out_per_mille / 1000)
    held = np.isin(person, drawn[:n_held])
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)
