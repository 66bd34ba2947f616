"""What shows of the faces that are painted with each anchor.

An anchor is a vector of the conditioning encoder. The face painted from it lies elsewhere, and an
encoder that took no part in training sees it in its own way; both are known beforehand, because
the generator is. `choose_anchor` uses the judge's view, `audition` the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.pipeline.swap import Painter
from deid_ops.swap.conditions import to_planes
from deid_ops.types import F32, U8, Bool

#: crops BGR [n, S, S, 3] -> unit vectors [n, g]
EmbedCrops = Callable[[U8], F32]

_AROUND_PX = 8.0  # deviation of the Gaussian that says how bright it is around a place
_BRIGHTEST = 99.0  # percentile


@dataclass(frozen=True, slots=True)
class PaintedAnchors:
    """What shows of the faces painted with each of `m` anchors: means over the same few heads.

    Attributes:
        judged: `[m, g]` of a judge's unit vectors, not of unit length.
        own: `[m, d]` of the conditioning encoder's, likewise.
        glare: `[m]` how much brighter than around them the brightest places are, of 1.
    """

    judged: F32
    own: F32
    glare: F32


def paint_anchors(
    paint: Painter,
    judge: EmbedCrops,
    own: EmbedCrops,
    crops_bgr: U8,
    anchors_unit: F32,
    report: Callable[[int], None] | None = None,
) -> PaintedAnchors:
    """Paint every anchor on the same few faces and return what shows of it.

    Args:
        paint: the generator.
        judge: an encoder that took no part in its training, on aligned crops.
        own: the conditioning encoder, likewise.
        crops_bgr: [k, S, S, 3] faces to paint on; a few are enough: distances by four of them
            correlate with those by twelve by 0.93.
        anchors_unit: [m, d].
        report: called with the number of anchors done.
    """
    told = paint.read(crops_bgr)
    masks = told.masks()
    judged, vectors, glare = [], [], []
    for number, anchor in enumerate(anchors_unit):
        painted = paint(crops_bgr, told, np.repeat(anchor[None], len(crops_bgr), axis=0))
        judged.append(judge(painted).mean(axis=0))
        vectors.append(own(painted).mean(axis=0))
        glare.append(glare_of(painted, masks).mean())
        if report is not None:
            report(number + 1)
    columns = (np.asarray(c, dtype=np.float32) for c in (judged, vectors, glare))
    return PaintedAnchors(*columns)


def glare_of(crops_bgr: U8, masks: Bool) -> F32:
    """Return how much brighter than around them the brightest places of faces are, [n], of 1.

    Args:
        crops_bgr: [n, S, S, 3].
        masks: [n, S, S] the faces; nothing is bright where there is none.

    Example:
        >>> plain = np.full((1, 64, 64, 3), 100, np.uint8)
        >>> glare_of(plain, np.ones((1, 64, 64), bool)).round(3).tolist()
        [0.0]
    """
    found = []
    for grey, mask in zip(to_planes(crops_bgr).mean(axis=1), masks, strict=True):
        above = grey - cv2.GaussianBlur(grey, (0, 0), _AROUND_PX)
        found.append(np.percentile(above[mask], _BRIGHTEST) if mask.any() else 0.0)
    return np.asarray(found, dtype=np.float32)
