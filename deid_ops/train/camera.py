"""See a face by a worse camera: in one way (`degrade`), or in all at once (`as_footage`).

Convention: RGB uint8 images `[s, s, 3]`. All random numbers come from the generator that is passed.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ops.types import F32, F64, U8


def degrade(face: U8, rng: np.random.Generator) -> U8:
    """Lose detail in one of the ways cameras and files do: small, unsharp, moved, noisy, packed."""
    size, way = len(face), int(rng.integers(5))
    if way == 0:
        small = int(size * rng.uniform(0.22, 0.8))
        shrunk = np.asarray(
            cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA), np.uint8
        )
        if rng.random() < 0.5:  # a small face in a packed video
            shrunk = _packed(shrunk, int(rng.integers(40, 90)))
        worse = cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR)
    elif way == 1:
        worse = cv2.GaussianBlur(face, (0, 0), float(rng.uniform(0.5, 2.2)))
    elif way == 2:
        length = int(rng.integers(3, 10))
        streak = np.zeros((length, length), np.float32)
        end = (rng.uniform(-1, 1, 2) * length / 2 + length / 2).astype(int).tolist()
        cv2.line(streak, end, (length - 1 - end[0], length - 1 - end[1]), 1.0)
        worse = cv2.filter2D(face, -1, streak / streak.sum())
    elif way == 3:
        noise = rng.standard_normal(face.shape, dtype=np.float32) * float(rng.uniform(3, 14))
        worse = np.clip(face + noise, 0, 255)
    else:
        worse = _packed(face, int(rng.integers(12, 60)))
    return np.asarray(worse, dtype=np.uint8)


def as_footage(face: U8, rng: np.random.Generator) -> U8:
    """Show a face as a recording does: hazy, unsharp and small, then noisy, packed, enlarged.

    The steps come together, as they do in a drive: a detector's crop of a face with 18 px between
    the eyes is enlarged twice, out of a packed picture that a lens and the camera's own sharpening
    have been at.
    """
    size = len(face)
    if rng.random() < 0.4:  # behind glass, in fog, under a grey sky
        clear = float(rng.uniform(0.35, 0.9))
        haze = np.asarray(rng.uniform(40, 190, 3), dtype=np.float32)
        face = _as_codes(np.float32(clear) * face + np.float32(1.0 - clear) * haze)
    small = int(size * np.exp(rng.uniform(np.log(0.25), np.log(1.1))))
    scale = size / small
    if rng.random() < 0.5:
        face = np.asarray(cv2.GaussianBlur(face, (0, 0), float(rng.uniform(0.3, 0.9)) * scale))
    image = np.asarray(cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.3:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
        image = _as_codes(image + float(rng.uniform(0.2, 1.2)) * (image - soft))
    if rng.random() < 0.4:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = _as_codes(image + noise * float(rng.uniform(1, 8)))
    if rng.random() < 0.2:
        image = _in_few_colours(image, rng)
    elif rng.random() < 0.7:
        image = _packed(image, int(rng.integers(30, 92)))
    way = cv2.INTER_LINEAR if rng.random() < 0.8 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=way), dtype=np.uint8)


def _in_few_colours(image: U8, rng: np.random.Generator) -> U8:
    """Round to few levels of each colour, dithered, as in a GIF."""
    step = float(rng.uniform(12, 40))
    thresholds = rng.random(image.shape[:2], dtype=np.float32)[..., None]
    return _as_codes((np.floor(image / step + thresholds)) * step)


def _as_codes(image: F32 | F64) -> U8:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _packed(image: U8, quality: int) -> U8:
    """Write an image as JPEG and read it again."""
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
