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
from deid_ops.metrics.stats import clustered_rate, mean_estimate
from deid_ops.types import F32, I64, Bool
from jobs.clip_faces import Sampled

#: The data set of figures over the people of all clips of one evaluation.
TOGETHER = "clips together"


@dataclass(frozen=True, slots=True)
class RankedPerson:
    """How often one person of a recording ranks first for the own faces.

    Attributes:
        subject: what was looked at (`output`, `replaced`, `surroundings`, ...).
        encoder: the judge.
        share: of the person's faces that rank the right one first.
        chance: of a guesser among the people of the recording.
    """

    subject: str
    encoder: str
    share: float
    chance: float


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of `n` faces have the right person of their recording ranked first.

    Attributes:
        encoder: the judge.
        first: [n] whether the nearest person is the right one.
        track: [n] labels.
        person: [n] labels, the same in all releases.
        chance: of a guesser among the people of the recording.
    """

    encoder: str
    first: Bool
    track: I64
    person: npt.NDArray[np.str_]
    chance: float

    def figure(self, subject: str, name: str) -> Figure:
        """Return the share of the faces of a clip."""
        share = clustered_rate(self.first, self.track)
        metric = "rank1_in_recording"
        return Figure("retrieval", subject, name, self.encoder, metric, share, "lower", self.chance)

    def people(self, subject: str) -> list[RankedPerson]:
        """Return the share of each person's faces."""
        shares = [float(self.first[self.person == one].mean()) for one in np.unique(self.person)]
        return [RankedPerson(subject, self.encoder, share, self.chance) for share in shares]


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
        first = np.zeros(len(rows), dtype=np.bool_)
        guesses = []
        for release in np.unique(self.release[rows]):
            here = self.release == release
            people = np.unique(self.person[here])
            gallery = np.stack(
                [person_centroid(self.before[here & (self.person == p)]) for p in people]
            )
            asked = here & rows
            nearest = people[distances(self.after[asked], gallery).argmin(axis=1)]
            first[asked] = nearest == self.person[asked]
            guesses.append(1.0 / len(people))
        if max(guesses) == 1.0:
            return None
        labels = (self.track[rows], self._person_of_track()[rows])
        return Ranks(self.judge.name, first[rows], *labels, float(np.mean(guesses)))

    def _person_of_track(self) -> npt.NDArray[np.str_]:
        """Return one label [n] for whoever a track shows: names differ between releases."""
        _, first, index = np.unique(self.track, return_index=True, return_inverse=True)
        return self.person[first][index]


def above_chance(people: Sequence[RankedPerson]) -> Iterator[Figure]:
    """Yield rank 1 less a guesser's rate, over the people of all clips together.

    Each person counts once, however many faces there are: painted faces are alike, and where all
    of them resemble the same person of a recording, hers rank first always and nobody else's ever.
    That is no trace of anybody, and the mean over people is at chance.
    """
    for subject, encoder in dict.fromkeys((p.subject, p.encoder) for p in people):
        here = [p.share - p.chance for p in people if (p.subject, p.encoder) == (subject, encoder)]
        yield Figure(
            "retrieval",
            subject,
            TOGETHER,
            encoder,
            "rank1_above_chance",
            mean_estimate(here),
            "lower",
        )
