"""What a face may be treated with, behind one contract, so that every figure has a scale.

A defence takes aligned crops of `deid_ops.swap.crop` and returns crops of the same shape. It must
not see who is on the crop. Baselines stand beside the project's own replacement in every table.

Convention
    Crops are BGR uint8 `[n, 128, 128, 3]`; landmarks `[n, 5, 2]` are in crop pixels. Randomness
    comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.metrics.faceset import FaceSet
from deid_ops.swap.crop import (
    CROP_SIZE_PX,
    EYE_DISTANCE_PX,
    INNER_MASK,
    apply_matrices,
    crop_matrices,
    paste_crop,
)
from deid_ops.types import F32, U8

#: (crops, landmarks in crop pixels, random numbers) -> crops
Treat = Callable[[U8, F32, np.random.Generator], U8]


@dataclass(frozen=True)
class Defence:
    """One treatment.

    Attributes:
        name: what tables call it (`evaluations.subject`).
        treat: see the module's convention.
        params: what decides the result, for `evaluations.params_json`.
        touches: False for the untouched baseline, which is not even pasted.
    """

    name: str
    treat: Treat
    params: Mapping[str, float | str] = field(default_factory=dict)
    touches: bool = True


def untouched() -> Defence:
    """The original itself: the upper end of every scale."""
    return Defence("untouched", lambda crops, _points, _rng: crops, touches=False)


def blur(sigma_in_eye_distances: float = 0.25) -> Defence:
    """Gaussian blur, as common tools apply it."""
    sigma = sigma_in_eye_distances * EYE_DISTANCE_PX

    def treat(crops: U8, _points: F32, _rng: np.random.Generator) -> U8:
        return np.stack([cv2.GaussianBlur(crop, (0, 0), sigma) for crop in crops]).astype(np.uint8)

    return Defence("blur", treat, {"sigma_in_eye_distances": sigma_in_eye_distances})


def pixelate(cells: int = 8) -> Defence:
    """Mosaic of `cells` x `cells` averages over the crop."""

    def treat(crops: U8, _points: F32, _rng: np.random.Generator) -> U8:
        size = (CROP_SIZE_PX, CROP_SIZE_PX)
        small = [cv2.resize(c, (cells, cells), interpolation=cv2.INTER_AREA) for c in crops]
        big = [cv2.resize(c, size, interpolation=cv2.INTER_NEAREST) for c in small]
        return np.stack(big).astype(np.uint8)

    return Defence("pixelate", treat, {"cells": float(cells)})


def mask(level: int = 128) -> Defence:
    """One grey for every face: nothing of the inside is left."""
    return Defence("mask", lambda crops, _points, _rng: np.full_like(crops, level))


def uniform_noise(eps: float = 0.15) -> Defence:
    """Uniform noise on [-1, 1] pictures, the thesis' cheapest defence (Table 5.8)."""

    def treat(crops: U8, _points: F32, rng: np.random.Generator) -> U8:
        noise = rng.uniform(-eps, eps, crops.shape) * 127.5
        return np.clip(np.rint(crops + noise), 0, 255).astype(np.uint8)

    return Defence("noise", treat, {"eps": eps})


def k_same(k: int = 5, grid_px: int = 32) -> Defence:
    """Each face becomes the mean of its `k` nearest aligned faces, itself among them.

    Newton, Sweeney and Malin, "Preserving privacy by de-identifying face images" (2005), without
    removing used faces from the pool. Nearest is by grey pixels inside the mask at `grid_px`.
    The set given in one call is the pool.
    """

    def treat(crops: U8, _points: F32, _rng: np.random.Generator) -> U8:
        if len(crops) < k:
            raise InvariantError(f"k-same: {len(crops)} faces for k = {k}")
        size = (grid_px, grid_px)
        inside = cv2.resize(INNER_MASK.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
        grey = np.stack(
            [
                cv2.resize(cv2.cvtColor(c, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)
                for c in crops
            ]
        )
        flat = grey[:, inside].astype(np.float32)
        squares = (flat**2).sum(axis=1)
        distance = squares[:, None] + squares[None, :] - 2 * flat @ flat.T
        np.fill_diagonal(distance, -1)
        nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]
        means = [crops[rows].astype(np.float32).mean(axis=0) for rows in nearest]
        return np.asarray(np.clip(np.rint(np.stack(means)), 0, 255), dtype=np.uint8)

    return Defence("k_same", treat, {"k": float(k)})


def baselines() -> tuple[Defence, ...]:
    """Return every baseline that needs no weights."""
    return (untouched(), blur(), pixelate(), mask(), k_same(), uniform_noise())


def hard_mask() -> F32:
    """Weights `[128, 128]` of a baseline's paste: the whole inner mask, no ramp."""
    return INNER_MASK.astype(np.float32)


@dataclass(frozen=True)
class Treated:
    """A face set after a defence."""

    faces: FaceSet
    changed: tuple[npt.NDArray[np.bool_], ...]  # per picture [h, w], where pixels may have changed


def apply_defence(
    faces: FaceSet,
    defence: Defence,
    seed: int,
    weights: F32 | None = None,
    batch: int | None = None,
) -> Treated:
    """Treat every face of a set and paste it back into its picture.

    Args:
        faces: the originals.
        defence: the treatment.
        seed: of its randomness.
        weights: `[128, 128]` in [0, 1], how the crop is blended; the hard inner mask where None.
        batch: faces handed over at once; None hands over all (k-same needs its pool).
    """
    if not defence.touches:
        nothing = tuple(np.zeros(image.shape[:2], np.bool_) for image in faces.images_bgr)
        return Treated(faces, nothing)
    matrices, before = crop_matrices(faces.landmarks_xy_px), faces.aligned()
    points = apply_matrices(matrices, faces.landmarks_xy_px)
    rng = np.random.default_rng(seed)
    step = batch or max(len(faces), 1)
    parts = [
        defence.treat(before[i : i + step], points[i : i + step], rng)
        for i in range(0, len(faces), step)
    ]
    after = np.concatenate(parts)
    if after.shape != before.shape or after.dtype != np.uint8:
        raise InvariantError(f"{defence.name}: returned {after.dtype}{after.shape}")
    blend = hard_mask() if weights is None else weights
    pasted = [
        paste_crop(image, crop, matrix, blend)
        for image, crop, matrix in zip(faces.images_bgr, after, matrices, strict=True)
    ]
    images, changed = zip(*pasted, strict=True)
    return Treated(faces.with_images(images), tuple(changed))
