"""Verification and retrieval: EER, threshold at a false acceptance rate, ID, not-ID and RA.

Algorithms 1 and 2 of F. Rosberg's licentiate thesis (2023, section 2.3) with the retrieval metrics
of the same thesis (section 5.4). The thesis walks over thresholds in small steps; here the same
answers come from the sorted distances, without a step size.

Convention
    Vectors are float32 `[n, d]`, unit vectors of an encoder less a constant (the encoder's mean,
    see `calibration`). The distance of two of them is `|u - v|^2 / 2` in [0, 2]: for unit vectors
    that is the cosine distance, and subtracting a constant does not change it. The distance to the
    negation is `|u + v|^2 / 2`, and there the constant matters. Two faces match where their
    distance is *below* a threshold.
    Impostor distances compare different people, genuine distances two pictures of one person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.metrics.stats import Estimate, rate
from deid_ops.types import F32, I64, Bool


def checked_unit_rows(embeddings: F32) -> F32:
    """Return `[n, d]` rows scaled to length 1.

    Raises:
        InvariantError: not `[n, d]`, or a row has no length.
    """
    if embeddings.ndim != 2:
        raise InvariantError(f"embeddings: expected [n, d], got {embeddings.shape}")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if np.any(lengths < 1e-9) or not np.isfinite(lengths).all():
        raise InvariantError("embeddings: a row is all zeros or not finite")
    return np.asarray(embeddings / lengths, dtype=np.float32)


def cosine_distances(first: F32, second: F32) -> F32:
    """Return the `[n, m]` cosine distances between `[n, d]` and `[m, d]` embeddings.

    Example:
        >>> a = np.array([[1, 0], [0, 2]], np.float32)
        >>> cosine_distances(a, a).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    product = checked_unit_rows(first) @ checked_unit_rows(second).T
    return np.asarray(np.clip(1.0 - product, 0.0, 2.0), dtype=np.float32)


def distances(first: F32, second: F32) -> F32:
    """Return `|u - v|^2 / 2` of all pairs of `[n, d]` and `[m, d]` vectors as `[n, m]`.

    Example:
        >>> a = np.array([[1, 0], [0, 1]], np.float32)
        >>> distances(a, a + 5)[0, 0], distances(a, a).tolist()
        (25.0, [[0.0, 1.0], [1.0, 0.0]])
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise InvariantError(f"distances: shapes {first.shape} and {second.shape}")
    half_squares = [(v.astype(np.float64) ** 2).sum(axis=1) / 2 for v in (first, second)]
    product = first.astype(np.float32) @ second.T.astype(np.float32)
    result = half_squares[0][:, None] + half_squares[1][None, :] - product
    return np.asarray(np.maximum(result, 0.0), dtype=np.float32)


def paired_distances(first: F32, second: F32) -> F32:
    """Return `|u - v|^2 / 2` of the rows of two `[n, d]` arrays as `[n]`."""
    if first.shape != second.shape or first.ndim != 2:
        raise InvariantError(f"paired_distances: shapes {first.shape} and {second.shape}")
    difference = first.astype(np.float64) - second
    return np.asarray((difference**2).sum(axis=1) / 2, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class EqualErrorRate:
    """Where false acceptances and false rejections are equally frequent."""

    rate: float
    threshold: float


@dataclass(frozen=True, slots=True)
class FarThreshold:
    """A distance below which at most `far_target` of the impostor pairs lie."""

    threshold: float
    far_target: float
    far_measured: float
    n_impostor: int

    @property
    def resolved(self) -> bool:
        """Whether the sample holds at least one impostor pair per `1 / far_target`."""
        return self.n_impostor * self.far_target >= 1.0


def equal_error_rate(impostor: F32, genuine: F32) -> EqualErrorRate:
    """Return the equal error rate and its threshold (thesis, Algorithm 1).

    FAR(t) is the share of impostor distances below `t`, FRR(t) the share of genuine distances at
    or above it. The threshold minimises |FAR - FRR| over all distances that occur; the rate is the
    mean of the two there.

    Raises:
        InvariantError: one of the sets is empty.

    Example:
        >>> far, near = np.float32([0.6, 0.8, 1.0, 1.2]), np.float32([0.1, 0.2, 0.3, 0.7])
        >>> e = equal_error_rate(far, near)
        >>> e.rate, round(e.threshold, 3)
        (0.25, 0.7)
    """
    if impostor.size == 0 or genuine.size == 0:
        raise InvariantError(f"EER: {impostor.size} impostor and {genuine.size} genuine pairs")
    negatives, positives = np.sort(impostor, axis=None), np.sort(genuine, axis=None)
    thresholds = np.unique(np.concatenate([negatives, positives, [np.float32(np.inf)]]))
    far = np.searchsorted(negatives, thresholds, side="left") / negatives.size
    frr = 1.0 - np.searchsorted(positives, thresholds, side="left") / positives.size
    best = int(np.argmin(np.abs(far - frr)))
    return EqualErrorRate(float((far[best] + frr[best]) / 2), float(thresholds[best]))


def threshold_at_far(impostor: F32, far: float) -> FarThreshold:
    """Return the largest threshold with at most `far` of the impostor pairs below it (Algorithm 2).

    The thesis lowers a first guess step by step and returns the value after the last step; this is
    the limit for ever smaller steps. Where `n * far < 1` no pair may lie below, and the smallest
    impostor distance is returned; `resolved` is then false.

    Args:
        impostor: distances between different people, any shape.
        far: wanted false acceptance rate, in (0, 1).

    Example:
        >>> t = threshold_at_far(np.float32([0.5, 0.6, 0.7, 0.8]), 0.25)
        >>> round(t.threshold, 3), t.far_measured
        (0.6, 0.25)
    """
    if impostor.size == 0 or not 0.0 < far < 1.0:
        raise InvariantError(f"threshold_at_far: {impostor.size} pairs at FAR {far}")
    flat = np.asarray(impostor, dtype=np.float32).ravel()
    allowed = min(int(np.floor(far * flat.size + 1e-9)), flat.size - 1)
    threshold = float(np.partition(flat, allowed)[allowed])
    measured = float(np.mean(flat < np.float32(threshold)))
    return FarThreshold(threshold, far, measured, int(flat.size))


def true_acceptance(genuine: F32, threshold: float) -> Estimate:
    """Return the share of genuine pairs below a threshold (TAR at the threshold's FAR)."""
    return rate(int(np.count_nonzero(genuine < threshold)), int(genuine.size))


def area_under_curve(impostor: F32, genuine: F32) -> float:
    """Return the chance that a genuine pair is closer than an impostor pair (ties count half)."""
    if impostor.size == 0 or genuine.size == 0:
        raise InvariantError(f"AUC: {impostor.size} impostor and {genuine.size} genuine pairs")
    negatives = np.sort(impostor, axis=None)
    above = negatives.size - np.searchsorted(negatives, genuine, side="right")
    equal = negatives.size - np.searchsorted(negatives, genuine, side="left") - above
    return float((above + equal / 2).mean() / negatives.size)


def area_under_curve_estimate(impostor: F32, genuine: F32) -> Estimate:
    """Return the area under the curve with its 95 % interval; `n` counts genuine pairs.

    Standard error of J. A. Hanley and B. J. McNeil, Radiology 143 (1982), equation 1. It takes
    pairs for independent; pairs that share pictures are not, so the interval is somewhat narrow.
    """
    area = area_under_curve(impostor, genuine)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    n, m = genuine.size, impostor.size
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)) / (n * m)
    half = 1.96 * float(np.sqrt(max(variance, 0.0)))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half), int(n))


def person_pairs(embeddings: F32, person: npt.NDArray[np.integer]) -> tuple[F32, F32]:
    """Return `(impostor, genuine)` distances of all pairs within `[n, d]` embeddings.

    Args:
        embeddings: `[n, d]`.
        person: `[n]` label of the person on each picture.
    """
    rows, columns = np.triu_indices(len(embeddings), k=1)
    flat = distances(embeddings, embeddings)[rows, columns]
    same = person[rows] == person[columns]
    return flat[~same], flat[same]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The nearest gallery entry of every query.

    `chance_rank1` is the rank-1 rate of a searcher who guesses; `stranger_distances` are the
    distances to everyone else in the gallery, from which chance matches are counted.
    """

    nearest: I64  # [n] gallery row
    nearest_distance: F32  # [n]
    own_distance: F32  # [n] to the nearest entry of the same person, infinite where there is none
    is_own: Bool  # [n] the nearest entry is the same person
    chance_rank1: float
    stranger_distances: F32  # [k] queries against other people


def retrieve(
    queries: F32,
    query_person: npt.NDArray[np.integer],
    gallery: F32,
    gallery_person: npt.NDArray[np.integer],
    excluded: npt.NDArray[np.integer] | None = None,
) -> Retrieval:
    """Search every query in a gallery.

    A query made from a picture of the gallery must not meet that very picture: pixels outside the
    face are equal and inflate the figure. Name its row in `excluded`, and let another picture of
    the person stand for them.

    Args:
        queries: `[n, d]`, for example of anonymized faces (ID), their negation (not-ID) or of an
            attacker's reconstructions (RA).
        query_person: `[n]` labels of the original people.
        gallery: `[m, d]` of untouched pictures.
        gallery_person: `[m]` labels.
        excluded: `[n]` gallery row that this query must not meet, or -1.

    Raises:
        InvariantError: lengths differ or the gallery is empty.
    """
    n, m = len(queries), len(gallery)
    if len(query_person) != n or len(gallery_person) != m or m == 0 or n == 0:
        raise InvariantError(
            f"retrieve: {n} queries with {len(query_person)} labels, "
            f"{m} entries with {len(gallery_person)}"
        )
    apart = distances(queries, gallery)
    allowed = np.ones((n, m), dtype=np.bool_)
    if excluded is not None:
        rows = np.flatnonzero(excluded >= 0)
        allowed[rows, excluded[rows]] = False
    own = (query_person[:, None] == gallery_person[None, :]) & allowed
    reach = np.where(allowed, apart, np.float32(np.inf))
    nearest = np.argmin(reach, axis=1)
    picked = np.arange(n)
    return Retrieval(
        nearest.astype(np.int64),
        reach[picked, nearest],
        np.where(own, apart, np.float32(np.inf)).min(axis=1),
        own[picked, nearest],
        float((own.sum(axis=1) / np.maximum(allowed.sum(axis=1), 1)).mean()),
        apart[allowed & ~own],
    )


@dataclass(frozen=True, slots=True)
class RetrievalRates:
    """ID (or not-ID, or RA) of a set of queries at one threshold."""

    identified: Estimate  # nearest is the person, and within the threshold
    rank1: Estimate  # nearest is the person, at any distance
    verified: Estimate  # the person's nearest picture is within the threshold (TAR)
    chance_rank1: float
    chance_verified: float  # share of comparisons with other people within the threshold


def retrieval_rates(result: Retrieval, threshold: float) -> RetrievalRates:
    """Count matches at a threshold (thesis section 5.4: ID = rank 1 *and* within the threshold)."""
    n = len(result.nearest)
    hit = result.is_own & (result.nearest_distance < threshold)
    strangers = result.stranger_distances
    return RetrievalRates(
        rate(int(hit.sum()), n),
        rate(int(result.is_own.sum()), n),
        rate(int((result.own_distance < threshold).sum()), n),
        result.chance_rank1,
        float(np.mean(strangers < threshold)) if strangers.size else 0.0,
    )
