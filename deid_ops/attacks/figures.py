"""What attackers retrieve: reversal, direct regression, linkage, parrot recognition.

Protocol
    Attackers learn on other people. Searches run over a gallery of *untouched* pictures (reversal,
    regression, the mean of several releases), of another release (linkage), or of protected
    pictures (parrot). A query never meets the picture it was made from, unless the metric says
    `same_photo`; the same-photo figure is the harder one for the defence (equal pose, light and
    surroundings).

Where two protected versions are compared (linkage, parrot) the bar is for different photos, as
enrolment and test are different ones in Todt et al. The same photo is known again by the pixels
that no defence of faces touches: with a grey patch in place of the face always.
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
        has_bar = protocol != "parrot" or photo == "other_photo"
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
                RETRIEVAL_BAR if has_bar and np.isclose(far, 1e-3) else None,
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
    fars: Sequence[float],
    subject: str,
    dataset: str,
    encoder: str,
) -> Iterator[Figure]:
    """Yield how often one person is linked between two releases, beside chance.

    Row `i` of both releases shows the same original picture. `linked_same_photo` compares the two
    outputs of one picture, `linked_other_photo` every pair of different pictures of one person.
    Thresholds are those at which the share `far` of different people's pairs is linked, as whoever
    holds two releases can find them: portraits' thresholds would link many, because new faces are
    more alike than real ones. `chance` is the share really linked. The bar for another photo is
    chance + 2 %.

    Args:
        first: `[n, d]` vectors of the outputs of one release.
        second: `[n, d]` of the other.
        person: `[n]`.
        fars: operating points.
        subject: defence and keys, for example `ours_different_keys`.
        dataset: data.
        encoder: judge.
    """
    apart = distances(first, second)
    same = person[:, None] == person[None, :]
    own = np.eye(len(person), dtype=np.bool_)

    def figure(
        metric: str, hits: int, n: int, chance: float, bar: float | None, far: float | None
    ) -> Figure:
        params = {} if far is None else {"far": far}
        share = rate(hits, n)
        return Figure(
            "linkage", subject, dataset, encoder, metric, share, "lower", chance, bar, params
        )

    for far in fars:
        limit = threshold_at_far(apart[~same], far)
        for photo, pairs in (("same_photo", own), ("other_photo", same & ~own)):
            hits, n = int((apart[pairs] < limit.threshold).sum()), int(pairs.sum())
            has_bar = photo == "other_photo" and np.isclose(far, 1e-3)
            bar = far + LINK_MARGIN if has_bar else None
            if n:
                name = far_name(f"linked_{photo}", far)
                yield figure(name, hits, n, limit.far_measured, bar, far)
    rows = np.arange(len(person), dtype=np.int64)
    for photo, excluded in (("same_photo", None), ("other_photo", rows)):
        found = retrieve(first, person, second, person, excluded)
        first_is_own = found.nearest == rows if photo == "same_photo" else found.is_own
        chance = 1.0 / len(rows) if photo == "same_photo" else found.chance_rank1
        yield figure(
            f"linked_rank1_{photo}", int(first_is_own.sum()), len(rows), chance, None, None
        )


def attackable_rows(person: I64, limit: int | None, seed: int) -> I64:
    """Return the rows that are attacked: pictures of people with two or more.

    With a `limit`, two pictures of each of `limit` / 2 people: of everybody there is another
    picture to be found, and nobody counts more than others.
    """
    rows = people_with_two_pictures(person)
    if limit is None or len(rows) <= limit:
        return rows
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.unique(person[rows]))[: limit // 2]
    pairs = [rng.choice(np.flatnonzero(person == one), 2, replace=False) for one in people]
    return np.sort(np.concatenate(pairs)).astype(np.int64)
