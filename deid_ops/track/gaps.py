"""Fills what the detector missed: gaps inside a track, margins at its ends.

Rows are only ever added. Between two detections of a track at most `max_gap_frames` frames are
interpolated linearly, boxes and landmarks. Before the first and after the last detection of each
run (a track without a longer gap) `extend_frames` frames continue the motion linearly. Added boxes
grow with the distance to the nearest detection, because linear motion is less and less true.
Where a detection of another track covers an added box, the box is left out: the face was found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deid_ops.geometry import covered_fraction_matrix
from deid_ops.track.motion import extrapolate, grow
from deid_ops.track.params import TrackParams
from deid_ops.types import BoxOrigin, Faces, FaceTracks

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

FIT_DETECTIONS = 5  # detections that the motion at an end is fitted to
COVERED_FRACTION = 0.7  # of an added box inside a detection: the face was found after all
MAX_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of `FaceTracks` before sorting, with the detection each one comes from (or -1)."""

    frame: I64
    track: I64
    boxes: F64
    core: F64  # boxes before they grew
    landmarks: F64
    has_landmarks: npt.NDArray[np.bool_]
    origin: I64
    scalars: F64  # [n, 4]: score, eye distance, blur, turn
    face: I64

    @classmethod
    def concatenate(cls, parts: list[_Rows]) -> _Rows:
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))

    def take(self, rows: npt.NDArray[np.bool_] | I64) -> _Rows:
        return _Rows(*(getattr(self, n)[rows] for n in self.__dataclass_fields__))


def fill_tracks(
    faces: Faces,
    labels: I64,
    n_frames: int,
    frame_size_wh_px: tuple[int, int],
    params: TrackParams,
) -> tuple[FaceTracks, I64]:
    """Return every detection as a row, plus interpolated and extended rows.

    Args:
        faces: `n` detections.
        labels: `[n]` track of each detection.
        n_frames: frames of the segment; no row is added outside.
        frame_size_wh_px: margins stop where the box has left the frame.
        params: gap length, margins, growth.

    Returns:
        The tracks, and `[n]` the row of each detection in them.
    """
    detected = _detected(faces, labels)
    inner: list[_Rows] = []
    outer: list[_Rows] = []
    order = np.argsort(labels, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        track = detected.take(rows)
        runs = _runs(track, params.max_gap_frames)
        seen_before = [-1, *(int(run.frame[-1]) for run in runs)]
        seen_after = [*(int(run.frame[0]) for run in runs[1:]), n_frames]
        for run, after, before in zip(runs, seen_before[:-1], seen_after, strict=True):
            inner.append(_interpolated(run, params.gap_growth))
            outer.append(_extended(run, (after, before), frame_size_wh_px, params))
    added = _Rows.concatenate([*inner, _one_per_frame(_Rows.concatenate(outer))])
    rows_all = _Rows.concatenate([detected, _not_found_again(added, detected)])
    rows_all = rows_all.take(np.lexsort((rows_all.track, rows_all.frame)))
    row_of_face = np.empty(len(faces), dtype=np.int64)
    is_face = rows_all.face >= 0
    row_of_face[rows_all.face[is_face]] = np.flatnonzero(is_face)
    return _to_tracks(rows_all), row_of_face


def _detected(faces: Faces, labels: I64) -> _Rows:
    n = len(faces)
    boxes = faces.boxes_xyxy_px.astype(np.float64)
    landmarks = faces.landmarks_xy_px.astype(np.float64)
    scalars = [faces.score, faces.eye_distance_px, faces.blur, faces.turn]
    return _Rows(
        faces.frame_index.astype(np.int64),
        labels,
        boxes,
        boxes,
        landmarks,
        np.any(landmarks != 0, axis=(1, 2)),  # a detector without landmarks gives zeros
        np.full(n, int(BoxOrigin.DETECTED)),
        np.stack(scalars, axis=1).astype(np.float64),
        np.arange(n),
    )


def _runs(track: _Rows, max_gap_frames: int) -> list[_Rows]:
    """Cut a track where the gap is too long to interpolate."""
    cuts = np.flatnonzero(np.diff(track.frame) > max_gap_frames + 1) + 1
    return [track.take(rows) for rows in np.split(np.arange(len(track.frame)), cuts)]


def _interpolated(run: _Rows, growth: float) -> _Rows:
    """Rows for the frames between the detections of a run."""
    wanted = np.setdiff1d(np.arange(run.frame[0], run.frame[-1] + 1), run.frame)
    after = np.searchsorted(run.frame, wanted)
    before = after - 1
    span = (run.frame[after] - run.frame[before]).astype(np.float64)
    share = (wanted - run.frame[before]) / span

    def mix(values: F64) -> F64:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - weight) * values[before] + weight * values[after]

    distance = np.minimum(wanted - run.frame[before], run.frame[after] - wanted)
    core = mix(run.boxes)
    has_landmarks = run.has_landmarks[before] & run.has_landmarks[after]
    landmarks = np.where(has_landmarks[:, None, None], mix(run.landmarks), 0.0)
    return _added(
        run,
        BoxOrigin.INTERPOLATED,
        frame=wanted,
        boxes=grow(core, np.minimum(1 + growth * distance, MAX_GROWTH)),
        core=core,
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        scalars=mix(run.scalars),
    )


def _extended(
    run: _Rows,
    between_frames: tuple[int, int],
    frame_size_wh_px: tuple[int, int],
    params: TrackParams,
) -> _Rows:
    """Rows before and after a run, as long as the box still touches the frame.

    `between_frames` (exclusive) are the nearest frames where the track is seen again, or the ends
    of the segment.
    """
    steps = np.arange(1, params.extend_frames + 1)
    first, last = int(run.frame[0]), int(run.frame[-1])
    early, late = first - steps, last + steps
    early, late = early[early > between_frames[0]], late[late < between_frames[1]]
    head = _continued(run.take(np.arange(len(run.frame)) < FIT_DETECTIONS), early)
    tail = _continued(run.take(np.arange(-min(FIT_DETECTIONS, len(run.frame)), 0)), late)
    head, tail = _inside(head, frame_size_wh_px), _inside(tail, frame_size_wh_px)
    frame = np.concatenate([early[: len(head)], late[: len(tail)]])
    core = np.concatenate([head, tail])
    distance = np.abs(frame[:, None] - run.frame[[0, -1]][None, :]).min(axis=1)
    end = np.concatenate([np.zeros(len(head), np.int64), np.full(len(tail), len(run.frame) - 1)])
    n = len(frame)
    return _added(
        run,
        BoxOrigin.EXTENDED,
        frame=frame,
        boxes=grow(core, np.minimum(1 + params.extend_growth * distance, MAX_GROWTH)),
        core=core,
        landmarks=np.zeros((n, 5, 2)),
        has_landmarks=np.zeros(n, dtype=np.bool_),
        scalars=run.scalars[end],
    )


def _continued(ends: _Rows, targets: I64) -> F64:
    if len(targets) == 0:
        return np.zeros((0, 4))
    return extrapolate(ends.frame, ends.boxes, targets)


def _inside(boxes: F64, frame_size_wh_px: tuple[int, int]) -> F64:
    """Keep boxes up to the first that lies outside the frame."""
    width, height = frame_size_wh_px
    touches = (boxes[:, 2] > 0) & (boxes[:, 3] > 0) & (boxes[:, 0] < width) & (boxes[:, 1] < height)
    outside = np.flatnonzero(~touches)
    return boxes[: outside[0]] if len(outside) else boxes


def _added(
    run: _Rows,
    origin: BoxOrigin,
    *,
    frame: I64,
    boxes: F64,
    core: F64,
    landmarks: F64,
    has_landmarks: npt.NDArray[np.bool_],
    scalars: F64,
) -> _Rows:
    n = len(frame)
    return _Rows(
        frame,
        np.full(n, run.track[0]),
        boxes,
        core,
        landmarks,
        has_landmarks,
        np.full(n, int(origin)),
        scalars,
        np.full(n, -1),
    )


def _one_per_frame(margins: _Rows) -> _Rows:
    """Join margins of two runs of one track that meet in a frame: their common hull stays."""
    rows = margins.take(np.lexsort((margins.frame, margins.track)))
    keys = np.stack([rows.track, rows.frame], axis=1)
    starts = np.flatnonzero(np.append(True, np.any(np.diff(keys, axis=0) != 0, axis=1)))
    if len(rows.frame) == 0 or len(starts) == len(rows.frame):
        return rows
    return replace(
        rows.take(starts), boxes=_hulls(rows.boxes, starts), core=_hulls(rows.core, starts)
    )


def _hulls(boxes: F64, starts: npt.NDArray[np.intp]) -> F64:
    """Common hulls of consecutive groups of boxes."""
    low = np.minimum.reduceat(boxes[:, :2], starts)
    high = np.maximum.reduceat(boxes[:, 2:], starts)
    return np.concatenate([low, high], axis=1)


def _not_found_again(added: _Rows, detected: _Rows) -> _Rows:
    """Drop added boxes that lie inside a detection of the same frame: it covers them already.

    Without this a track that was cut in two would redact the first frames of its own second half,
    and a second box on a face the frames in which only the first was found.
    """
    keep = np.ones(len(added.frame), dtype=np.bool_)
    for frame in np.unique(added.frame):
        rows = np.flatnonzero(added.frame == frame)
        left = np.searchsorted(detected.frame, frame, side="left")
        right = np.searchsorted(detected.frame, frame, side="right")
        covered = covered_fraction_matrix(added.core[rows], detected.boxes[left:right])
        keep[rows] = ~np.any(covered >= COVERED_FRACTION, axis=1)
    return added.take(keep)


def _to_tracks(rows: _Rows) -> FaceTracks:
    score, eye_distance_px, blur, turn = rows.scalars.T
    return FaceTracks(
        rows.frame.astype(np.int32),
        rows.track.astype(np.int32),
        rows.boxes.astype(np.float32),
        rows.landmarks.astype(np.float32),
        rows.has_landmarks,
        rows.origin.astype(np.uint8),
        score.astype(np.float32),
        eye_distance_px.astype(np.float32),
        blur.astype(np.float32),
        turn.astype(np.float32),
    )
