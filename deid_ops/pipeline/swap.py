"""Generate a replacement for every face that may be replaced, on one segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.pipeline.place import PlacedCrops
from deid_ops.swap.aim import Aim, Aimable
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import CROP_SIZE_PX, TEMPLATE_PX
from deid_ops.swap.face_mask import drawn_weights
from deid_ops.types import F32, I32, U8, FaceCrops, FaceTracks

#: (image BGR [h, w, 3], landmarks [n, 5, 2] in its pixels) -> unit vectors [n, d]
EmbedFaces = Callable[[U8, F32], F32]


class Painter(Aimable, Protocol):
    """The generator, as `deid_ops.swap.generator.Generator` is one."""

    def find_points(self, crops_bgr: U8) -> F32:
        """Find eyes, nose and mouth corners [n, 5, 2] in crops [n, S, S, 3], in their pixels."""

    def read(self, crops_bgr: U8) -> FaceConditions:
        """Read off original crops [n, S, S, 3] what may be known of them."""

    def __call__(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> U8:
        """Paint the identities [n, d] into the crops."""


@dataclass(frozen=True)
class SwappedFaces:
    """Generated crops with conditions and the guards' vectors of the originals, `k` rows.

    The vectors are biometric: they live until the ladder has compared them.
    """

    crops: FaceCrops
    conditions: FaceConditions
    judge_original: F32  # [k, d] all guards' vectors side by side

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
        embed: what the ladder's guards make of an original, see `guards.embed_for`.
        batch_faces: faces handed to the generator at once.
    """
    order = rows[np.argsort(tracks.frame_index[rows], kind="stable")]
    pending = _Pending(tracks, order, anchor_by_track, generate, embed, batch_faces)
    for index, image in frames:
        pending.add(index, image)
    return pending.finish()


def embed_crop(embed: EmbedFaces, crop_bgr: U8) -> F32:
    """Return the vectors [1, d] of the face in a crop [S, S, 3], original or painted.

    Both are looked at where the painter found the face, which the crop's place says. A detector's
    points lie off the face on tilted heads, by a fifth of the eye distance and more, and where an
    encoder sees a face and its replacement equally askew it finds them alike: single faces of a
    replaced track were redacted for it.
    """
    return embed(crop_bgr, TEMPLATE_PX[None])


class _Pending:
    """Collects faces over frames and runs the generator on full batches.

    A face is painted when its track's next frame has been read, because conditions, as the crop's
    place, are averaged over neighbouring frames.

    Args:
        tracks: all boxes of the segment.
        rows: [k] of the faces to paint, ordered by frame.
        anchor_by_track: [t, d].
        generate: the generator.
        embed: the guards' vectors.
        batch_faces: faces read and painted at once, about.
    """

    def __init__(
        self,
        tracks: FaceTracks,
        rows: I32,
        anchor_by_track: F32,
        generate: Painter,
        embed: EmbedFaces,
        batch_faces: int,
    ) -> None:
        self.tracks, self.anchor_by_track, self.batch_faces = tracks, anchor_by_track, batch_faces
        self.generate, self.embed = generate, embed
        self.placed = PlacedCrops(tracks, rows, generate.find_points)
        self.aim = Aim(generate)
        self.n_read = self.n_painted = 0
        self.read = FaceConditions.blank(len(rows))
        self.originals: list[F32] = []
        self.waiting: list[U8] = []  # cut, not painted
        self.told: list[FaceConditions] = []
        self.done: list[U8] = []

    def add(self, index: int, image: U8) -> None:
        """Take a frame's faces."""
        placed, known = self.placed, self.placed.n_cut
        self._take(placed.add(index, image))
        if placed.n_cut - self.n_read >= self.batch_faces:
            self._paint(known)  # those that were cut last may have neighbours in the next frame

    def finish(self) -> SwappedFaces:
        """Return everything collected."""
        placed = self.placed
        self._take(placed.finish())
        if placed.n_cut == 0:
            return SwappedFaces.none()
        self._paint(placed.n_cut)
        told = FaceConditions.join(self.told)
        weight = drawn_weights(told.masks())
        crops = FaceCrops(placed.rows, np.concatenate(self.done), placed.matrices, weight)
        return SwappedFaces(crops, told, np.concatenate(self.originals))

    def _take(self, originals_bgr: list[U8]) -> None:
        """Keep crops until they are painted, and what the guards see in them."""
        self.waiting += originals_bgr
        self.originals += [embed_crop(self.embed, crop) for crop in originals_bgr]

    def _paint(self, stop: int) -> None:
        """Read everything that was cut, paint up to row `stop`."""
        unread = self.waiting[self.n_read - self.n_painted :]
        if unread:
            told = self.generate.read(np.stack(unread))
            self.read.points_px[self.n_read : self.placed.n_cut] = told.points_px
            self.read.detail_rms[self.n_read : self.placed.n_cut] = told.detail_rms
            self.n_read = self.placed.n_cut
        here = slice(self.n_painted, stop)
        if here.start == stop:
            return
        told = FaceConditions(
            self.placed.neighbours.smoothed(self.read.points_px, here),
            self.placed.neighbours.smoothed(self.read.detail_rms, here),
        )
        tracks = self.tracks.track[self.placed.rows[here]]
        anchors = self.anchor_by_track[tracks]
        crops = np.stack(self.waiting[: stop - here.start])
        del self.waiting[: stop - here.start]
        told = self.aim(crops, told, anchors, self.placed.matrices[here], tracks)
        self.told.append(told)
        self.done.append(self.generate(crops, told, anchors))
        self.n_painted = stop
