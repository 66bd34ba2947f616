"""How a judge sees the faces that are painted with each anchor.

An anchor is a vector of the conditioning encoder. The face painted from it lies elsewhere, and an
encoder that took no part in training sees it in its own way; both are known beforehand, because
the generator is. `choose_anchor` uses it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deid_ops.pipeline.swap import Painter
from deid_ops.types import F32, I64, U8

#: crops BGR [n, S, S, 3] -> unit vectors [n, g]
EmbedCrops = Callable[[U8], F32]


def painted_appearance(
    paint: Painter,
    embed: EmbedCrops,
    crops_bgr: U8,
    anchors_unit: F32,
    report: Callable[[int], None] | None = None,
) -> F32:
    """Return the mean of an encoder's unit vectors over some faces painted with each anchor.

    Args:
        paint: the generator.
        embed: the encoder, on aligned crops.
        crops_bgr: [k, S, S, 3] faces to paint on; a few are enough: distances by four of them
            correlate with those by twelve by 0.93.
        anchors_unit: [m, d].
        report: called with the number of anchors done.

    Returns:
        [m, g], float32, not of unit length.
    """
    told = paint.read(crops_bgr)
    means = []
    for number, anchor in enumerate(anchors_unit):
        same = np.repeat(anchor[None], len(crops_bgr), axis=0)
        means.append(embed(paint(crops_bgr, told, same)).mean(axis=0))
        if report is not None:
            report(number + 1)
    return np.asarray(means, dtype=np.float32)


def most_distinct(vectors_unit: F32, n: int) -> I64:
    """Return `n` rows of unit vectors [m, g] that lie far apart, in ascending order; all of fewer.

    Each is the one furthest from those taken before, the first is row 0 (farthest-point
    clustering, Gonzalez 1985).

    Example:
        >>> vectors = np.float32([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
        >>> most_distinct(vectors, 3).tolist()
        [0, 2, 3]
    """
    taken = [0]
    nearest = vectors_unit @ vectors_unit[0]
    while len(taken) < min(n, len(vectors_unit)):
        taken.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors_unit @ vectors_unit[taken[-1]])
    return np.sort(np.asarray(taken, dtype=np.int64))
