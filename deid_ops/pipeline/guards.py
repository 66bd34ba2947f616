"""The encoders that may refuse a replacement, and what they see of whole persons.

Vectors of several guards lie side by side: `[n, sum of their dims]`, in the order of the guards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.judge.calibration import Calibration
from deid_ops.metrics.temporal import temporal_consistency
from deid_ops.pipeline.swap import EmbedFaces
from deid_ops.types import F32, I32, U8

STEADY_FACES_MIN = 4  # of fewer, the variation says nothing


@dataclass(frozen=True)
class Guard:
    """An encoder that may refuse a replacement, with its thresholds.

    The first is a judge. Others can only refuse more: they may even be networks that the generator
    was trained against, which a judge may not.

    Attributes:
        name: as the calibration knows it.
        embed: (image, landmarks [n, 5, 2]) to vectors.
        dim: numbers of one vector.
        calibration: thresholds, and the mean that is taken off the vectors.
        far: false accept rate of the threshold that a single face is held to.
        person_distance_min: cosine distance that the mean vectors of a person's faces and originals
            must keep, or another anchor is tried; different people are at 1 on average. In a street
            (eight releases) tracks in which an encoder outside the ladder matched a face were at
            0.79 to 0.95 by dlib, but one.
    """

    name: str
    embed: EmbedFaces
    dim: int
    calibration: Calibration
    far: float
    person_distance_min: float


def embed_for(guards: Sequence[Guard]) -> EmbedFaces:
    """Return (image, landmarks [n, 5, 2]) -> all guards' vectors side by side, [n, sum of d]."""

    def embed(image: U8, points: F32) -> F32:
        return np.concatenate([guard.embed(image, points) for guard in guards], axis=1)

    return embed


def columns_of(guards: Sequence[Guard]) -> Iterator[tuple[Guard, slice]]:
    """Yield the guards with their columns of vectors side by side."""
    column = 0
    for guard in guards:
        yield guard, slice(column, column + guard.dim)
        column += guard.dim


def person_apart(
    guards: Sequence[Guard], originals: F32, outputs: F32, person: I32, n_persons: int
) -> F32:
    """Return how far all faces of each person are from their originals, of what guards ask for.

    The guard that sees least of it counts.

    Args:
        guards: who looks.
        originals: [n, d] vectors of all guards side by side.
        outputs: [n, d] of what stands there now.
        person: [n] of each face.
        n_persons: of the segment.

    Returns:
        [p]; infinite for somebody without a face.
    """
    least = np.full(n_persons, np.inf, dtype=np.float32)
    for guard, columns in columns_of(guards):
        before, after = (
            guard.calibration.centred(guard.name, vectors[:, columns])
            for vectors in (originals, outputs)
        )
        for number in np.unique(person):
            here = person == number
            mean, other = before[here].mean(axis=0), after[here].mean(axis=0)
            norms = float(np.linalg.norm(mean) * np.linalg.norm(other))
            distance = 1.0 - float(mean @ other) / norms if norms > 0 else 0.0
            least[number] = min(least[number], distance / max(guard.person_distance_min, 1e-6))
    return least


def person_steady(
    guards: Sequence[Guard],
    originals: F32,
    outputs: F32,
    person: I32,
    n_persons: int,
    share: float,
) -> F32:
    """Return how much less each person's outputs vary than the originals, of what is asked for.

    Args:
        guards: who looks; the mean over them counts.
        originals: [n, d] vectors of all guards side by side.
        outputs: [n, d] of what stands there now.
        person: [n] of each face.
        n_persons: of the segment.
        share: the variation (M_tc over all pairs) that is asked for, of the originals'.

    Returns:
        [p]; infinite for somebody with too few faces to tell.
    """
    steady = np.full(n_persons, np.inf, dtype=np.float32)
    for number in np.unique(person):
        here = person == number
        if here.sum() < STEADY_FACES_MIN:
            continue
        ratios = []
        for guard, columns in columns_of(guards):
            before, after = (
                temporal_consistency(guard.calibration.centred(guard.name, vectors[here, columns]))
                for vectors in (originals, outputs)
            )
            if before is not None and after is not None:
                ratios.append(after.all_pairs_mean / max(before.all_pairs_mean, 1e-6))
        steady[number] = share / max(float(np.mean(ratios)), 1e-6)
    return steady


def person_means(guards: Sequence[Guard], vectors: F32, person: I32, n_persons: int) -> F32:
    """Return the mean of everybody's vectors, each guard's centred and at unit length, [p, d].

    Rows of who has no face are NaN.

    Args:
        guards: who looks.
        vectors: [n, d] of all guards side by side.
        person: [n] of each face.
        n_persons: of the segment.
    """
    means = np.full((n_persons, vectors.shape[1]), np.nan, dtype=np.float32)
    if len(vectors) == 0:
        return means
    for guard, columns in columns_of(guards):
        centred = guard.calibration.centred(guard.name, vectors[:, columns])
        for number in np.unique(person):
            mean = centred[person == number].mean(axis=0)
            means[number, columns] = mean / max(float(np.linalg.norm(mean)), 1e-6)
    return means


def person_hidden(
    guards: Sequence[Guard], people: F32, outputs: F32, window: tuple[float, float]
) -> F32:
    """Return how little each person's faces point at that person rather than at others in view.

    The distance to the person by the mean distance to the others, which is to lie in a window; the
    guard that sees it farthest outside counts. An absolute distance does not show it: footage that
    is dark or blurred brings all of its faces nearer to each other, and whom a painted face lies
    nearest to is then who it was. Whoever lies farther than all others is found from the other end.

    Args:
        guards: who looks.
        people: [p, d] `person_means` of the originals; NaN where there is nobody.
        outputs: [p, d] `person_means` of what stands there now; NaN for whom it is not asked.
        window: the least and the largest ratio; a least of 0 asks for nothing.

    Returns:
        [p] 1 at the window's borders, less outside; infinite for who is alone or not asked for,
        and where nothing is asked for.
    """
    hidden = np.full(len(people), np.inf, dtype=np.float32)
    there = ~np.isnan(people[:, 0])
    least, most = window
    if least <= 0 or there.sum() < 2:
        return hidden
    for number in np.flatnonzero(~np.isnan(outputs[:, 0])):
        others = there & (np.arange(len(people)) != number)
        for _, columns in columns_of(guards):
            distance = 1.0 - people[:, columns] @ outputs[number, columns]
            ratio = max(float(distance[number]), 1e-6) / max(float(distance[others].mean()), 1e-6)
            hidden[number] = min(hidden[number], ratio / least, most / ratio)
    return hidden
