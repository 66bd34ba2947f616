"""Where each face's crop lies: found by the detector, then by what the painter's network sees.

A detector's five points jitter, and on tilted and turned heads they lie off the face's middle: the
crop moves about the face, and the painter, which learned from crops that sit alike, paints another
person at another place. So every crop is cut twice. On the first, by the detector's points, the
painter's own network finds the face; by what it finds, averaged over neighbouring frames, the crop
is cut that is painted. On crops of a clip of two tilted heads (56 faces, 3 anchors each, a scratch
script) identity
then changed by 0.0107 instead of 0.0191 along a track under dlib's ResNet and by 0.058 instead of
0.142 under retail-0095, less than the originals' (0.0164, 0.108).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from deid_ops.pipeline.smooth import Neighbours
from deid_ops.swap.crop import (
    EYE_DISTANCE_PX,
    TEMPLATE_PX,
    apply_matrices,
    crop_matrices,
    invert_matrices,
    warp_crop,
)
from deid_ops.types import F32, I32, U8, Bool, FaceCrops, FaceTracks

#: A network that finds the face further off than this (mean over the five points, in crop pixels)
#: has misread the crop: the detector's points stay.
FURTHEST_PX = 0.3 * EYE_DISTANCE_PX

#: A place that lies further from the average with its neighbours, of the eye distance, has jumped.
JUMP_SHARE = 0.3

#: crops [n, S, S, 3] -> eyes, nose and mouth corners [n, 5, 2] in their pixels
FindPoints = Callable[[U8], F32]


def place_segment(
    frames: Iterable[tuple[int, U8]], tracks: FaceTracks, rows: I32, find_points: FindPoints
) -> tuple[U8, PlacedCrops]:
    """Cut the chosen faces of a segment; returns crops [k, S, S, 3] and where they lie.

    Args:
        frames: `(frame index, BGR image)`, in order.
        tracks: all boxes of the segment.
        rows: [k] of the faces to cut, ordered by frame.
        find_points: the painter's network.
    """
    placed = PlacedCrops(tracks, rows, find_points)
    crops = [crop for index, image in frames for crop in placed.add(index, image)]
    return np.stack([*crops, *placed.finish()]), placed


def lies_on_face(tracks: FaceTracks, crops: FaceCrops) -> Bool:
    """Tell which replacements cover the eyes, nose and mouth that a detector or the track found.

    A crop is placed by what the painter's network sees in it. Where that and the detector disagree
    by more than the mask is wide, half of somebody's face would stay, and a guard that looks at the
    crop would not see it.

    Args:
        tracks: all boxes of the segment.
        crops: [k] of some of them.

    Returns:
        [k].
    """
    points = apply_matrices(crops.crop_from_frame, tracks.landmarks_xy_px[crops.row])
    k, size = len(crops), crops.crops_bgr.shape[1]
    x, y = np.rint(points).astype(np.int64).transpose(2, 0, 1)
    inside = ((x >= 0) & (x < size) & (y >= 0) & (y < size)).all(axis=1)
    x, y = np.clip(x, 0, size - 1), np.clip(y, 0, size - 1)
    drawn = crops.weight[np.arange(k)[:, None], y, x] > 0
    return np.asarray(inside & drawn.all(axis=1))


class PlacedCrops:
    """Cuts the faces of a segment, each when its track's next frame has been seen.

    Args:
        tracks: all boxes of the segment.
        rows: [k] of the faces to cut, ordered by frame.
        find_points: the painter's network.

    Attributes:
        rows: [k] those of the faces whose frames came, as far as is known.
        matrices: `crop_from_frame` [k, 2, 3]; final for the first `n_cut`.
        neighbours: of `rows`.
        n_seen: faces whose frames came; the rows before are settled.
        n_cut: faces that were cut.
    """

    def __init__(self, tracks: FaceTracks, rows: I32, find_points: FindPoints) -> None:
        self._tracks, self._find_points = tracks, find_points
        self.rows, self._frame = rows, tracks.frame_index[rows]
        self.neighbours = Neighbours.of(tracks.track[rows], self._frame)
        self._points = self._smoothed(tracks.landmarks_xy_px[rows], slice(None))
        self.matrices = crop_matrices(self._points)
        self.n_seen = self.n_cut = 0
        self._held: U8 | None = None  # the frame of the faces that are seen and not cut

    def add(self, index: int, image: U8) -> list[U8]:
        """See a frame's faces; return the crops of the frame before."""
        self._drop(int(np.searchsorted(self._frame, index)))
        here = slice(self.n_seen, int(np.searchsorted(self._frame, index, "right")))
        if here.stop > here.start:
            self._points[here] = self._seen(image, here)
        crops = self._cut_held()
        self.n_seen = here.stop
        self._held = image if here.stop > here.start else None
        return crops

    def finish(self) -> list[U8]:
        """Return the crops of the last frame; no further one comes."""
        self._drop(len(self.rows))
        return self._cut_held()

    def _drop(self, stop: int) -> None:
        """Forget the faces up to row `stop` whose frames never came; they stay unreplaced."""
        unseen = np.arange(self.n_seen, stop)
        if len(unseen) == 0:
            return
        self.rows, self._frame = (np.delete(a, unseen) for a in (self.rows, self._frame))
        self._points, self.matrices = (
            np.delete(a, unseen, axis=0) for a in (self._points, self.matrices)
        )
        self.neighbours = Neighbours.of(self._tracks.track[self.rows], self._frame)

    def _cut_held(self) -> list[U8]:
        """Return the crops of the frame that was seen last; its neighbours are known."""
        here, image = slice(self.n_cut, self.n_seen), self._held
        if image is None:
            return []
        self.matrices[here] = crop_matrices(self._smoothed(self._points, here))
        self.n_cut, self._held = here.stop, None
        return [warp_crop(image, matrix) for matrix in self.matrices[here]]

    def _smoothed(self, points: F32, here: slice) -> F32:
        """Average places with those of neighbouring frames, but where a track jumps.

        Behind another head a track may go on with that head: the average lies on neither.
        """
        own = points[here]
        smooth = self.neighbours.smoothed(points, here, moving=True)
        moved_px = np.linalg.norm(smooth - own, axis=2).mean(axis=1)
        eyes_px = np.linalg.norm(own[:, 0] - own[:, 1], axis=1)
        jumps = (moved_px > JUMP_SHARE * eyes_px)[:, None, None]
        return np.where(jumps, own, smooth)

    def _seen(self, image: U8, here: slice) -> F32:
        """Return the five points [n, 5, 2] of a frame's faces, in its pixels."""
        first = self.matrices[here]
        found = self._find_points(np.stack([warp_crop(image, matrix) for matrix in first]))
        off_px = np.linalg.norm(found - TEMPLATE_PX, axis=2).mean(axis=1)
        in_frame = apply_matrices(invert_matrices(first), found)
        good = (off_px <= FURTHEST_PX)[:, None, None]
        return np.where(good, in_frame, self._points[here])
