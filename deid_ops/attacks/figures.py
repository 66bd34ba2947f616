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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deid_ops.judge.protocol import people_with_two_pictures
from deid_ops.judge.verification import (
    distances,
    retrieve,
    threshold_at_far,
    true_acceptance,
)
from deid_ops.metrics.figures import Figure, far_name
from deid_ops.metrics.stats import Estimate, rate
from deid_ops.types import F32, I64, Bool

RETRIEVAL_BAR = 0.02
LINK_MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Setting:
    """What figures are of.

    Attributes:
        subject: defence, or releases, for example `ours_different_keys`.
        dataset: data.
        encoder: whose space the vectors are in: a judge's or an attacker's own.
    """

    subject: str
    dataset: str
    encoder: str

    def figure(
        self,
        protocol: str,
        metric: str,
        share: Estimate,
        chance: float | None,
        bar: float | None = None,
        params: Mapping[str, float | str] | None = None,
    ) -> Figure:
        """Return a figure of this setting; less is better."""
        where = (protocol, self.subject, self.dataset, self.encoder, metric)
        return Figure(*where, share, "lower", chance, bar, params or {})


@dataclass(frozen=True)
class ReleasePair:
    """Two protected versions of the same pictures, as an encoder sees them.

    Attributes:
        first: `[n, d]` vectors of one release.
        second: `[n, d]` of the other; row `i` of both shows the same original picture.
        person: `[n]` labels.
    """

    first: F32
    second: F32
    person: I64

    @cached_property
    def apart(self) -> F32:
        """Distances `[n, n]` of the first release's rows to the second's."""
        return distances(self.first, self.second)

    @cached_property
    def same_photo(self) -> Bool:
        """Where `[n, n]` both show one picture."""
        return np.eye(len(self.person), dtype=np.bool_)

    @cached_property
    def strangers(self) -> Bool:
        """Where `[n, n]` they show different people."""
        return np.asarray(self.person[:, None] != self.person[None, :])

    @cached_property
    def other_photo(self) -> Bool:
        """Where `[n, n]` they show different pictures of one person."""
        return ~self.strangers & ~self.same_photo


def retrieval_figures(
    protocol: str,
    queries: F32,
    query_rows: I64,
    gallery: F32,
    person: I64,
    thresholds: dict[float, F32],
    setting: Setting,
) -> Iterator[Figure]:
    """Yield how often an attacker's vectors retrieve their person.

    Metrics are `{protocol}_{photo}_far_...` (nearest, and within the threshold) and
    `{protocol}_rank1_{photo}`.

    Args:
        protocol: `inversion`, `regression`, `averaged` or `parrot`.
        queries: `[n, d]`, what the attacker makes of the protected faces.
        query_rows: `[n]` the gallery rows they were made from.
        gallery: `[m, d]`, the space of `queries`.
        person: `[m]` labels.
        thresholds: FAR to `[n]` thresholds.
        setting: what the figures are of.
    """
    n = len(queries)
    for photo, excluded in (("same_photo", None), ("other_photo", query_rows)):
        found = retrieve(queries, person[query_rows], gallery, person, excluded)
        has_bar = protocol != "parrot" or photo == "other_photo"
        yield setting.figure(
            protocol,
            f"{protocol}_rank1_{photo}",
            rate(int(found.is_own.sum()), n),
            found.chance_rank1,
            params={"gallery": float(len(gallery))},
        )
        for far, limits in thresholds.items():
            hits = int((found.is_own & (found.nearest_distance < limits)).sum())
            yield setting.figure(
                protocol,
                far_name(f"{protocol}_{photo}", far),
                rate(hits, n),
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


def parrot_figures(pair: ReleasePair, fars: Sequence[float], setting: Setting) -> Iterator[Figure]:
    """Yield how often a recogniser trained on protected faces knows somebody among such faces.

    Two counts: what a search of the second release with the first one's vectors retrieves
    (`parrot_...`, nearest and within the threshold, as the other attackers), which depends on the
    size of the gallery, and what share of the pairs lie within it (`parrot_linked_...`), which
    does not. Thresholds as in `linkage_figures`.

    Args:
        pair: vectors of the attacker.
        fars: false acceptance rates, in (0, 1).
        setting: what the figures are of.
    """
    n = len(pair.person)
    limits = own_thresholds(pair.apart[pair.strangers], n, fars)
    rows = np.arange(n, dtype=np.int64)
    yield from retrieval_figures(
        "parrot", pair.first, rows, pair.second, pair.person, limits, setting
    )
    yield from _linked_shares("parrot", "parrot_linked", pair, fars, setting)


def linkage_figures(pair: ReleasePair, fars: Sequence[float], setting: Setting) -> Iterator[Figure]:
    """Yield how often one person is linked between two releases, beside chance.

    `linked_same_photo` compares the two outputs of one picture, `linked_other_photo` every pair of
    different pictures of one person.
    Thresholds are those at which the share `far` of the pairs of different people is linked, as
    whoever holds two releases can find them: portraits' thresholds would link many, because new
    faces are more alike than real ones. `chance` is that share as counted. The bar for another
    photo is `far` + 2 %.

    Args:
        pair: vectors of a judge.
        fars: false acceptance rates, in (0, 1).
        setting: what the figures are of.
    """
    yield from _linked_shares("linkage", "linked", pair, fars, setting, LINK_MARGIN)
    n = len(pair.person)
    elsewhere = np.where(pair.same_photo, np.float32(np.inf), pair.apart)
    guess = float(pair.other_photo.sum(axis=1).mean()) / (n - 1)
    for photo, wanted, apart, chance in (
        ("same_photo", pair.same_photo, pair.apart, 1.0 / n),
        ("other_photo", pair.other_photo, elsewhere, guess),
    ):
        hits = int(wanted[np.arange(n), apart.argmin(axis=1)].sum())
        yield setting.figure("linkage", f"linked_rank1_{photo}", rate(hits, n), chance)


def _linked_shares(
    protocol: str,
    prefix: str,
    pair: ReleasePair,
    fars: Sequence[float],
    setting: Setting,
    margin: float | None = None,
) -> Iterator[Figure]:
    """Yield `{prefix}_{photo}_far_...`: the share of one person's pairs within the threshold.

    Another photo's bar at 1e-3 is that rate and `margin`; none where it is None.
    """
    for far in fars:
        limit = threshold_at_far(pair.apart[pair.strangers], far)
        bar = far + margin if margin is not None and np.isclose(far, 1e-3) else None
        for photo, pairs, limited in (
            ("same_photo", pair.same_photo, None),
            ("other_photo", pair.other_photo, bar),
        ):
            if pairs.any():
                linked = true_acceptance(pair.apart[pairs], limit.threshold)
                metric = far_name(f"{prefix}_{photo}", far)
                yield setting.figure(
                    protocol, metric, linked, limit.far_measured, limited, {"far": far}
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
