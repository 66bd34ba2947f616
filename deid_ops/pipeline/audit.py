"""The last look at a segment: the decoded output beside the decoded source.

A second detector, different from the first, searches every frame of the output for faces that no
treatment covers. Judges that took no part in training compare sampled faces of every track with
their originals. Fidelity is measured where nothing should have changed, and on swapped faces what
the replacement should have kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.audit import AuditParams, missed_faces
from deid_ops.judge.calibration import Calibration
from deid_ops.metrics.utility import AttributeReader
from deid_ops.pipeline.drift import DriftMeter, TrackDrift
from deid_ops.pipeline.judging import JudgedFaces, TrackAudit
from deid_ops.pipeline.swap import EmbedFaces
from deid_ops.types import I32, U8, Bool, BoxOrigin, Faces, FaceTracks

Image = tuple[int, U8]

#: frames of the output, in order -> the faces in all of them
FindFaces = Callable[[Iterable[Image]], Faces]
PSNR_EVERY_N_FRAMES = 10


@dataclass(frozen=True)
class AuditModels:
    """Second detector, judges, and what reads pose, gaze, expression and landmarks."""

    find: FindFaces
    judges: Mapping[str, EmbedFaces]
    calibration: Calibration
    attributes: AttributeReader | None  # None: drift is not measured


@dataclass(frozen=True)
class AuditReport:
    """What the audit found."""

    n_frames: int
    missed: Faces  # faces of the output that no treatment covers
    tracks: tuple[TrackAudit, ...]
    drift: Mapping[int, TrackDrift]  # track -> drift of its swapped faces; others are missing
    psnr_outside_db: float | None  # None where the output equals the source there


def audit_segment(
    source: Iterable[Image],
    output: Iterable[Image],
    tracks: FaceTracks,
    swapped: Bool,
    person_of_track: Sequence[str],
    models: AuditModels,
    params: AuditParams,
    faces_per_track: int,
) -> AuditReport:
    """Audit one segment.

    Args:
        source: `(frame index, BGR)` of the original, in order.
        output: the same of the encoded output.
        tracks: every treated box.
        swapped: [n] boxes that show a replacement; drift of a redacted face means nothing.
        person_of_track: [t] person of each track, for rank 1 among the people in view.
        models: second detector, judges, thresholds, attribute reader.
        params: when a detection counts as missed.
        faces_per_track: faces compared with their originals, spread over each track.

    Raises:
        InvariantError: source and output do not have the same frames.
    """
    watched = _Watch(tracks, swapped, models, params.mask_margin, faces_per_track)
    detections = models.find(watched.outputs(_aligned(zip(source, output, strict=True))))
    missed = detections.take(missed_faces(detections, tracks, params))
    judged = watched.judged.by_track(person_of_track, models.calibration)
    drift = watched.drift.by_track() if watched.drift else {}
    return AuditReport(watched.n_frames, missed, judged, drift, watched.fidelity.psnr_db())


class _Watch:
    """Hands the output's frames on to the detector and measures them beside the source's."""

    def __init__(
        self,
        tracks: FaceTracks,
        swapped: Bool,
        models: AuditModels,
        margin: float,
        per_track: int,
    ) -> None:
        self.n_frames = 0
        self.judged = JudgedFaces(tracks, swapped, models.judges)
        self.fidelity = _Fidelity(tracks, margin)
        self.drift = DriftMeter(tracks, models.attributes) if models.attributes else None
        usable = (tracks.origin == BoxOrigin.DETECTED) & tracks.has_landmarks
        self._to_judge = _sample_rows(tracks, usable, per_track)
        # Drawn apart from the judges' faces: a track with few swapped faces has its drift too.
        self._kept = _sample_rows(tracks, usable & swapped, per_track)

    def outputs(self, frames: Iterable[tuple[int, U8, U8]]) -> Iterator[Image]:
        """Yield the output's frames; on the way, look at the sampled faces."""
        for index, before, after in frames:
            self.n_frames += 1
            if index in self._to_judge:
                self.judged.add(before, after, self._to_judge[index])
            if self.drift and index in self._kept:
                self.drift.add(before, after, self._kept[index])
            if index % PSNR_EVERY_N_FRAMES == 0:
                self.fidelity.add(index, before, after)
            yield index, after


def _aligned(both: Iterable[tuple[Image, Image]]) -> Iterator[tuple[int, U8, U8]]:
    try:
        for (index, before), (other, after) in both:
            if index != other or before.shape != after.shape:
                raise InvariantError(
                    f"audit: frame {index} {before.shape} beside frame {other} {after.shape}"
                )
            yield index, before, after
    except ValueError as error:  # zip(strict=True)
        raise InvariantError(f"audit: source and output differ in length: {error}") from error


def _sample_rows(tracks: FaceTracks, usable: Bool, per_track: int) -> dict[int, I32]:
    """Return frame -> rows among the `[n]` usable ones, spread evenly over each track."""
    chosen: list[int] = []
    for track in range(tracks.n_tracks):
        rows = np.flatnonzero(usable & (tracks.track == track))
        if len(rows) > per_track:
            rows = rows[np.linspace(0, len(rows) - 1, per_track).round().astype(int)]
        chosen.extend(int(r) for r in rows)
    by_frame: dict[int, list[int]] = {}
    for row in sorted(chosen):
        by_frame.setdefault(int(tracks.frame_index[row]), []).append(row)
    return {frame: np.array(rows, dtype=np.int32) for frame, rows in by_frame.items()}


@dataclass
class _Fidelity:
    """Squared error outside the treated boxes."""

    tracks: FaceTracks
    margin: float
    squared: float = 0.0
    samples: int = 0

    def add(self, index: int, before: U8, after: U8) -> None:
        outside = np.ones(before.shape[:2], dtype=np.bool_)
        for x0, y0, x1, y1 in self.tracks.boxes_xyxy_px[self.tracks.frame_index == index]:
            grow_x, grow_y = (self.margin + 0.1) * (x1 - x0), (self.margin + 0.1) * (y1 - y0)
            top, left = max(0, int(y0 - grow_y) - 2), max(0, int(x0 - grow_x) - 2)
            outside[top : int(y1 + grow_y) + 3, left : int(x1 + grow_x) + 3] = False
        difference = before[outside].astype(np.int32) - after[outside]
        self.squared += float((difference * difference).sum())
        self.samples += difference.size

    def psnr_db(self) -> float | None:
        if self.samples == 0 or self.squared == 0:
            return None
        return float(10 * np.log10(255.0**2 * self.samples / self.squared))
