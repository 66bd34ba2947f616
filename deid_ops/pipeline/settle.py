"""Diffuse every generated crop, judge it against its original, and walk the ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.judge.ladder import (
    Attempt,
    LadderParams,
    settle,
    track_merit,
    tracks_to_move,
)
from deid_ops.metrics.temporal import evenly_spaced_rows
from deid_ops.pipeline.guards import track_apart, track_steady
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
    anchor_number: I32  # [t] which of its anchors each track shows, up to the last that was tried


def settle_segment(
    swapped: SwappedFaces,
    tracks: FaceTracks,
    gate_reasons: Sequence[Reason | None],
    anchor_of_track: AnchorOfTrack,
    models: ReplaceModels,
    params: LadderParams,
) -> SettledFaces:
    """Return the final crop, treatment and reason of every face of a segment.

    Raises:
        InvariantError: the originals were seen by other guards than the models'.
    """
    trials = Trials(swapped, tracks, anchor_of_track, models, params)
    ladder = _Ladder(swapped, trials, models, params)
    if len(swapped.crops):
        ladder.start()
        ladder.move_tracks()
        # without a denoiser there is no noise to be stronger
        for attempt in params.with_stronger_noise() if models.diffuse is not None else ():
            ladder.strengthen(attempt)
        ladder.refuse_near_tracks()
        ladder.refuse(~lies_on_face(tracks, swapped.crops), Reason.MISPLACED)
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


class _Ladder:
    """The state of the climb: one entry a face that has a generated crop."""

    def __init__(
        self, swapped: SwappedFaces, trials: Trials, models: ReplaceModels, params: LadderParams
    ) -> None:
        n = len(swapped.crops)
        self._trials, self._guards, self._params = trials, models.guards, params
        self._original, self._track = trials.original, trials.track
        self._n_tracks = int(self._track.max(initial=-1)) + 1
        self._base = np.array(swapped.crops.crops_bgr)
        self._anchor_number = np.zeros(n, dtype=np.int32)
        self._seen = np.array(self._original)  # the guards' vectors of what stands there now
        self.final = np.array(swapped.crops.crops_bgr)
        self.distance = np.zeros(n, dtype=np.float32)
        self.accepted_in: list[Attempt | None] = [None] * n
        self.failure: list[Reason | None] = [None] * n

    def start(self) -> None:
        """Diffuse and judge every face, as its track's first anchor was painted."""
        first = self._params.first()
        everyone = np.arange(len(self._base), dtype=np.int64)
        zero = np.zeros_like(self._anchor_number)
        tried = self._trials.look(everyone, self._base, zero, first.noise_strength)
        self._keep(tried, [first] * len(everyone))

    def move_tracks(self) -> None:
        """Give tracks that need it another anchor, the best of those tried on a few faces."""
        everyone = np.arange(len(self._base), dtype=np.int64)
        accepted = self._accepted()
        moving = self._to_move(everyone, accepted, self._seen)
        attempts = [self._params.first(), *self._params.with_other_anchors()]
        sample = self._sample(moving)
        best = self._standing(sample)
        merit = self._merit(best.faces, best.accepted, best.seen)
        moved = np.zeros(self._n_tracks, dtype=np.bool_)
        for attempt in attempts[1:]:
            tried = self._tried(sample[moving[self._track[sample]]], attempt)
            if tried is None:
                continue
            found = self._merit(tried.faces, tried.accepted, tried.seen)
            better = found > merit
            merit, moved = np.where(better, found, merit), moved | better
            won = better[self._track[tried.faces]]
            lost = ~np.isin(best.faces, tried.faces[won])
            best = Tried.join([best.take(np.flatnonzero(lost)), tried.take(np.flatnonzero(won))])
            still = self._to_move(tried.faces, tried.accepted, tried.seen)
            moving &= still | (np.bincount(self._track[tried.faces], minlength=len(still)) == 0)
        self._move(best, moved, attempts)

    def strengthen(self, attempt: Attempt) -> None:
        """Diffuse what is refused again, with stronger noise."""
        faces = np.flatnonzero(~self._accepted())
        if len(faces):
            base, number = self._base[faces], self._anchor_number[faces]
            tried = self._trials.look(faces, base, number, attempt.noise_strength)
            self._keep(tried, [attempt] * len(faces))

    def refuse_near_tracks(self) -> None:
        """Refuse all faces of tracks that no try has brought away from their people."""
        apart = track_apart(self._guards, self._original, self._seen, self._track, self._n_tracks)
        near = apart < self._params.track_apart_min
        self.refuse(near[self._track], Reason.TOO_CLOSE)

    def refuse(self, faces: Bool, cause: Reason) -> None:
        """Refuse some of the faces `[n]`, whatever they were judged."""
        for face in np.flatnonzero(faces):
            self.accepted_in[face], self.failure[face] = None, cause

    def anchor_number_of_tracks(self) -> I32:
        """Return the number of the anchor of every track [t]; 0 where it has no face."""
        numbers = np.zeros(self._n_tracks, dtype=np.int32)
        numbers[self._track] = self._anchor_number
        return numbers

    def _accepted(self) -> Bool:
        return np.array([a is not None for a in self.accepted_in], dtype=np.bool_)

    def _sample(self, moving: Bool) -> I64:
        """Return some faces of each track that moves, evenly spaced along it."""
        of_tracks = [np.flatnonzero(self._track == t) for t in np.flatnonzero(moving)]
        chosen = [
            faces[evenly_spaced_rows(len(faces), self._params.trial_faces)] for faces in of_tracks
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
        """Try another anchor on faces; None where no track of them has one of that number."""
        number = attempt.anchor_number
        faces = faces[:0] if number is None else self._trials.with_anchor(faces, number)
        if len(faces) == 0:
            return None
        return self._painted(faces, np.full(len(faces), number, np.int32), attempt)

    def _painted(self, faces: I64, number: I32, attempt: Attempt) -> Tried:
        base = self._trials.painted(faces, self._base[faces], number)
        return self._trials.look(faces, base, number, attempt.noise_strength)

    def _move(self, best: Tried, moved: Bool, attempts: Sequence[Attempt]) -> None:
        """Paint the tracks `[t]` that have moved as their best try, where all of it is as good."""
        faces = np.flatnonzero(moved[self._track])
        if len(faces) == 0:
            return
        number = np.zeros(self._n_tracks, dtype=np.int32)
        number[self._track[best.faces]] = best.anchor_number
        parts = [best.take(np.flatnonzero(moved[self._track[best.faces]]))]
        rest = np.setdiff1d(faces, best.faces)
        if len(rest):
            parts.append(self._painted(rest, number[self._track[rest]], attempts[0]))
        tried = Tried.join(parts)
        stands = self._standing(tried.faces)
        before, after = (self._merit(t.faces, t.accepted, t.seen) for t in (stands, tried))
        tried = tried.take(np.flatnonzero((after >= before)[self._track[tried.faces]]))
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

    def _to_move(self, faces: I64, accepted: Bool, seen: F32) -> Bool:
        apart, steady = self._apart_and_steady(faces, seen)
        return tracks_to_move(accepted, self._track[faces], apart, steady, self._params)

    def _merit(self, faces: I64, accepted: Bool, seen: F32) -> F32:
        """Return the merit of each track `[t]` on these faces; minus infinity where it has none."""
        apart, steady = self._apart_and_steady(faces, seen)
        merit = track_merit(accepted, self._track[faces], apart, steady)
        there = np.bincount(self._track[faces], minlength=self._n_tracks) > 0
        return np.where(there, merit, -np.inf).astype(np.float32)

    def _apart_and_steady(self, faces: I64, seen: F32) -> tuple[F32, F32]:
        original, track, n = self._original[faces], self._track[faces], self._n_tracks
        share = self._params.steady_share
        return (
            track_apart(self._guards, original, seen, track, n),
            track_steady(self._guards, original, seen, track, n, share),
        )
