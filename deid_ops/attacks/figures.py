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

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from deid_ops.judge.protocol import people_with_two_pictures
from deid_ops.judge.verification import (
    distances,
    retrieve,
    threshold_at_far,
    true_acceptance,
)
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


def own_thresholds(impostor: F32, n_queries: int, fars: Sequence[float]) -> dict[float, F32]:
    """Return `[n_queries]` thresholds by FAR, for a space without calibration (an attacker's own).

    Args:
        impostor: distances between different people as the attacker can see them, any shape.
        n_queries: of the search.
        fars: false acceptance rates, in (0, 1).
    """
    return {
        far: np.full(n_queries, threshold_at_far(impostor, far).threshold, np.float32)
        for far in fars
    }


def parrot_figures(
    guessed: F32,
    gallery: F32,
    person: I64,
    fars: Sequence[float],
    subject: str,
    dataset: str,
    encoder: str,
) -> Iterator[Figure]:
    """Yield how often a recogniser trained on protected faces knows somebody among such faces.

    Row `i` of both releases shows the same original picture. Two counts: what a search retrieves
    (`parrot_...`, nearest and within the threshold, as the other attackers), which depends on the
    size of the gallery, and what share of the pairs lie within it (`parrot_linked_...`), which
    does not. Thresholds as in `linkage_figures`.

    Args:
        guessed: `[n, d]` the attacker's vectors of one release, the queries.
        gallery: `[n, d]` those of another release.
        person: `[n]` labels.
        fars: false acceptance rates, in (0, 1).
        subject: defence.
        dataset: data.
        encoder: the attacker.
    """
    different = person[:, None] != person[None, :]
    limits = own_thresholds(distances(guessed, gallery)[different], len(person), fars)
    rows = np.arange(len(person), dtype=np.int64)
    yield from retrieval_figures(
        "parrot", guessed, rows, gallery, person, limits, subject, dataset, encoder
    )
    figure = partial(Figure, "parrot", subject, dataset, encoder, better="lower")
    yield from _linked_shares(figure, "parrot_linked", guessed, gallery, person, fars)


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
    Thresholds are those at which the share `far` of the pairs of different people is linked, as
    whoever holds two releases can find them: portraits' thresholds would link many, because new
    faces are more alike than real ones. `chance` is that share as counted. The bar for another
    photo is `far` + 2 %.

    Args:
        first: `[n, d]` vectors of the outputs of one release.
        second: `[n, d]` of the other.
        person: `[n]` labels.
        fars: false acceptance rates, in (0, 1).
        subject: defence and keys, for example `ours_different_keys`.
        dataset: data.
        encoder: judge.
    """
    figure = partial(Figure, "linkage", subject, dataset, encoder, better="lower")
    yield from _linked_shares(figure, "linked", first, second, person, fars, has_bar=True)
    n, rows = len(person), np.arange(len(person))
    apart = distances(first, second)
    same_photo = np.eye(n, dtype=np.bool_)
    other_photo = (person[:, None] == person[None, :]) & ~same_photo
    hits = int(same_photo[rows, apart.argmin(axis=1)].sum())
    yield figure("linked_rank1_same_photo", rate(hits, n), chance=1.0 / n)
    elsewhere = np.where(same_photo, np.float32(np.inf), apart)
    hits = int(other_photo[rows, elsewhere.argmin(axis=1)].sum())
    guess = float(other_photo.sum(axis=1).mean()) / (n - 1)
    yield figure("linked_rank1_other_photo", rate(hits, n), chance=guess)


def _linked_shares(
    figure: Callable[..., Figure],
    prefix: str,
    first: F32,
    second: F32,
    person: I64,
    fars: Sequence[float],
    *,
    has_bar: bool = False,
) -> Iterator[Figure]:
    """Yield `{prefix}_{photo}_far_...`: the share of one person's pairs within the threshold."""
    apart = distances(first, second)
    same_person = person[:, None] == person[None, :]
    same_photo = np.eye(len(person), dtype=np.bool_)
    for far in fars:
        limit = threshold_at_far(apart[~same_person], far)
        bar = far + LINK_MARGIN if has_bar and np.isclose(far, 1e-3) else None
        for photo, pairs, limited in (
            ("same_photo", same_photo, None),
            ("other_photo", same_person & ~same_photo, bar),
        ):
            if pairs.any():
                linked = true_acceptance(apart[pairs], limit.threshold)
                yield figure(
                    far_name(f"{prefix}_{photo}", far), linked, chance=limit.far_measured,
                    bar=limited, params={"far": far},
                )  # fmt: skip


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
