"""How far replaced faces are from their originals, in the space of one judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.verification import checked_unit_rows, paired_distances
from deid_ops.types import F32, Bool


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
    def slack(self) -> F32:
        """Distance left to the nearer of the two thresholds; negative where a face matches."""
        nearer = np.minimum(self.to_original, self.to_negation)
        return np.asarray(nearer - self.threshold, dtype=np.float32)


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


def person_centroid(embeddings: F32) -> F32:
    """Return the unit mean `[d]` of a person's `[n, d]` embeddings."""
    mean = checked_unit_rows(embeddings).mean(axis=0, keepdims=True)
    return np.asarray(checked_unit_rows(np.asarray(mean, dtype=np.float32))[0])
