"""How far replaced faces are from their originals, in the space of one judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.verification import checked_unit_rows, paired_distances
from deid_ops.types import F32, F64, Bool


@dataclass(frozen=True, slots=True)
class FaceDistances:
    """Per face, in the space of one judge; each array is `[n]`."""

    to_original: F32
    to_negation: F32
    threshold: F32

    @property
    def matches_original(self) -> Bool:
        """Faces a searcher would still match."""
        return np.asarray(self.to_original < self.threshold)

    @property
    def matches_negation(self) -> Bool:
        """Faces a searcher would match after negating the vector."""
        return np.asarray(self.to_negation < self.threshold)

    @property
    def nearer(self) -> F32:
        """Distance to the original or to its negation, whichever is less."""
        return np.minimum(self.to_original, self.to_negation)

    @property
    def slack(self) -> F32:
        """Distance left to the nearer of the two thresholds; negative where a face matches."""
        return np.asarray(self.nearer - self.threshold, dtype=np.float32)


def face_distances(original: F32, output: F32, threshold: F32) -> FaceDistances:
    """Return distances of replaced faces to their originals and to the originals' negation.

    Args:
        original: `[n, d]` embeddings, centred (`Calibration.centred`).
        output: `[n, d]` of the same faces in the output.
        threshold: `[n]`, see `Calibration.thresholds`.

    Raises:
        InvariantError: shapes differ.
    """
    if len(threshold) != len(original):
        raise InvariantError(f"face_distances: {len(original)} faces, {len(threshold)} thresholds")
    distance, negated = paired_distances(original, output), paired_distances(original, -output)
    return FaceDistances(distance, negated, np.asarray(threshold, dtype=np.float32))


def slack_together(judged: Sequence[FaceDistances], least: float) -> F32:
    """Return how far faces are beyond what several judges together ask for, `[n]`.

    The mean over the judges of the distance by its threshold, less `least`: a face that is beyond
    each threshold, but close to all of them, is one that a further encoder may match.

    Args:
        judged: of the same faces, one for each judge.
        least: mean ratio that is asked for; 1 asks for no more than single judges do.

    Example:
        >>> one = FaceDistances(np.float32([0.6]), np.float32([1.4]), np.float32([0.5]))
        >>> slack_together([one, one], 1.25).round(2).tolist()
        [-0.05]
    """
    ratios = [found.nearer / found.threshold for found in judged]
    return np.asarray(np.mean(ratios, axis=0) - least, dtype=np.float32)


def person_centroid(embeddings: F32) -> F32:
    """Return the unit mean `[d]` of a person's `[n, d]` embeddings."""
    mean = checked_unit_rows(embeddings).mean(axis=0, keepdims=True)
    return np.asarray(checked_unit_rows(np.asarray(mean, dtype=np.float32))[0])


def ranked_first_among(own: F32, apart: F32, other: Bool, n_shown: int) -> F64:
    """Return how likely each face's own picture is the nearest of `n_shown`, `[n]` in [0, 1].

    The others are drawn at random without replacement from the pictures of other people, so this is
    the expectation over all line-ups, not a sample of them. Chance is `1 / n_shown`.

    Args:
        own: `[n]` distance to the own picture.
        apart: `[n, m]` distances to all pictures.
        other: `[n, m]` which of them show somebody else.
        n_shown: pictures in the line-up, the own one among them.

    Raises:
        InvariantError: fewer than `n_shown - 1` pictures of others.

    Example:
        >>> apart, other = np.float32([[0.2, 0.1, 0.3]]), np.array([[False, True, True]])
        >>> ranked_first_among(np.float32([0.2]), apart, other, 2)
        array([0.5])
    """
    n_others = other.sum(axis=1)
    if (n_others < n_shown - 1).any():
        raise InvariantError(f"ranked_first_among: {n_others.min()} others for {n_shown} pictures")
    farther = (other & (apart > own[:, None])).sum(axis=1)
    drawn = np.arange(n_shown - 1)
    shares = (farther[:, None] - drawn) / (n_others[:, None] - drawn)
    return np.asarray(np.prod(np.maximum(shares, 0.0), axis=1), dtype=np.float64)
