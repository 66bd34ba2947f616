"""One judge's view of a clip's faces before and after: who is matched, who ranks first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deid_ops.judge.distances import person_centroid
from deid_ops.judge.protocol import Judge
from deid_ops.judge.verification import distances, paired_distances
from deid_ops.metrics.figures import Figure, far_name
from deid_ops.metrics.stats import clustered_rate, mean_estimate, rate
from deid_ops.types import F32, F64, I64, Bool
from jobs.clip_faces import Sampled

#: The data set of figures over the people of all clips of one evaluation.
TOGETHER = "clips together"
#: Random exchanges of the people: a p of 5 % is known to half a per cent.
N_RELABELLED = 10_000


@dataclass(frozen=True, slots=True)
class RankedPeople:
    """Whom the faces of a recording's people are taken for, by one judge.

    Attributes:
        subject: what was looked at (`output`, `replaced`, `surroundings`, ...).
        encoder: the judge.
        taken_for: [a, p] share of the faces of each of `a` people that lie nearest to each of the
            recording's `p`; rows sum to 1.
        own: [a] which of the `p` each of them is.
    """

    subject: str
    encoder: str
    taken_for: F64
    own: I64

    def right(self) -> F64:
        """Return the share of each person's faces that rank the right one first, [a]."""
        return np.asarray(self.taken_for[np.arange(len(self.own)), self.own])

    def relabelled(self, n: int, rng: np.random.Generator) -> F64:
        """Return the sum of `right` after each of `n` random exchanges of the people, [n]."""
        people = np.tile(np.arange(self.taken_for.shape[1]), (n, 1))
        others = rng.permuted(people, axis=1)[:, self.own]
        return np.asarray(self.taken_for[np.arange(len(self.own)), others].sum(axis=1))


@dataclass(frozen=True, slots=True)
class Ranks:
    """Whom `n` faces of a recording are taken for.

    Attributes:
        encoder: the judge.
        nearest: [n] label of the nearest of the recording's people.
        farthest: [n] of the farthest; anchors are chosen far from the person, which tells, too.
        track: [n] labels.
        person: [n] labels, the same in all releases.
        people: [p] labels of all people of the recording.
        chance: of a guesser among them.
    """

    encoder: str
    nearest: npt.NDArray[np.str_]
    farthest: npt.NDArray[np.str_]
    track: I64
    person: npt.NDArray[np.str_]
    people: npt.NDArray[np.str_]
    chance: float

    def figures(self, subject: str, name: str) -> Iterator[Figure]:
        """Yield the shares of a clip's faces for whom the right person ranks first and last."""
        ends = {"rank1_in_recording": self.nearest, "rank_last_in_recording": self.farthest}
        for metric, found in ends.items():
            share = clustered_rate(found == self.person, self.track)
            yield Figure(
                "retrieval", subject, name, self.encoder, metric, share, "lower", self.chance
            )

    def of_people(self, subject: str) -> RankedPeople:
        """Return the shares of each person's faces."""
        asked = np.unique(self.person)
        rows = [
            (self.nearest[self.person == one, None] == self.people).mean(axis=0) for one in asked
        ]
        return RankedPeople(
            subject, self.encoder, np.array(rows), np.searchsorted(self.people, asked)
        )


class ComparedFaces:
    """One judge's vectors of the sampled faces, source and output, in the same order.

    Args:
        sampled: the faces.
        judge: whose vectors.
        shown: of what is compared with the source; the output where it is left out.
    """

    def __init__(
        self, sampled: Sampled, judge: Judge, shown: Mapping[str, list[F32]] | None = None
    ) -> None:
        self.judge = judge
        self.before, self.after = (
            judge.calibration.centred(judge.name, np.stack(rows[judge.name]))
            for rows in (sampled.before, sampled.after if shown is None else shown)
        )
        self.release = np.array(sampled.release)
        self.track, self.person = np.array(sampled.track), np.array(sampled.person)
        self.eyes_px = np.array(sampled.eye_distance_px, dtype=np.float32)

    def verification(self, subject: str, name: str, far: float, rows: Bool) -> Iterator[Figure]:
        """Yield matches with the same face of the source and with its negation, for `rows` [n]."""
        limits = self.judge.calibration.thresholds(self.judge.name, self.eyes_px[rows], far)
        others = self.person[rows, None] != self.person[None, :]
        others &= self.release[rows, None] == self.release[None, :]
        track = self.track[rows]
        params: dict[str, float | str] = {"far": far, "tracks": float(len(np.unique(track)))}
        for metric, sign in (("match_original", 1.0), ("match_negated", -1.0)):
            shown = np.asarray(sign * self.after[rows], dtype=np.float32)
            hits = np.asarray(paired_distances(self.before[rows], shown) < limits)
            near = distances(shown, self.before) < limits[:, None]
            chance = float(near[others].mean()) if others.any() else None
            bar = None if not np.isclose(far, 1e-3) else 0.005 + (chance or 0.0)
            yield Figure(
                "verification",
                subject,
                name,
                self.judge.name,
                far_name(metric, far),
                clustered_rate(hits, track),
                "lower",
                chance,
                bar,
                params,
            )

    def averaged(self, subject: str, name: str, far: float, rows: Bool) -> Iterator[Figure]:
        """Yield matches of whole tracks: an attacker may average what all frames have in common."""
        keys = np.stack([self.release, self.track], axis=1)
        groups = [
            np.flatnonzero(rows & (keys == key).all(axis=1))
            for key in np.unique(keys[rows], axis=0)
        ]
        before, after = (
            np.stack([person_centroid(vectors[group]) for group in groups])
            for vectors in (self.before, self.after)
        )
        eyes_px = np.array([np.median(self.eyes_px[group]) for group in groups], np.float32)
        limits = self.judge.calibration.thresholds(self.judge.name, eyes_px, far)
        person, release, track = (
            np.array([labels[group[0]] for group in groups])
            for labels in (self.person, self.release, self.track)
        )
        others = (person[:, None] != person[None, :]) & (release[:, None] == release[None, :])
        near = distances(after, before) < limits[:, None]
        yield Figure(
            "verification",
            subject,
            name,
            self.judge.name,
            far_name("match_track_mean", far),
            clustered_rate(near.diagonal(), track),
            "lower",
            float(near[others].mean()) if others.any() else None,
        )

    def ranked(self, rows: Bool) -> Ranks | None:
        """Return whether the right person of the recording ranks first, for `rows` [n].

        A person who appears twice as often is not twice as likely a guess: the gallery has one
        vector a person, the mean over all sampled faces of the source. None where a release has
        one person only.
        """
        label = self._person_of_track()
        nearest, farthest = (np.empty(len(rows), dtype=label.dtype) for _ in range(2))
        guesses = []
        for release in np.unique(self.release[rows]):
            here = self.release == release
            people = [
                np.flatnonzero(here & (self.person == p)) for p in np.unique(self.person[here])
            ]
            gallery = np.stack([person_centroid(self.before[faces]) for faces in people])
            labels = label[[faces[0] for faces in people]]
            asked = here & rows
            apart = distances(self.after[asked], gallery)
            nearest[asked], farthest[asked] = labels[apart.argmin(1)], labels[apart.argmax(1)]
            guesses.append(1.0 / len(people))
        if max(guesses) == 1.0:
            return None
        chance = float(np.mean(guesses))
        faces = nearest[rows], farthest[rows], self.track[rows], label[rows]
        return Ranks(self.judge.name, *faces, np.unique(label), chance)

    def _person_of_track(self) -> npt.NDArray[np.str_]:
        """Return one label [n] for whoever a track shows: names differ between releases."""
        _, first, index = np.unique(self.track, return_index=True, return_inverse=True)
        return self.person[first][index]


def above_chance(clips: Sequence[RankedPeople]) -> Iterator[Figure]:
    """Yield rank 1 less a guesser's rate over the people of all clips, and what it says.

    Each person counts once, however many faces there are: painted faces are alike, and where all
    of them resemble the same person of a recording, hers rank first always and nobody else's ever.
    That is no trace of anybody, and the mean over people is at chance.

    Whether it is above chance is a permutation test (E. J. G. Pitman, 1937): the people of every
    recording are exchanged at random, the same in all of its releases, and `rank1_relabelled_p`
    is how often they then rank as well or better. Below 0.05 painted faces point at who it was.
    """
    for subject, encoder in dict.fromkeys((clip.subject, clip.encoder) for clip in clips):
        here = [clip for clip in clips if (clip.subject, clip.encoder) == (subject, encoder)]
        less = np.concatenate([clip.right() - 1.0 / clip.taken_for.shape[1] for clip in here])
        rng = np.random.default_rng(0)
        chance = np.sum([clip.relabelled(N_RELABELLED, rng) for clip in here], axis=0)
        # the people as they are count as one of the exchanges; sums differ in the last bits
        as_well = int((chance >= sum(clip.right().sum() for clip in here) - 1e-9).sum())
        found = {
            "rank1_above_chance": (mean_estimate(less), "lower"),
            "rank1_relabelled_p": (rate(as_well + 1, N_RELABELLED + 1), "higher"),
        }
        for metric, (estimate, better) in found.items():
            yield Figure("retrieval", subject, TOGETHER, encoder, metric, estimate, better)
