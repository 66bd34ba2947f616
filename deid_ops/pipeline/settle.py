"""Diffuse every generated crop, judge it against its original, and walk the ladder.

The originals are not here any more: only the judge's vectors of them and the conditions that were
read off them. Another anchor is therefore generated on the swapped crop, whose surroundings and
light are the same; it can only lose information about the original, never regain it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.distances import FaceDistances, face_distances
from deid_ops.judge.ladder import (
    Attempt,
    LadderParams,
    faces_to_retry,
    judge_faces,
    settle,
    track_merit,
)
from deid_ops.pipeline.guards import Guard, columns_of, track_apart
from deid_ops.pipeline.swap import Painter, SwappedFaces, crop_landmarks
from deid_ops.swap.conditions import FaceConditions
from deid_ops.types import F32, I32, I64, U8, Bool, FaceCrops, FaceTracks, Reason, Treatment

_FACES_AT_ONCE = 32

#: (crops, conditions, anchors, relative noise strength, tracks) -> crops after one denoising step;
#: one noise for each track
DiffuseCrops = Callable[[U8, FaceConditions, F32, float, I32], U8]

#: crops -> [n] whether a detector finds a face in each
FindAgain = Callable[[U8], Bool]

#: (track, anchor number) -> unit vector [d], or None where no further anchor is admissible
AnchorOfTrack = Callable[[int, int], F32 | None]


@dataclass(frozen=True)
class SettledFaces:
    """Every face of a segment with its final treatment."""

    crops: FaceCrops  # accepted replacements only
    distance_to_original: F32  # [k] under the first guard, one per accepted crop
    treatment: tuple[Treatment, ...]  # one per row of the tracks
    reason: tuple[Reason, ...]


@dataclass(frozen=True)
class ReplaceModels:
    """What the ladder calls; the denoiser may be missing."""

    generate: Painter
    diffuse: DiffuseCrops | None
    find_again: FindAgain
    guards: tuple[Guard, ...]


def settle_segment(
    swapped: SwappedFaces,
    tracks: FaceTracks,
    gate_reasons: Sequence[Reason | None],
    anchor_of_track: AnchorOfTrack,
    models: ReplaceModels,
    params: LadderParams,
) -> SettledFaces:
    """Return the final crop, treatment and reason of every face of a segment."""
    ladder = _Ladder(swapped, tracks, anchor_of_track, models, params)
    for attempt in params.attempts():
        if ladder.is_useful(attempt):
            ladder.climb(attempt)
    ladder.refuse_near_tracks()
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
    )


@dataclass(frozen=True)
class _State:
    """What stood for some faces before a try; `[k]` each."""

    faces: I64
    base: U8
    final: U8
    anchor_number: I32
    distance: F32
    seen: F32
    merit: F32  # [t] of their tracks
    accepted_in: list[Attempt | None]
    failure: list[Reason | None]


class _Ladder:
    """The state of the climb: one entry a face that has a generated crop."""

    def __init__(
        self,
        swapped: SwappedFaces,
        tracks: FaceTracks,
        anchor_of_track: AnchorOfTrack,
        models: ReplaceModels,
        params: LadderParams,
    ) -> None:
        n, width = len(swapped.crops), sum(guard.dim for guard in models.guards)
        if n and swapped.judge_original.shape[1] != width:
            raise InvariantError(
                f"settle: the originals have {swapped.judge_original.shape[1]} numbers, "
                f"the guards {width}"
            )
        self.models, self.params, self.anchor_of_track = models, params, anchor_of_track
        self.original, self.conditions = swapped.judge_original, swapped.conditions
        self.points = crop_landmarks(tracks, swapped.crops)
        self.track = tracks.track[swapped.crops.row]
        self.eyes_px = tracks.eye_distance_px[swapped.crops.row]
        self.base = np.array(swapped.crops.crops_bgr)
        self.final = np.array(swapped.crops.crops_bgr)
        self.anchor_number = np.zeros(n, dtype=np.int32)
        self.distance = np.zeros(n, dtype=np.float32)
        self.seen = np.array(self.original)  # the guards' vectors of what stands there now
        self.accepted_in: list[Attempt | None] = [None] * n
        self.failure: list[Reason | None] = [None] * n

    def is_useful(self, attempt: Attempt) -> bool:
        """Tell whether a try can change anything: stronger noise needs a denoiser."""
        stronger = attempt.noise_strength != self.params.noise_strengths[0]
        return self.models.diffuse is not None or not stronger

    def climb(self, attempt: Attempt) -> None:
        """Generate, diffuse and judge the faces that this try is for."""
        moves = self.params.moves_anchor(attempt)
        again = faces_to_retry(
            self._accepted(), self.track, self._track_apart(), attempt, self.params
        )
        faces = np.flatnonzero(again)
        if moves:
            faces = self._with_anchor(faces, attempt.anchor_number)
        if len(faces) == 0:
            return
        before = self._state_of(faces) if moves else None
        if moves:
            self._change_anchor(faces, attempt.anchor_number)
        crops = np.concatenate([self._diffused(part, attempt) for part in _batches(faces)])
        self._judge(faces, crops, attempt)
        if before is not None:
            self._undo_where_worse(before)

    def refuse_near_tracks(self) -> None:
        """Refuse all faces of tracks that no try has brought away from their people."""
        near = self._track_apart() < self.params.track_apart_min
        for face in np.flatnonzero(near[self.track]):
            self.accepted_in[face], self.failure[face] = None, Reason.TOO_CLOSE

    def _accepted(self) -> Bool:
        return np.array([a is not None for a in self.accepted_in], dtype=np.bool_)

    def _state_of(self, faces: I64) -> _State:
        """Copy everything that a try may change, for these faces."""
        return _State(
            faces,
            np.array(self.base[faces]),
            np.array(self.final[faces]),
            np.array(self.anchor_number[faces]),
            np.array(self.distance[faces]),
            np.array(self.seen[faces]),
            self._merit(),
            [self.accepted_in[f] for f in faces],
            [self.failure[f] for f in faces],
        )

    def _undo_where_worse(self, before: _State) -> None:
        """Give tracks back what they had, where the try has less merit."""
        worse = self._merit() < before.merit
        for k, face in enumerate(before.faces):
            if worse[self.track[face]]:
                self.base[face], self.final[face] = before.base[k], before.final[k]
                self.anchor_number[face] = before.anchor_number[k]
                self.distance[face], self.seen[face] = before.distance[k], before.seen[k]
                self.accepted_in[face] = before.accepted_in[k]
                self.failure[face] = before.failure[k]

    def _merit(self) -> F32:
        return track_merit(self._accepted(), self.track, self._track_apart())

    def _track_apart(self) -> F32:
        return track_apart(self.models.guards, self.original, self.seen, self.track)

    def _with_anchor(self, faces: I64, number: int) -> I64:
        """Return those of the faces whose track has an anchor of that number."""
        able = [self.anchor_of_track(int(t), number) is not None for t in self.track[faces]]
        return np.asarray(faces[np.array(able, dtype=np.bool_)])

    def _change_anchor(self, faces: I64, number: int) -> None:
        """Generate the faces anew, with their track's anchor of that number."""
        self.anchor_number[faces] = number
        for part in _batches(faces):
            self.base[part] = self.models.generate(
                self.base[part], self.conditions.take(part), self._anchors(part)
            )

    def _diffused(self, faces: I64, attempt: Attempt) -> U8:
        crops, anchors = self.base[faces], self._anchors(faces)
        if self.models.diffuse is None:
            return crops
        told, tracks = self.conditions.take(faces), self.track[faces]
        return self.models.diffuse(crops, told, anchors, attempt.noise_strength, tracks)

    def _anchors(self, faces: I64) -> F32:
        vectors = [
            self.anchor_of_track(int(t), int(n))
            for t, n in zip(self.track[faces], self.anchor_number[faces], strict=True)
        ]
        return np.asarray(np.stack([v for v in vectors if v is not None]), dtype=np.float32)

    def _judge(self, faces: I64, crops: U8, attempt: Attempt) -> None:
        distances = self._distances(faces, crops)
        slack = np.stack([found.slack for found in distances], axis=1)
        verdict = judge_faces(slack, self.models.find_again(crops), self.params)
        for k, face in enumerate(faces):
            stands = bool(verdict.accepted[k])
            self.accepted_in[face] = attempt if stands else None
            self.failure[face] = verdict.failure[k]
            if stands:
                self.final[face] = crops[k]
                self.distance[face] = distances[0].to_original[k]

    def _distances(self, faces: I64, crops: U8) -> list[FaceDistances]:
        """Return what each guard sees between the crops and their originals; keep its vectors."""
        found = []
        for guard, columns in columns_of(self.models.guards):
            self.seen[faces, columns] = np.concatenate(
                [guard.embed(c, p[None]) for c, p in zip(crops, self.points[faces], strict=True)]
            )
            limits = guard.calibration.thresholds(guard.name, self.eyes_px[faces], guard.far)
            original, output = (
                guard.calibration.centred(guard.name, vectors[faces, columns])
                for vectors in (self.original, self.seen)
            )
            found.append(face_distances(original, output, limits))
        return found


def _batches(faces: I64) -> list[I64]:
    """Cut a long list of faces: a network's inputs and their copies take 5 MB a face."""
    return [faces[i : i + _FACES_AT_ONCE] for i in range(0, len(faces), _FACES_AT_ONCE)]
