"""What linking needs to know of a track: when, where at the ends of its segment, and whose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.track.motion import extrapolate
from deid_ops.types import F32, BoxOrigin, FaceTracks

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

FIT_DETECTIONS = 5
EYE_DISTANCE_FULL_WEIGHT_PX = 40.0


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """Where a segment lies in its recording.

    Attributes:
        stream_id: the recording's video stream: two tracks of one stream cannot be one person
            while both are seen.
        segment_index: position of the segment, to tell tracks of the same number apart.
        start_frame: frames of the recording before the segment. Continuation over borders and
            person ids are made from it, so both survive another cut into segments.
        n_frames: frames of the segment.
    """

    stream_id: str
    segment_index: int
    start_frame: int
    n_frames: int


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One track of one segment. Holds biometric data: memory only.

    Attributes:
        place: the segment.
        track: number within the segment.
        frames: `[k]` frames of the segment with a detection, ascending.
        first_box_xyxy_px: box of the first detection.
        entry_box_xyxy_px: where the face would be in the segment's first frame.
        exit_box_xyxy_px: where the face would be one frame after the segment's last.
        embedding: `[d]` unit vector; zeros if none.
        weight: trust in the embedding, the sum over its faces; 0 if none.
        quality: weight of its best face; embeddings of poor faces resemble each other.
        guard_vector: `[g]` mean of a judge's vectors; zeros if none.
    """

    place: SegmentPlace
    track: int
    frames: I64
    first_box_xyxy_px: F64
    entry_box_xyxy_px: F64
    exit_box_xyxy_px: F64
    embedding: F64
    weight: float
    quality: float
    guard_vector: F64 = field(default_factory=lambda: np.zeros(0))

    @property
    def first_frame(self) -> int:
        """Frame of the recording in which the face is first detected."""
        return self.place.start_frame + int(self.frames[0])

    @property
    def last_frame(self) -> int:
        """Frame of the recording in which the face is last detected."""
        return self.place.start_frame + int(self.frames[-1])


def summarize_tracks(
    tracks: FaceTracks,
    embedding: F32,
    has_embedding: npt.NDArray[Any],
    place: SegmentPlace,
    guard_vector: F32 | None = None,
) -> list[TrackSummary]:
    """Summarize every track of a segment, in order of the track numbers.

    Args:
        tracks: all boxes of the segment.
        embedding: `[t, d]` unit vectors, see `TrackResult`.
        has_embedding: `[t]`.
        place: where the segment lies.
        guard_vector: `[t, g]`, see `TrackResult`; None for none.

    Raises:
        InvariantError: a track without a detection, or embeddings for another number of tracks.
    """
    if len(embedding) != tracks.n_tracks:
        raise InvariantError(f"{len(embedding)} track embeddings for {tracks.n_tracks} tracks")
    detected = tracks.take(tracks.origin == BoxOrigin.DETECTED)
    weights = _weights(detected)
    summaries = []
    for track in range(tracks.n_tracks):
        rows = np.flatnonzero(detected.track == track)
        if len(rows) == 0:
            raise InvariantError(f"track {track} has no detection")
        frames = detected.frame_index[rows].astype(np.int64)
        boxes = detected.boxes_xyxy_px[rows].astype(np.float64)
        head, tail = slice(None, FIT_DETECTIONS), slice(-FIT_DETECTIONS, None)
        known = bool(has_embedding[track])
        summaries.append(
            TrackSummary(
                place,
                track,
                frames,
                boxes[0],
                extrapolate(frames[head], boxes[head], np.array([0]))[0],
                extrapolate(frames[tail], boxes[tail], np.array([place.n_frames]))[0],
                np.where(known, embedding[track], 0.0).astype(np.float64),
                float(weights[rows].sum()) if known else 0.0,
                float(weights[rows].max()) if known else 0.0,
                np.zeros(0) if guard_vector is None else guard_vector[track].astype(np.float64),
            )
        )
    return summaries


def _weights(tracks: FaceTracks) -> F64:
    """Quality of each box, as the tracker weighs embeddings."""
    size = np.clip(tracks.eye_distance_px / EYE_DISTANCE_FULL_WEIGHT_PX, 0.1, 1.0)
    sharp = np.clip(1.0 - tracks.blur, 0.05, 1.0) * np.clip(1.0 - tracks.turn, 0.05, 1.0)
    return np.asarray(np.clip(tracks.score, 0.01, 1.0) * sharp * size, dtype=np.float64)
