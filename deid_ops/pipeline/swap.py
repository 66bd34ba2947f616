"""Generate a replacement for every face that may be replaced, on one segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import CROP_SIZE_PX, apply_matrices, crop_matrices, warp_crop
from deid_ops.types import F32, I32, U8, FaceCrops, FaceTracks

#: (image BGR [h, w, 3], landmarks [n, 5, 2] in its pixels) -> unit vectors [n, d]
EmbedFaces = Callable[[U8, F32], F32]


class Painter(Protocol):
    """The generator, as `deid_ops.swap.generator.Generator` is one."""

    def read(self, crops_bgr: U8) -> FaceConditions:
        """Read off original crops [n, S, S, 3] what may be known of them."""

    def __call__(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> U8:
        """Paint the identities [n, d] into the crops."""


@dataclass(frozen=True)
class SwappedFaces:
    """Generated crops with conditions and judge's vectors of the originals, `k` rows.

    The vectors are biometric: they live until the ladder has compared them.
    """

    crops: FaceCrops
    conditions: FaceConditions
    judge_original: F32  # [k, d] unit rows

    def __post_init__(self) -> None:
        """Compare lengths."""
        lengths = len(self.crops), len(self.conditions), len(self.judge_original)
        if len(set(lengths)) > 1:
            raise InvariantError(
                f"SwappedFaces: {lengths[0]} crops, {lengths[1]} conditions, {lengths[2]} vectors"
            )

    @classmethod
    def none(cls) -> SwappedFaces:
        """No faces."""
        nobody = np.zeros((0, 0), np.float32)
        return cls(FaceCrops.empty(CROP_SIZE_PX), FaceConditions.join([]), nobody)


def swap_segment(
    frames: Iterable[tuple[int, U8]],
    tracks: FaceTracks,
    rows: I32,
    anchor_by_track: F32,
    generate: Painter,
    embed: EmbedFaces,
    batch_faces: int = 32,
) -> SwappedFaces:
    """Replace the chosen boxes of a segment.

    Args:
        frames: `(frame index, BGR image in coded orientation)`, in order.
        tracks: all boxes of the segment.
        rows: [k] rows of `tracks` to replace; all have landmarks.
        anchor_by_track: [t, d] unit vectors of the identities to show.
        generate: the generator.
        embed: the judge's encoder.
        batch_faces: faces handed to the generator at once.
    """
    pending = _Pending(tracks, anchor_by_track, generate, embed, batch_faces)
    wanted = np.zeros(len(tracks), dtype=np.bool_)
    wanted[rows] = True
    for index, image in frames:
        here = np.flatnonzero((tracks.frame_index == index) & wanted).astype(np.int32)
        if len(here):
            pending.add(image, here)
    return pending.finish()


def crop_landmarks(tracks: FaceTracks, crops: FaceCrops) -> F32:
    """Return the five points [k, 5, 2] of each crop's face, in crop pixels."""
    return apply_matrices(crops.crop_from_frame, tracks.landmarks_xy_px[crops.row])


@dataclass
class _Pending:
    """Collects faces over frames and runs the generator on full batches."""

    tracks: FaceTracks
    anchor_by_track: F32
    generate: Painter
    embed: EmbedFaces
    batch_faces: int
    rows: list[int] = field(default_factory=list)
    matrices: list[F32] = field(default_factory=list)
    originals: list[F32] = field(default_factory=list)
    waiting: list[U8] = field(default_factory=list)
    done: list[U8] = field(default_factory=list)
    conditions: list[FaceConditions] = field(default_factory=list)

    def add(self, image: U8, rows: I32) -> None:
        """Cut the given boxes out of a frame."""
        points = self.tracks.landmarks_xy_px[rows]
        matrices = crop_matrices(points)
        self.originals.append(self.embed(image, points))
        for row, matrix in zip(rows, matrices, strict=True):
            self.rows.append(int(row))
            self.matrices.append(matrix)
            self.waiting.append(warp_crop(image, matrix))
        if len(self.waiting) >= self.batch_faces:
            self._flush()

    def finish(self) -> SwappedFaces:
        """Return everything collected."""
        self._flush()
        if not self.rows:
            return SwappedFaces.none()
        crops = FaceCrops(
            np.array(self.rows, np.int32), np.concatenate(self.done), np.stack(self.matrices)
        )
        conditions = FaceConditions.join(self.conditions)
        return SwappedFaces(crops, conditions, np.concatenate(self.originals))

    def _flush(self) -> None:
        if not self.waiting:
            return
        first = len(self.rows) - len(self.waiting)
        rows = np.array(self.rows[first:], np.int32)
        anchors = self.anchor_by_track[self.tracks.track[rows]]
        crops = np.stack(self.waiting)
        self.conditions.append(self.generate.read(crops))
        self.done.append(self.generate(crops, self.conditions[-1], anchors))
        self.waiting = []
