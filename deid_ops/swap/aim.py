"""Aim the painter: what it missed of a face is added to what it is told, mostly along the track.

The painter misses what it is told, and the attribute network misreads small and blurred faces, both
much the same way each time. So a face is painted, read by the same network, and what is told is
moved against the difference; then once more. Both errors largely cancel. Nothing new of the
original passes, because what is read was painted from the conditions.

Most of what is missed is the same in every frame of a track, because person, anchor and camera are.
The rest follows each change of pose and light; a correction that follows it moves a face's features
about, which encoders see as a change of identity. So eyes and lips, which move by themselves, are
corrected by what each frame missed, all else by the track's average. In `intel_headpose_m`, four
keys, M_tc under retail-0095 was 0.066 with each frame's own correction for all, 0.062 with half of
it and 0.055 with the average.

The painted face is read as detailed as it will be in its picture (`as_shown`), as the original
was. In a street (six tracks of 18 to 38 px between the eyes, five anchors each, a scratch script)
landmarks were then 3.35 instead of 3.42 % off and pose 2.5 instead of 2.6 degrees, at 18 px 2.6
instead of 3.1.

A correction that is never forgotten (integral control) costs fewer paintings and was tried: what
cannot be corrected, as where an iris is behind a lid, then adds up, and gaze in the street was 5.8
degrees off instead of 4.9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.layout import N_POINTS, group_slice
from deid_ops.types import F32, I32, U8, Bool

# Of what a painting missed, how much is added to what the next is told. 1 brings landmarks and pose
# no nearer and overshoots in the gaze of some faces.
GAIN = np.float32(0.8)
ROUNDS = 2  # paintings before the one that counts; each costs a painting and a reading
MEMORY_FACES = 60  # a head that has turned meets other errors than two seconds before


def _moving() -> Bool:
    """Return [136, 1] which landmarks move by themselves."""
    moving = np.zeros((N_POINTS, 1), dtype=np.bool_)
    for name in ("left_eye", "right_eye", "left_iris", "right_iris", "outer_lips", "inner_lips"):
        moving[group_slice(name)] = True
    return moving


_MOVING = _moving()


class Aimable(Protocol):
    """The generator, as far as it is needed to aim it."""

    def missed_px(
        self,
        crops_bgr: U8,
        wanted: FaceConditions,
        told: FaceConditions,
        anchors_unit: F32,
        crop_from_frame: F32,
    ) -> F32:
        """Return [n, 136, 2] px from where landmarks are painted to where they are wanted."""


@dataclass
class Aim:
    """The corrections of tracks whose faces come in batches, in the order of their frames.

    Attributes:
        paint: the generator; is asked for nothing but what it missed.

    Example:
        >>> aim = Aim(generator)  # doctest: +SKIP
        >>> read = generator.read(crops_bgr)  # doctest: +SKIP
        >>> told = aim(crops_bgr, read, anchors_unit, crop_from_frame, tracks)  # doctest: +SKIP
    """

    paint: Aimable
    _mean_px: dict[int, F32] = field(default_factory=dict)  # track -> [136, 2]
    _seen: dict[int, int] = field(default_factory=dict)  # track -> faces

    def __call__(
        self,
        crops_bgr: U8,
        read: FaceConditions,
        anchors_unit: F32,
        crop_from_frame: F32,
        tracks: I32,
    ) -> FaceConditions:
        """Return conditions from which the painted faces come nearer to what was read.

        Args:
            crops_bgr: [n, 128, 128, 3], as for painting.
            read: off the original faces.
            anchors_unit: [n, 128]. The result serves other anchors nearly as well.
            crop_from_frame: [n, 2, 3], see `as_shown`.
            tracks: [n] whose faces they are.

        Raises:
            InvariantError: a shape or a length differs.
        """
        each = aim_each(self.paint, crops_bgr, read, anchors_unit, crop_from_frame)
        own_px = each.points_px - read.points_px
        mean_px = np.empty_like(own_px)
        for row, track in enumerate(tracks.tolist()):
            mean_px[row] = self._learn(track, own_px[row])
        moved_px = np.where(_MOVING, own_px, mean_px)
        return FaceConditions(read.points_px + moved_px, read.detail_rms)

    def _learn(self, track: int, own_px: F32) -> F32:
        """Take a face's own correction [136, 2] px; return its track's average so far."""
        seen = self._seen[track] = self._seen.get(track, 0) + 1
        mean = self._mean_px.get(track, np.zeros_like(own_px))
        mean = mean + (own_px - mean) / np.float32(min(seen, MEMORY_FACES))
        self._mean_px[track] = mean
        return mean


def aim_each(
    paint: Aimable,
    crops_bgr: U8,
    read: FaceConditions,
    anchors_unit: F32,
    crop_from_frame: F32,
) -> FaceConditions:
    """Return conditions [n] corrected by what each face alone missed; see `Aim` for the rest."""
    told = read
    for _ in range(ROUNDS):
        missed = paint.missed_px(crops_bgr, read, told, anchors_unit, crop_from_frame)
        told = FaceConditions(told.points_px + GAIN * missed, read.detail_rms)
    return told
