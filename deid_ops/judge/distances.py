"""How far a replaced track is from its original: one row of `identity_audit` per judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.verification import distances, paired_distances, unit_rows
from deid_ops.metrics.temporal import temporal_consistency
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


@dataclass(frozen=True, slots=True)
class TrackJudgement:
    """What one judge says about one track; None where it cannot be said."""

    n_faces: int
    distance_original_mean: float
    distance_original_min: float
    distance_negation_mean: float
    distance_negation_min: float
    distance_anchor_mean: float | None
    n_matched_by_far: dict[float, int]
    n_matched_negation_by_far: dict[float, int]
    n_rank1: int | None  # nearest person of the recording is the true one
    chance_rank1: float | None
    temporal_original: float | None  # M_tc, all pairs
    temporal_output: float | None

    @property
    def retrieved(self) -> dict[float, bool]:
        """Whether any face of the track is matched, directly or negated, per FAR."""
        return {
            far: n > 0 or self.n_matched_negation_by_far[far] > 0
            for far, n in self.n_matched_by_far.items()
        }


def judge_track(
    original: F32,
    output: F32,
    anchor: F32 | None = None,
    *,
    thresholds_by_far: dict[float, F32] | None = None,
    people: F32 | None = None,
    own_person: int = -1,
) -> TrackJudgement:
    """Judge one track by one encoder.

    Args:
        original: `[n, d]` centred embeddings of the original faces, in presentation order.
        output: `[n, d]` of the same faces in the output.
        anchor: `[d]` vector of the identity that was meant to appear, in the judge's space; None
            where there is none.
        thresholds_by_far: FAR to `[n]` thresholds for the sizes of these faces.
        people: `[p, d]` one vector per person of the recording, made from the originals, for
            rank-1 within the recording; None leaves it out.
        own_person: row of this track's person in `people`.

    Raises:
        InvariantError: no faces, or shapes differ.
    """
    if len(original) == 0 or original.shape != output.shape:
        raise InvariantError(f"judge_track: original {original.shape}, output {output.shape}")
    distance, negated = paired_distances(original, output), paired_distances(original, -output)
    matched, matched_negation = {}, {}
    for far, threshold in (thresholds_by_far or {}).items():
        judged = face_distances(original, output, threshold)
        matched[far] = int(judged.matches_original.sum())
        matched_negation[far] = int(judged.matches_negation.sum())
    n_rank1 = None
    if people is not None and len(people) > 1:
        if not 0 <= own_person < len(people):
            raise InvariantError(f"judge_track: person {own_person} of {len(people)}")
        n_rank1 = int((distances(output, people).argmin(axis=1) == own_person).sum())
    before, after = temporal_consistency(original), temporal_consistency(output)
    to_anchor = None
    if anchor is not None:
        to_anchor = float(distances(output, anchor.reshape(1, -1)).mean())
    return TrackJudgement(
        n_faces=len(original),
        distance_original_mean=float(distance.mean()),
        distance_original_min=float(distance.min()),
        distance_negation_mean=float(negated.mean()),
        distance_negation_min=float(negated.min()),
        distance_anchor_mean=to_anchor,
        n_matched_by_far=matched,
        n_matched_negation_by_far=matched_negation,
        n_rank1=n_rank1,
        chance_rank1=None if n_rank1 is None or people is None else 1.0 / len(people),
        temporal_original=None if before is None else before.all_pairs_mean,
        temporal_output=None if after is None else after.all_pairs_mean,
    )


def person_centroid(embeddings: F32) -> F32:
    """Return the unit mean `[d]` of a person's `[n, d]` embeddings."""
    mean = unit_rows(embeddings).mean(axis=0, keepdims=True)
    return np.asarray(unit_rows(np.asarray(mean, dtype=np.float32))[0])
