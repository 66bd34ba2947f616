"""One try on some faces: paint an anchor, diffuse, look. It decides nothing and changes nothing.

The originals are not here any more: only the guards' vectors of them and the conditions that were
read off them. Another anchor is therefore painted on the swapped crop, whose surroundings and
light are the same; it can only lose information about the original, never regain it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.distances import FaceDistances, face_distances, slack_together
from deid_ops.judge.ladder import LadderParams, judge_faces
from deid_ops.pipeline.guards import Guard, columns_of
from deid_ops.pipeline.swap import Painter, SwappedFaces, embed_crop
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import as_shown
from deid_ops.types import F32, I32, I64, U8, Bool, FaceTracks, Reason

_FACES_AT_ONCE = 32

#: (crops, conditions, anchors, relative noise strength, tracks) -> crops after one denoising step;
#: one noise for each track
DiffuseCrops = Callable[[U8, FaceConditions, F32, float, I32], U8]

#: crops -> [n] whether a detector finds a face in each
FindAgain = Callable[[U8], Bool]

#: (track, anchor number) -> unit vector [d], or None where no further anchor is admissible
AnchorOfTrack = Callable[[int, int], F32 | None]


@dataclass(frozen=True)
class ReplaceModels:
    """What the ladder calls; the denoiser may be missing."""

    generate: Painter
    diffuse: DiffuseCrops | None
    find_again: FindAgain
    guards: tuple[Guard, ...]


@dataclass(frozen=True)
class Tried:
    """`k` faces after a try.

    Attributes:
        faces: [k] which of the segment's.
        anchor_number: [k].
        base: [k, S, S, 3] BGR as painted; stronger noise or another anchor goes over them.
        final: [k, S, S, 3] BGR as diffused.
        seen: [k, d] the guards' vectors of what is shown of them, side by side.
        distance: [k] cosine distances to the originals, under the first guard.
        accepted: [k] whether the replacement stands.
        failure: why not, one a face.
    """

    faces: I64
    anchor_number: I32
    base: U8
    final: U8
    seen: F32
    distance: F32
    accepted: Bool
    failure: tuple[Reason | None, ...]

    def take(self, rows: I64) -> Tried:
        """Return some of the faces."""
        return Tried(
            self.faces[rows],
            self.anchor_number[rows],
            self.base[rows],
            self.final[rows],
            self.seen[rows],
            self.distance[rows],
            self.accepted[rows],
            tuple(self.failure[row] for row in rows),
        )

    @classmethod
    def join(cls, parts: Sequence[Tried]) -> Tried:
        """Put tries of different faces one after another."""
        return cls(
            np.concatenate([part.faces for part in parts]),
            np.concatenate([part.anchor_number for part in parts]),
            np.concatenate([part.base for part in parts]),
            np.concatenate([part.final for part in parts]),
            np.concatenate([part.seen for part in parts]),
            np.concatenate([part.distance for part in parts]),
            np.concatenate([part.accepted for part in parts]),
            tuple(cause for part in parts for cause in part.failure),
        )


class Trials:
    """Tries on the faces of a segment.

    Args:
        swapped: `n` faces, painted with their tracks' first anchors.
        tracks: all boxes of the segment.
        anchor_of_track: whom a track may show.
        models: what is called.
        params: what stands.

    Attributes:
        original: [n, d] the guards' vectors of the originals, side by side.
        track: [n] of each face.

    Raises:
        InvariantError: the originals were seen by other guards.
    """

    def __init__(
        self,
        swapped: SwappedFaces,
        tracks: FaceTracks,
        anchor_of_track: AnchorOfTrack,
        models: ReplaceModels,
        params: LadderParams,
    ) -> None:
        width = sum(guard.dim for guard in models.guards)
        if len(swapped.crops) and swapped.judge_original.shape[1] != width:
            raise InvariantError(
                f"settle: the originals have {swapped.judge_original.shape[1]} numbers, "
                f"the guards {width}"
            )
        self._models, self._params, self._anchor_of_track = models, params, anchor_of_track
        self.original, self._conditions = swapped.judge_original, swapped.conditions
        self.track = tracks.track[swapped.crops.row]
        self._crop_from_frame = swapped.crops.crop_from_frame
        self._eyes_px = tracks.eye_distance_px[swapped.crops.row]

    def with_anchor(self, faces: I64, number: int) -> I64:
        """Return those of the faces `[k]` whose track has an anchor of that number."""
        able = [self._anchor_of_track(int(t), number) is not None for t in self.track[faces]]
        return np.asarray(faces[np.array(able, dtype=np.bool_)], dtype=np.int64)

    def painted(self, faces: I64, base: U8, number: I32) -> U8:
        """Paint faces [k] anew over `base` [k, S, S, 3], with the anchors of these numbers [k]."""
        anchors, told = self._anchors(faces, number), self._conditions.take(faces)
        return np.concatenate(
            [
                self._models.generate(base[part], told.take(part), anchors[part])
                for part in _batches(len(faces))
            ]
        )

    def look(self, faces: I64, base: U8, number: I32, strength: float) -> Tried:
        """Diffuse and judge faces [k], painted as `base` [k, S, S, 3] with anchors `number` [k]."""
        anchors = self._anchors(faces, number)
        final = np.concatenate(
            [
                self._diffused(faces[part], base[part], anchors[part], strength)
                for part in _batches(len(faces))
            ]
        )
        shown = as_shown(final, self._crop_from_frame[faces])
        seen = np.empty((len(faces), self.original.shape[1]), dtype=np.float32)
        distances = self._distances(faces, shown, seen)
        slack = [found.slack for found in distances]
        if len(distances) > 1:
            slack.append(slack_together(distances, self._params.together_min))
        verdict = judge_faces(np.stack(slack, axis=1), self._models.find_again(shown), self._params)
        to_original = distances[0].to_original
        return Tried(
            faces, number, base, final, seen, to_original, verdict.accepted, verdict.failure
        )

    def _diffused(self, faces: I64, crops: U8, anchors: F32, strength: float) -> U8:
        if self._models.diffuse is None:
            return crops
        told, tracks = self._conditions.take(faces), self.track[faces]
        return self._models.diffuse(crops, told, anchors, strength, tracks)

    def _anchors(self, faces: I64, number: I32) -> F32:
        vectors = [
            self._anchor_of_track(int(t), int(n))
            for t, n in zip(self.track[faces], number, strict=True)
        ]
        return np.asarray(np.stack([v for v in vectors if v is not None]), dtype=np.float32)

    def _distances(self, faces: I64, crops: U8, seen: F32) -> list[FaceDistances]:
        """Return what each guard sees between crops and originals; write its vectors to `seen`."""
        found = []
        for guard, columns in columns_of(self._models.guards):
            seen[:, columns] = np.concatenate([embed_crop(guard.embed, crop) for crop in crops])
            limits = guard.calibration.thresholds(guard.name, self._eyes_px[faces], guard.far)
            original, output = (
                guard.calibration.centred(guard.name, vectors)
                for vectors in (self.original[faces, columns], seen[:, columns])
            )
            found.append(face_distances(original, output, limits))
        return found


def _batches(n: int) -> list[I64]:
    """Cut a long list of faces: a network's inputs and their copies take 5 MB a face."""
    return [
        np.arange(i, min(i + _FACES_AT_ONCE, n), dtype=np.int64)
        for i in range(0, n, _FACES_AT_ONCE)
    ]
