"""Diffuse every generated crop, judge it against its original, and walk the ladder.

Whoever is seen in several segments gets an anchor beforehand (`anchors_for`), tried on some faces
of one segment; the ladder of each segment then has no other to give, and nobody changes face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.judge.flashes import flashes
from deid_ops.judge.ladder import Attempt, LadderParams, settle
from deid_ops.judge.persons import PersonsSeen, person_merit, persons_to_move
from deid_ops.metrics.temporal import evenly_spaced_rows
from deid_ops.pipeline.guards import person_apart, person_hidden, person_means, person_steady
from deid_ops.pipeline.place import lies_on_face
from deid_ops.pipeline.swap import SwappedFaces
from deid_ops.pipeline.trial import AnchorOfTrack, ReplaceModels, Trials, Tried
from deid_ops.types import F32, I32, I64, Bool, FaceCrops, FaceTracks, Reason, Treatment


@dataclass(frozen=True)
class SettledFaces:
    """Every face of a segment with its final treatment."""

    crops: FaceCrops  # accepted replacements only
    distance_to_original: F32  # [k] under the first guard, one per accepted crop
    treatment: tuple[Treatment, ...]  # one per row of the tracks
    reason: tuple[Reason, ...]
    anchor_number: I32  # [t] which of its anchors each track shows


@dataclass(frozen=True)
class PaintedSegment:
    """Faces of a segment, painted with their first anchors, and whom they may show instead.

    Attributes:
        swapped: `n` faces, all that may be replaced or some of them.
        tracks: all boxes of the segment.
        person_of_track: [t] numbers; tracks of one person show one anchor.
        anchor_of_track: whom a track may show, the same for all tracks of a person.
    """

    swapped: SwappedFaces
    tracks: FaceTracks
    person_of_track: I32
    anchor_of_track: AnchorOfTrack


def settle_segment(
    painted: PaintedSegment,
    gate_reasons: Sequence[Reason | None],
    models: ReplaceModels,
    params: LadderParams,
) -> SettledFaces:
    """Return the final crop, treatment and reason of every face of a segment.

    Args:
        painted: the faces that may be replaced.
        gate_reasons: per row of the tracks why it must be redacted, or None.
        models: what is called.
        params: limits and tries.

    Raises:
        InvariantError: the originals were seen by other guards than the models'.
    """
    swapped, tracks = painted.swapped, painted.tracks
    ladder = _Ladder(painted, models, params)
    if len(swapped.crops):
        ladder.start()
        ladder.move_persons()
        # without a denoiser there is no noise to be stronger
        for attempt in params.with_stronger_noise() if models.diffuse is not None else ():
            ladder.strengthen(attempt)
        ladder.refuse_near_persons()
        ladder.refuse(~lies_on_face(tracks, swapped.crops), Reason.MISPLACED)
        ladder.refuse_flashes(tracks.track, swapped.crops.row)
    accepted_in: list[Attempt | None] = [None] * len(tracks)
    failures: list[Reason | None] = [None] * len(tracks)
    for face, row in enumerate(swapped.crops.row):
        accepted_in[row] = ladder.accepted_in[face]
        failures[row] = ladder.failure[face]
    outcome = settle(gate_reasons, accepted_in, failures)
    kept = np.flatnonzero([a is not None for a in ladder.accepted_in])
    given = swapped.crops
    crops = FaceCrops(
        given.row[kept], ladder.final[kept], given.crop_from_frame[kept], given.weight[kept]
    )
    return SettledFaces(
        crops,
        ladder.distance[kept],
        tuple(treatment for treatment, _ in outcome),
        tuple(reason for _, reason in outcome),
        ladder.anchor_number_of_tracks(),
    )


def anchors_for(painted: PaintedSegment, models: ReplaceModels, params: LadderParams) -> I32:
    """Return the number of the anchor that suits each track, [t], by the faces given.

    Persons move as in `settle_segment`; nothing is settled. Raises as it does.
    """
    ladder = _Ladder(painted, models, params)
    if len(painted.swapped.crops):
        ladder.start()
        ladder.move_persons()
    return ladder.anchor_number_of_tracks()


class _Ladder:
    """The state of the climb: one entry a face that has a generated crop."""

    def __init__(
        self, painted: PaintedSegment, models: ReplaceModels, params: LadderParams
    ) -> None:
        swapped, person_of_track = painted.swapped, painted.person_of_track
        n = len(swapped.crops)
        self._trials = Trials(swapped, painted.tracks, painted.anchor_of_track, models, params)
        self._guards, self._params = models.guards, params
        self._person_of_track = person_of_track
        self._original = self._trials.original
        self._person = person_of_track[self._trials.track]
        self._n_persons = int(person_of_track.max(initial=-1)) + 1
        self._people = person_means(models.guards, self._original, self._person, self._n_persons)
        self._base = np.array(swapped.crops.crops_bgr)
        self._anchor_number = np.zeros(n, dtype=np.int32)
        self._seen = np.array(self._original)  # the guards' vectors of what stands there now
        self.final = np.array(swapped.crops.crops_bgr)
        self.distance = np.zeros(n, dtype=np.float32)
        self.accepted_in: list[Attempt | None] = [None] * n
        self.failure: list[Reason | None] = [None] * n

    def start(self) -> None:
        """Diffuse and judge every face, as its first anchor was painted."""
        first = self._params.first()
        everyone = np.arange(len(self._base), dtype=np.int64)
        zero = np.zeros_like(self._anchor_number)
        tried = self._trials.look(everyone, self._base, zero, first.noise_strength)
        self._keep(tried, [first] * len(everyone))

    def move_persons(self) -> None:
        """Give persons who need it another anchor, the best of those tried on a few faces."""
        everyone = np.arange(len(self._base), dtype=np.int64)
        _, moving = self._weigh(everyone, self._accepted(), self._seen)
        if not moving.any():
            return
        attempts = [self._params.first(), *self._params.with_other_anchors()]
        sample = self._sample(moving)
        best = self._standing(sample)
        merit, _ = self._weigh(best.faces, best.accepted, best.seen)
        moved = np.zeros(self._n_persons, dtype=np.bool_)
        for attempt in attempts[1:]:
            tried = self._tried(sample[moving[self._person[sample]]], attempt)
            if tried is None:
                continue
            found, wanting = self._weigh(tried.faces, tried.accepted, tried.seen)
            better = found > merit
            merit, moved = np.where(better, found, merit), moved | better
            won = better[self._person[tried.faces]]
            lost = ~np.isin(best.faces, tried.faces[won])
            best = Tried.join([best.take(np.flatnonzero(lost)), tried.take(np.flatnonzero(won))])
            moving &= wanting | np.isneginf(found)  # who has no anchor of that number waits
        self._move(best, moved, attempts)

    def strengthen(self, attempt: Attempt) -> None:
        """Diffuse what is refused again, with stronger noise."""
        faces = np.flatnonzero(~self._accepted())
        if len(faces):
            base, number = self._base[faces], self._anchor_number[faces]
            tried = self._trials.look(faces, base, number, attempt.noise_strength)
            self._keep(tried, [attempt] * len(faces))

    def refuse_near_persons(self) -> None:
        """Refuse all faces of those whom no try has brought away from themselves."""
        apart = person_apart(
            self._guards, self._original, self._seen, self._person, self._n_persons
        )
        near = apart < self._params.person_apart_min
        self.refuse(near[self._person], Reason.TOO_CLOSE)

    def refuse_flashes(self, track_of_box: I32, row: I32) -> None:
        """Refuse who would flash up; `row` [n] are the faces' boxes of all [b]."""
        shown = np.zeros(len(track_of_box), dtype=np.bool_)
        shown[row] = self._accepted()
        brief = flashes(track_of_box, shown, self._params.shown_frames_min)
        self.refuse(brief[row], Reason.TOO_BRIEF)

    def refuse(self, faces: Bool, cause: Reason) -> None:
        """Refuse some of the faces `[n]`, whatever they were judged."""
        for face in np.flatnonzero(faces):
            self.accepted_in[face], self.failure[face] = None, cause

    def anchor_number_of_tracks(self) -> I32:
        """Return the number of its person's anchor, [t]; 0 for somebody without a face."""
        numbers = np.zeros(self._n_persons, dtype=np.int32)
        numbers[self._person] = self._anchor_number
        return np.asarray(numbers[self._person_of_track], dtype=np.int32)

    def _accepted(self) -> Bool:
        return np.array([a is not None for a in self.accepted_in], dtype=np.bool_)

    def _sample(self, moving: Bool) -> I64:
        """Return some faces of each person who moves, evenly spaced."""
        of_persons = [np.flatnonzero(self._person == p) for p in np.flatnonzero(moving)]
        chosen = [
            faces[evenly_spaced_rows(len(faces), self._params.trial_faces)] for faces in of_persons
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *chosen])

    def _standing(self, faces: I64) -> Tried:
        """Return what stands for these faces, as if it had just been tried."""
        return Tried(
            faces,
            self._anchor_number[faces],
            self._base[faces],
            self.final[faces],
            self._seen[faces],
            self.distance[faces],
            self._accepted()[faces],
            tuple(self.failure[face] for face in faces),
        )

    def _tried(self, faces: I64, attempt: Attempt) -> Tried | None:
        """Try another anchor on faces; None where nobody has one of that number."""
        number = attempt.anchor_number
        faces = faces[:0] if number is None else self._trials.with_anchor(faces, number)
        if len(faces) == 0:
            return None
        return self._painted(faces, np.full(len(faces), number, np.int32), attempt)

    def _painted(self, faces: I64, number: I32, attempt: Attempt) -> Tried:
        base = self._trials.painted(faces, self._base[faces], number)
        return self._trials.look(faces, base, number, attempt.noise_strength)

    def _move(self, best: Tried, moved: Bool, attempts: Sequence[Attempt]) -> None:
        """Paint those `[p]` who have moved as their best try, where all of it is as good."""
        faces = np.flatnonzero(moved[self._person])
        if len(faces) == 0:
            return
        number = np.zeros(self._n_persons, dtype=np.int32)
        number[self._person[best.faces]] = best.anchor_number
        parts = [best.take(np.flatnonzero(moved[self._person[best.faces]]))]
        rest = np.setdiff1d(faces, best.faces)
        if len(rest):
            parts.append(self._painted(rest, number[self._person[rest]], attempts[0]))
        tried = Tried.join(parts)
        known = tried.faces
        before, _ = self._weigh(known, self._accepted()[known], self._seen[known])
        after, _ = self._weigh(known, tried.accepted, tried.seen)
        tried = tried.take(np.flatnonzero((after >= before)[self._person[tried.faces]]))
        self._keep(tried, [attempts[number] for number in tried.anchor_number])

    def _keep(self, tried: Tried, attempts: Sequence[Attempt]) -> None:
        """Let a try stand; `attempts` [k] say what each face's was."""
        faces = tried.faces
        self._base[faces], self._anchor_number[faces] = tried.base, tried.anchor_number
        self._seen[faces] = tried.seen
        stands = faces[tried.accepted]
        self.final[stands] = tried.final[tried.accepted]
        self.distance[stands] = tried.distance[tried.accepted]
        for k, (face, attempt) in enumerate(zip(faces, attempts, strict=True)):
            self.accepted_in[face] = attempt if tried.accepted[k] else None
            self.failure[face] = tried.failure[k]

    def _weigh(self, faces: I64, accepted: Bool, seen: F32) -> tuple[F32, Bool]:
        """Return each person's merit `[p]` and whether another anchor is wanted, by some faces.

        The merit of who has none of the faces is minus infinity.

        Args:
            faces: [k] which.
            accepted: [k] whether their replacement stands.
            seen: [k, d] the guards' vectors of it.
        """
        original, person = self._original[faces], self._person[faces]
        n, params = self._n_persons, self._params
        shown = person_means(self._guards, seen, person, n)
        views = PersonsSeen(
            person_apart(self._guards, original, seen, person, n),
            person_steady(self._guards, original, seen, person, n, params.steady_share),
            person_hidden(self._guards, self._people, shown, params.hidden_window),
        )
        merit = person_merit(accepted, person, views)
        merit[np.bincount(person, minlength=n) == 0] = -np.inf
        return merit, persons_to_move(accepted, person, views, params)
