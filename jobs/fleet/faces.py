"""Faces of people who do not exist: anchors of the shipped bank, painted by the shipped generator.

The portrait lends the surroundings, the light, the pose and the expression; the face itself is
generated and put back as the job does it. One thread paints, so that a machine's number of cores
does not change the sums; other weights, and other processors, paint other bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from deid_ops.anchors.bank import AnchorBank, load_bank
from deid_ops.inference.session import Runtime
from deid_ops.swap.crop import blend_weights, crop_matrices, paste_crop, warp_crop
from deid_ops.swap.generator import Generator
from deid_ops.types import F32, U8
from jobs.weights import resolve


def paint_face(image_bgr: U8, landmarks_xy_px: F32, number: int) -> U8:
    """Return the image with another face in place of the one at the landmarks.

    Args:
        image_bgr: [h, w, 3].
        landmarks_xy_px: [5, 2], order of `deid_ops.types`.
        number: which face, from 0; see `far_apart`.

    Raises:
        SetupError: weights are missing or do not fit.
    """
    generate, bank = _painter()
    points = landmarks_xy_px[None]
    matrix = crop_matrices(points)
    crop = warp_crop(image_bgr, matrix[0])
    anchor = bank.vectors_unit[far_apart(bank, number + 1)[-1:]]
    told = generate.read(crop[None])
    painted = generate(crop[None], told, anchor)[0]
    return paste_crop(image_bgr, painted, matrix[0], blend_weights(told.masks()[0]))[0]


def far_apart(bank: AnchorBank, n: int) -> list[int]:
    """Return `n` anchors, each the farthest from all before it; the first is row 0.

    Example:
        >>> far_apart(AnchorBank(np.float32([[1, 0], [0.8, 0.6], [-1, 0], [0, -1]])), 3)
        [0, 2, 3]
    """
    chosen = [0]
    nearest = 1.0 - bank.vectors_unit @ bank.vectors_unit[0]
    while len(chosen) < n:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, 1.0 - bank.vectors_unit @ bank.vectors_unit[chosen[-1]])
    return chosen


@cache
def _painter() -> tuple[Generator, AnchorBank]:
    runtime = Runtime(threads=1)
    generator = Generator(str(resolve("generator")), str(resolve("attributes")), runtime)
    return generator, load_bank(resolve("anchors"))
