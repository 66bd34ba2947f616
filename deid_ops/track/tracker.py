"""Boxes of a segment become tracks: forward and backward pass, merge, gap fill, margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.track.gaps import fill_tracks
from deid_ops.track.merge import merge_passes
from deid_ops.track.params import TrackParams
from deid_ops.track.passes import embedding_weights, run_pass
from deid_ops.types import F32, I32, Bool, Faces, FaceTracks, frozen_array


@dataclass(frozen=True, slots=True)
class TrackResult:
    """Tracks of one segment with their identity vectors, which exist in memory only.

    Attributes:
        tracks: all boxes; each detection is exactly one row with `origin == DETECTED`.
        embedding: `[t, d]` quality-weighted mean of each track, unit length; zeros if none.
        has_embedding: `[t]`.
        guard_vector: `[t, g]` quality-weighted mean of the guard's vectors; zeros if none.
        row_of_face: `[n]` row of each detection within `tracks`.
    """

    tracks: FaceTracks
    embedding: F32
    has_embedding: Bool
    guard_vector: F32
    row_of_face: I32


def track_faces(
    faces: Faces, n_frames: int, frame_size_wh_px: tuple[int, int], params: TrackParams
) -> TrackResult:
    """Group the detections of a segment into tracks and fill what the detector missed.

    Boxes only accrue: every detection is one row of the result, unchanged. Two detections of one
    frame are never in the same track. Tracks are numbered by their first detection.

    Args:
        faces: detections, sorted by frame.
        n_frames: frames of the segment.
        frame_size_wh_px: width and height of the coded frame.
        params: thresholds and margins.

    Raises:
        InvariantError: a detection lies outside `0..n_frames-1`, or a box got lost.

    Example:
        >>> track_faces(Faces.empty(128), 10, (64, 48), TrackParams()).tracks.n_tracks
        0
    """
    dim = faces.embedding.shape[1]
    if len(faces) == 0:
        none = np.zeros(0)
        guard_vector = np.zeros((0, faces.guard_vector.shape[1]))
        return _result(FaceTracks.empty(), np.zeros((0, dim)), none, guard_vector, none)
    if faces.frame_index[0] < 0 or faces.frame_index[-1] >= n_frames:
        raise InvariantError(
            f"track_faces: frames {faces.frame_index[0]}..{faces.frame_index[-1]} of a segment "
            f"of {n_frames} frames"
        )
    weights = embedding_weights(faces)
    weighted = faces.embedding.astype(np.float64) * weights[:, None]
    forward = run_pass(faces, weights, params, backward=False)
    backward = run_pass(faces, weights, params, backward=True)
    trusted = np.where((weights >= params.embedding_weight_min)[:, None], weighted, 0.0)
    labels = merge_passes(forward, backward, faces.frame_index, trusted, params.overlap_distance)
    tracks, row_of_face = fill_tracks(faces, labels, n_frames, frame_size_wh_px, params)
    _check_nothing_lost(faces, tracks, row_of_face)

    total = _sums(weighted, labels)
    norm = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.divide(total, norm, out=np.zeros_like(total), where=norm > 1e-9)
    guard_vector = _guard_means(faces.guard_vector, weights, labels)
    return _result(tracks, unit, norm[:, 0] > 1e-9, guard_vector, row_of_face)


def _sums(values: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the sum of the rows `[n, k]` of each label."""
    total = np.zeros((int(labels.max()) + 1, values.shape[1]))
    np.add.at(total, labels, values)
    return total


def _guard_means(
    vectors: F32, weights: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return each track's weighted mean of the guard's vectors, over the faces that have one."""
    weight = np.where(vectors.any(axis=1), weights, 0.0)[:, None]
    total, weight_sum = (_sums(v, labels) for v in (vectors * weight, weight))
    return np.divide(total, weight_sum, out=np.zeros_like(total), where=weight_sum > 1e-9)


def _result(
    tracks: FaceTracks,
    embedding: npt.NDArray[np.float64],
    has_embedding: npt.NDArray[np.generic],
    guard_vector: npt.NDArray[np.float64],
    row_of_face: npt.NDArray[np.generic],
) -> TrackResult:
    t, dim = embedding.shape
    return TrackResult(
        tracks,
        frozen_array(embedding, np.float32, (t, dim), "track embedding"),
        frozen_array(has_embedding, np.bool_, (t,), "track has_embedding"),
        frozen_array(guard_vector, np.float32, guard_vector.shape, "track guard_vector"),
        frozen_array(row_of_face, np.int32, (len(row_of_face),), "row_of_face"),
    )


def _check_nothing_lost(
    faces: Faces, tracks: FaceTracks, row_of_face: npt.NDArray[np.int64]
) -> None:
    kept = tracks.take(row_of_face)
    same = (
        len(np.unique(row_of_face)) == len(faces) == int((tracks.origin == 0).sum())
        and np.array_equal(kept.frame_index, faces.frame_index)
        and np.array_equal(kept.boxes_xyxy_px, faces.boxes_xyxy_px)
    )
    if not same:
        raise InvariantError("track_faces: a detection was lost or changed")
