"""The evaluation protocols on face sets: what a searcher still finds, and what a face has kept.

Protocol (methods: Rosberg 2023, section 5.4; Todt et al. for the gallery rules)
    1. Every picture of people with at least two pictures is treated; the rest are strangers in the
       gallery.
    2. `match_*` compares each output with *its own* original picture at the threshold of the
       face's size: the strictest question, because pose, light and surroundings are equal.
    3. `identified_*` is the thesis' ID: the nearest gallery entry is the person, and it lies
       within the threshold. With `same_photo` the gallery holds the very picture, with
       `other_photo` it does not.
    4. `*_negated` asks the same of the negated vector (not-ID).
    5. `rank1_among_10` puts the same picture among nine of other people, as many as a recording may
       show: a small trace, lost among thousands, would rank first in more than a tenth.
    6. Thresholds come from a calibration on pairs of untouched faces of the same size; beside each
       figure stands the rate between outputs and *other* people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.judge.calibration import Calibration
from deid_ops.judge.distances import ranked_first_among
from deid_ops.judge.verification import (
    distances,
    equal_error_rate,
    paired_distances,
    retrieve,
)
from deid_ops.metrics.faceset import FaceSet
from deid_ops.metrics.figures import Figure, far_name
from deid_ops.metrics.frechet import frechet_distance
from deid_ops.metrics.stats import Estimate, mean_estimate, rate
from deid_ops.types import F32, I64, U8, Bool

#: (image BGR [h, w, 3], landmarks [n, 5, 2] in its pixels) -> vectors [n, d]
EmbedFaces = Callable[[U8, F32], F32]

PROTOCOL_FARS = (1e-2, 1e-3, 1e-4)
N_SHOWN = 10  # people of `rank1_among_10`


@dataclass(frozen=True)
class Judge:
    """A judging encoder that took no part in training."""

    name: str
    embed: EmbedFaces
    calibration: Calibration

    def vectors(self, faces: FaceSet) -> F32:
        """Return centred vectors `[n, d]` of a set."""
        return self.calibration.centred(self.name, embedded(self.embed, faces))


def embedded(embed: EmbedFaces, faces: FaceSet) -> F32:
    """Return an encoder's vectors `[n, d]` of a set."""
    pairs = zip(faces.images_bgr, faces.landmarks_xy_px, strict=True)
    return np.concatenate([embed(image, points[None]) for image, points in pairs])


def people_with_two_pictures(person: I64) -> I64:
    """Return the rows whose person has at least one other picture."""
    _, inverse, counts = np.unique(person, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse] >= 2).astype(np.int64)


@dataclass(frozen=True)
class Comparison:
    """Vectors of one judge before and after a defence; row `queries[i]` became `output[i]`."""

    judge: Judge
    gallery: F32  # [m, d] originals of the whole set
    person: I64  # [m]
    queries: I64  # [n] rows of the gallery that were treated
    output: F32  # [n, d]
    eye_distance_px: F32  # [n]


def privacy_figures(
    compared: Comparison, subject: str, dataset: str, fars: Sequence[float] = PROTOCOL_FARS
) -> Iterator[Figure]:
    """Yield every identity figure of one judge on one defence (protocol in the module)."""
    original = compared.gallery[compared.queries]
    name = compared.judge.name
    distance = paired_distances(original, compared.output)
    for far in fars:
        yield from _at_far(compared, distance, subject, dataset, far)
    yield from _rank1(compared, subject, dataset)
    apart, other = _stranger_distances(compared)
    if other.sum(axis=1).min() >= N_SHOWN - 1:
        among = mean_estimate(ranked_first_among(distance, apart, other, N_SHOWN))
        metric, chance = f"rank1_among_{N_SHOWN}", 1.0 / N_SHOWN
        yield Figure("retrieval", subject, dataset, name, metric, among, "lower", chance)
    strangers = apart[other]
    eer = equal_error_rate(strangers, distance)
    n = len(distance)
    half = Estimate(eer.rate, *_binomial_limits(eer.rate, n), n)
    yield Figure("verification", subject, dataset, name, "eer", half, "higher", 0.5)
    spread = Estimate(float(distance.mean()), *_mean_limits(distance), n)
    chance = float(strangers.mean())
    yield Figure(
        "verification", subject, dataset, name, "distance_to_original", spread, "higher", chance
    )


def _at_far(
    compared: Comparison, distance: F32, subject: str, dataset: str, far: float
) -> Iterator[Figure]:
    judge, n = compared.judge, len(distance)
    to_negation = paired_distances(compared.gallery[compared.queries], -compared.output)
    limits = judge.calibration.thresholds(judge.name, compared.eye_distance_px, far)
    strangers = _stranger_rate(compared, limits, sign=1.0)
    strangers_negated = _stranger_rate(compared, limits, sign=-1.0)
    bar = 0.002 if np.isclose(far, 1e-3) else None
    own, negated = int((distance < limits).sum()), int((to_negation < limits).sum())
    for metric, hits, chance in (
        ("match_original", own, strangers),
        ("match_negated", negated, strangers_negated),
    ):
        yield Figure(
            "verification",
            subject,
            dataset,
            judge.name,
            far_name(metric, far),
            rate(hits, n),
            "lower",
            chance,
            bar,
            {"far": far, "threshold": float(np.median(limits))},
        )
    for metric, queries, excluded in (
        ("identified_same_photo", compared.output, None),
        ("identified_other_photo", compared.output, compared.queries),
        ("identified_negated", -compared.output, None),
    ):
        found = retrieve(
            queries, compared.person[compared.queries], compared.gallery, compared.person, excluded
        )
        identified = int((found.is_own & (found.nearest_distance < limits)).sum())
        yield Figure(
            "retrieval",
            subject,
            dataset,
            judge.name,
            far_name(metric, far),
            rate(identified, n),
            "lower",
            found.chance_rank1,
            bar,
            {"far": far, "gallery": float(len(compared.gallery))},
        )
        if metric == "identified_other_photo":
            verified = int((found.own_distance < limits).sum())
            yield Figure(
                "verification",
                subject,
                dataset,
                judge.name,
                far_name("tar_other_photo", far),
                rate(verified, n),
                "lower",
                strangers,
                None,
                {"far": far},
            )


def _rank1(compared: Comparison, subject: str, dataset: str) -> Iterator[Figure]:
    for metric, excluded in (
        ("rank1_same_photo", None),
        ("rank1_other_photo", compared.queries),
    ):
        found = retrieve(
            compared.output,
            compared.person[compared.queries],
            compared.gallery,
            compared.person,
            excluded,
        )
        yield Figure(
            "retrieval",
            subject,
            dataset,
            compared.judge.name,
            metric,
            rate(int(found.is_own.sum()), len(compared.output)),
            "lower",
            found.chance_rank1,
            None,
            {"gallery": float(len(compared.gallery))},
        )


def _stranger_distances(compared: Comparison, sign: float = 1.0) -> tuple[F32, Bool]:
    """Return all distances `[n, m]` and which of them are between different people."""
    apart = distances(np.asarray(sign * compared.output, dtype=np.float32), compared.gallery)
    other = compared.person[compared.queries][:, None] != compared.person[None, :]
    return apart, np.asarray(other)


def _stranger_rate(compared: Comparison, limits: F32, sign: float) -> float:
    apart, other = _stranger_distances(compared, sign)
    return float((apart < limits[:, None])[other].mean())


def _binomial_limits(value: float, n: int) -> tuple[float, float]:
    estimate = rate(round(value * n), n)
    return min(estimate.ci_low, value), max(estimate.ci_high, value)


def _mean_limits(values: F32) -> tuple[float, float]:
    half = 1.96 * float(values.std()) / np.sqrt(len(values))
    mean = float(values.mean())
    return mean - half, mean + half


def realism_figure(
    judge_name: str, original: F32, output: F32, subject: str, dataset: str
) -> Figure:
    """Return the Frechet distance between originals and outputs in a judge's space.

    The interval comes from 50 bootstrap draws of both sets; the distance between two halves of the
    originals stands beside it as `chance`.
    """
    rng = np.random.default_rng(0)
    value = frechet_distance(original, output)
    n = len(output)
    draws = [
        frechet_distance(original[rng.integers(0, n, n)], output[rng.integers(0, n, n)])
        for _ in range(50)
    ]
    # resampling repeats rows and so inflates every draw alike; only the spread is used
    half = float(np.percentile(draws, 97.5) - np.percentile(draws, 2.5)) / 2
    order = rng.permutation(n)
    halves = frechet_distance(original[order[: n // 2]], original[order[n // 2 :]])
    estimate = Estimate(value, max(0.0, value - half), value + half, n)
    return Figure(
        "realism", subject, dataset, judge_name, "frechet_distance", estimate, "lower", halves
    )
