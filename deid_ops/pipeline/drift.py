"""What the published faces of a track kept besides the identity: pose, gaze, expression, landmarks.

Convention
    Both crops of a face are cut with one matrix, that of the source's landmarks, so a face that
    moved in the frame has moved in the crop. Units are those of `AttributeDrift`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from deid_ops.metrics.utility import (
    READER_SIZE_PX,
    AttributeDrift,
    AttributeReader,
    attribute_drift,
)
from deid_ops.swap.crop import EYE_DISTANCE_PX, crop_matrices, warp_crop
from deid_ops.types import I32, U8, FaceTracks

_BATCH_FACES = 32  # 12 MB of crops


@dataclass(frozen=True, slots=True)
class TrackDrift:
    """Means of `AttributeDrift` over the faces of one track that were readable on both sides."""

    landmark_shift_percent: float
    pose_deg: float
    gaze_deg: float
    expression: float


@dataclass
class DriftMeter:
    """Reads faces of source and output in batches; only differences outlive a batch."""

    tracks: FaceTracks
    reader: AttributeReader
    _track: list[int] = field(default_factory=list)
    _before: list[U8] = field(default_factory=list)
    _after: list[U8] = field(default_factory=list)
    _read: list[AttributeDrift] = field(default_factory=list)

    def add(self, before: U8, after: U8, rows: I32) -> None:
        """Take the faces of one frame.

        Args:
            before: [h, w, 3] BGR of the source.
            after: the same frame of the output.
            rows: [k] rows of `tracks` in this frame; all have landmarks.
        """
        matrices = crop_matrices(self.tracks.landmarks_xy_px[rows])
        for row, matrix in zip(rows, matrices, strict=True):
            self._track.append(int(self.tracks.track[row]))
            self._before.append(warp_crop(before, matrix, READER_SIZE_PX))
            self._after.append(warp_crop(after, matrix, READER_SIZE_PX))
        if len(self._before) >= _BATCH_FACES:
            self._flush()

    def by_track(self) -> dict[int, TrackDrift]:
        """Return the means of every track with a face that was readable on both sides."""
        self._flush()
        if not self._read:
            return {}
        readable = np.concatenate([d.readable for d in self._read])
        track = np.array(self._track)

        def mean(name: str, chosen: int) -> float:
            values = np.concatenate([getattr(d, name) for d in self._read])
            return float(values[readable & (track == chosen)].mean())

        return {
            int(t): TrackDrift(*(mean(name, int(t)) for name in TrackDrift.__dataclass_fields__))
            for t in np.unique(track[readable])
        }

    def _flush(self) -> None:
        if not self._before:
            return
        before, after = (self.reader.read(np.stack(c)) for c in (self._before, self._after))
        self._read.append(attribute_drift(before, after, EYE_DISTANCE_PX))
        self._before, self._after = [], []
