"""The last look at a segment: the decoded output beside the decoded source.

A second detector, different from the first, searches every frame of the output for faces that no
treatment covers. Judges that took no part in training compare sampled faces of every track with
their originals. Fidelity is measured where nothing should have changed, and on swapped faces what
the replacement should have kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.audit import AuditParams, missed_faces
from deid_ops.judge.calibration import FARS, Calibration
from deid_ops.judge.distances import face_distances, person_centroid
from deid_ops.judge.verification import cosine_distances
from deid_ops.metrics.temporal import temporal_consistency
from deid_ops.metrics.utility import AttributeReader
from deid_ops.pipeline.drift import DriftMeter, TrackDrift
from deid_ops.pipeline.swap import EmbedFaces
from deid_ops.types import F32, I32, I64, U8, Bool, BoxOrigin, Faces, FaceTracks

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
class TrackAudit:
    """One judge on one track; distances are cosine distances of centred vectors."""

    track: int
    encoder: str
    n_faces: int
    n_faces_judged: int
    to_original: F32  # [n_faces_judged]
    to_negation: F32  # [n_faces_judged]
    matched: Mapping[float, int]  # FAR -> faces matched to the original
    matched_negation: Mapping[float, int]
    thresholds: Mapping[float, float]  # FAR -> median threshold of the judged faces
    n_rank1: int
    gallery_size: int
    consistency_original: float | None
    consistency_output: float | None
    eye_distance_px_p50: float


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
    judged = _judge(watched.pairs, tracks, person_of_track, models)
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
        self.pairs = _Pairs(tracks, models.judges)
        self.fidelity = _Fidelity(tracks, margin)
        self.drift = DriftMeter(tracks, models.attributes) if models.attributes else None
        usable = (tracks.origin == BoxOrigin.DETECTED) & tracks.has_landmarks
        self._judged = _sample_rows(tracks, usable, per_track)
        # Drawn apart from the judges' faces: a track with few swapped faces has its drift too.
        self._kept = _sample_rows(tracks, usable & swapped, per_track)

    def outputs(self, frames: Iterable[tuple[int, U8, U8]]) -> Iterator[Image]:
        """Yield the output's frames; on the way, look at the sampled faces."""
        for index, before, after in frames:
            self.n_frames += 1
            if index in self._judged:
                self.pairs.add(before, after, self._judged[index])
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
class _Pairs:
    """Judges' vectors of sampled faces before and after; they never leave this call."""

    tracks: FaceTracks
    judges: Mapping[str, EmbedFaces]
    rows: list[int] = field(default_factory=list)
    before: dict[str, list[F32]] = field(default_factory=dict)
    after: dict[str, list[F32]] = field(default_factory=dict)

    def add(self, before: U8, after: U8, rows: I32) -> None:
        points = self.tracks.landmarks_xy_px[rows]
        self.rows.extend(int(r) for r in rows)
        for name, embed in self.judges.items():
            self.before.setdefault(name, []).append(embed(before, points))
            self.after.setdefault(name, []).append(embed(after, points))


def _judge(
    pairs: _Pairs, tracks: FaceTracks, person_of_track: Sequence[str], models: AuditModels
) -> tuple[TrackAudit, ...]:
    if not pairs.rows:
        return ()
    rows = np.array(pairs.rows)
    track_of = tracks.track[rows]
    person_of = np.array([person_of_track[t] for t in track_of])
    people = sorted(set(person_of.tolist()))
    audits = []
    for name in models.judges:
        centred = models.calibration.centred
        before = centred(name, np.concatenate(pairs.before[name]))
        after = centred(name, np.concatenate(pairs.after[name]))
        gallery = np.stack([person_centroid(before[person_of == p]) for p in people])
        nearest = cosine_distances(after, gallery).argmin(axis=1)
        right = np.array([people[i] for i in nearest]) == person_of
        for track in np.unique(track_of):
            here = track_of == track
            audits.append(
                _track_audit(int(track), name, tracks, rows[here], before[here], after[here],
                             int(right[here].sum()), len(people), models.calibration)
            )  # fmt: skip
    return tuple(audits)


def _track_audit(
    track: int,
    encoder: str,
    tracks: FaceTracks,
    rows: I64,
    before: F32,
    after: F32,
    n_rank1: int,
    gallery_size: int,
    calibration: Calibration,
) -> TrackAudit:
    eyes_px = tracks.eye_distance_px[rows]
    matched, matched_negation, thresholds = {}, {}, {}
    for far in FARS:
        limits = calibration.thresholds(encoder, eyes_px, far)
        judged = face_distances(before, after, limits)
        matched[far] = int(judged.matches_original.sum())
        matched_negation[far] = int(judged.matches_negation.sum())
        thresholds[far] = float(np.median(limits))
    consistency = [temporal_consistency(v) for v in (before, after)]
    return TrackAudit(
        track=track,
        encoder=encoder,
        n_faces=int((tracks.track == track).sum()),
        n_faces_judged=len(rows),
        to_original=judged.to_original,
        to_negation=judged.to_negation,
        matched=matched,
        matched_negation=matched_negation,
        thresholds=thresholds,
        n_rank1=n_rank1,
        gallery_size=gallery_size,
        consistency_original=None if consistency[0] is None else consistency[0].all_pairs_mean,
        consistency_output=None if consistency[1] is None else consistency[1].all_pairs_mean,
        eye_distance_px_p50=float(np.median(eyes_px)),
    )


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
