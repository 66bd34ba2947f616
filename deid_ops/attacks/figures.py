"""What attackers retrieve: reversal, direct regression, linkage, parrot recognition.

Protocol
    Attackers learn on other people. Searches run over a gallery of *untouched* pictures (reversal,
    regression, the mean of several releases), of another release (linkage), or of protected
    pictures (parrot). A query never meets the picture it was made from, unless the metric says
    `same_photo`; the same-photo figure is the harder one for the defence (equal pose, light and
    surroundings).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from deid_ops.judge.protocol import people_with_two_pictures
from deid_ops.judge.verification import distances, person_pairs, retrieve, threshold_at_far
from deid_ops.metrics.figures import Figure, far_name
from deid_ops.metrics.stats import rate
from deid_ops.types import F32, I64

RETRIEVAL_BAR = 0.02
LINK_MARGIN = 0.02


def retrieval_figures(
    protocol: str,
    queries: F32,
    query_rows: I64,
    gallery: F32,
    person: I64,
    thresholds: dict[float, F32],
    subject: str,
    dataset: str,
    encoder: str,
) -> Iterator[Figure]:
    """Yield how often an attacker's vectors retrieve their person.

    Metrics are `{protocol}_{photo}_far_...` (nearest, and within the threshold) and
    `{protocol}_rank1_{photo}`.

    Args:
        protocol: `inversion`, `regression`, `averaged` or `parrot`.
        queries: `[n, d]`, what the attacker makes of the protected faces.
        query_rows: `[n]` the gallery rows they were made from.
        gallery: `[m, d]`, the space of `queries`.
        person: `[m]`.
        thresholds: FAR to `[n]` thresholds.
        subject: defence.
        dataset: data.
        encoder: whose space it is.
    """
    for photo, excluded in (("same_photo", None), ("other_photo", query_rows)):
        found = retrieve(queries, person[query_rows], gallery, person, excluded)
        n = len(queries)
        yield Figure(
            protocol,
            subject,
            dataset,
            encoder,
            f"{protocol}_rank1_{photo}",
            rate(int(found.is_own.sum()), n),
            "lower",
            found.chance_rank1,
            None,
            {"gallery": float(len(gallery))},
        )
        for far, limits in thresholds.items():
            hits = int((found.is_own & (found.nearest_distance < limits)).sum())
            yield Figure(
                protocol,
                subject,
                dataset,
                encoder,
                far_name(f"{protocol}_{photo}", far),
                rate(hits, n),
                "lower",
                found.chance_rank1,
                RETRIEVAL_BAR if np.isclose(far, 1e-3) else None,
                {"far": far},
            )


def own_thresholds(
    gallery: F32, person: I64, n_queries: int, fars: Sequence[float]
) -> dict[float, F32]:
    """Return thresholds of a space from the gallery's own impostor pairs.

    For spaces that have no calibration (an attacker's own).
    """
    impostor, _ = person_pairs(gallery, person)
    return {
        far: np.full(n_queries, threshold_at_far(impostor, far).threshold, np.float32)
        for far in fars
    }


def linkage_figures(
    first: F32,
    second: F32,
    person: I64,
    thresholds: dict[float, F32],
    subject: str,
    dataset: str,
    encoder: str,
) -> Iterator[Figure]:
    """Yield how often one person is linked between two releases, beside chance.

    Row `i` of both releases shows the same original picture. `linked_same_photo` compares the two
    outputs of one picture, `linked_other_photo` every pair of different pictures of one person;
    `chance` is the same rate between different people. The bar is chance + 2 %.

    Args:
        first: `[n, d]` vectors of the outputs of one release.
        second: `[n, d]` of the other.
        person: `[n]`.
        thresholds: FAR to `[n]` thresholds.
        subject: defence and keys, for example `ours, different keys`.
        dataset: data.
        encoder: judge.
    """
    apart = distances(first, second)
    same = person[:, None] == person[None, :]
    own = np.eye(len(person), dtype=np.bool_)
    for far, limits in thresholds.items():
        near = apart < limits[:, None]
        chance = float(near[~same].mean())
        for metric, pairs in (("linked_same_photo", own), ("linked_other_photo", same & ~own)):
            n = int(pairs.sum())
            if n == 0:
                continue
            yield Figure(
                "linkage",
                subject,
                dataset,
                encoder,
                far_name(metric, far),
                rate(int((near & pairs).sum()), n),
                "lower",
                chance,
                chance + LINK_MARGIN,
                {"far": far},
            )
    first_hits = int((apart.argmin(axis=1) == np.arange(len(person))).sum())
    yield Figure(
        "linkage",
        subject,
        dataset,
        encoder,
        "linked_rank1_same_photo",
        rate(first_hits, len(person)),
        "lower",
        1.0 / len(person),
    )


def attackable_rows(person: I64, limit: int | None, seed: int) -> I64:
    """Return the rows that are attacked: people with two pictures, at most `limit` of them."""
    rows = people_with_two_pictures(person)
    if limit is None or len(rows) <= limit:
        return rows
    chosen = np.random.default_rng(seed).choice(rows, limit, replace=False)
    return np.sort(chosen).astype(np.int64)
