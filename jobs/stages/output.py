"""The second half of the replace pass: `compose`, `audit`, `publish`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from deid_ops.detect.faces import find_faces
from deid_ops.errors import InputError
from deid_ops.pipeline.audit import AuditModels, AuditReport, audit_segment
from deid_ops.pipeline.compose import FrameSink, RedactKey, compose_segment
from deid_ops.track.params import TrackParams
from deid_ops.track.tracker import track_faces
from deid_ops.types import BoxOrigin, Faces, FaceTracks, Reason, Treatment
from deid_ops.video.frame import Frame
from jobs.identity_rows import identity_row
from jobs.media import Media, open_media
from jobs.models import (
    audit_detect_params,
    audit_params,
    calibration_file,
    compose_params,
    decode_limits,
    judge_encoders,
    judge_shas,
    media_policy,
    own_attribute_reader,
    second_detector,
    track_params,
)
from jobs.publish import keep_refused, publish_clip
from jobs.rows import (
    Row,
    crops_from_row,
    crops_to_row,
    is_swapped,
    segment_part,
    span_from_row,
    tracks_from_row,
    tracks_to_row,
)
from jobs.sources import SourceCache
from jobs.stages.replace import DIFFUSE, SWAP
from jobs.stages.stage import Stage, StageContext
from jobs.storage import Storage, split_uri
from schemas.edges import (
    AUDIT_DONE,
    BOXES,
    COMPOSED,
    CROP_JUDGEMENT,
    CROPS,
    DIFFUSED,
    PERSONS,
    PUBLISHED,
    STAGED,
)

STAGING = "staging"
_FACES = tuple(c.name for c in BOXES + PERSONS)
_STAGED = tuple(c.name for c in STAGED)
_CROPS = tuple(c.name for c in CROPS + CROP_JUDGEMENT)


class Compose:
    """Decode, put the replacements in, encode, hold the file to the media contract, stage it."""

    def __init__(self, context: StageContext) -> None:
        config = context.config
        self._context = context
        self._sources = SourceCache(context.scratch_dir)
        self._lake = Storage(context.lake_uri)
        self._limits = decode_limits(config)
        self._policy = media_policy(config)
        self._params = compose_params(config)
        Path(context.scratch_dir).mkdir(parents=True, exist_ok=True)

    def __call__(self, row: Row) -> Row:
        """Add the `staged_*` columns."""
        source = self._sources.local(row["source_uri"], row["source_sha256"])
        media = open_media(str(source), self._limits)
        token = f"{row['unit_id']}-{uuid.uuid4().hex[:12]}"
        suffix = PurePosixPath(row["source_uri"]).suffix
        local = Path(self._context.scratch_dir) / f"{token}{suffix}"
        try:
            treatment = self._write(row, media, local)
            pts = open_media(str(local), None).pts()
            put = self._lake.put_if_absent(f"{STAGING}/{self._context.run_id}/{local.name}", local)
        finally:
            local.unlink(missing_ok=True)
        return segment_part(row) | {n: row[n] for n in (*_FACES, *_CROPS)} | {
            "staged_uri": put.uri,
            "staged_sha256": put.sha256,
            "staged_bytes": put.n_bytes,
            "clip_treatment": treatment,
            "n_frames_in": row["n_frames"],
            "n_frames_out": len(pts),
            "pts_sha256": hashlib.sha256(np.ascontiguousarray(pts, np.int64).tobytes()).hexdigest(),
            "pixels_outside_changed": 0,
        }  # fmt: skip

    def _write(self, row: Row, media: Media, out: Path) -> str:
        tracks, span = tracks_from_row(row), span_from_row(row)
        if len(tracks) == 0 and media.copy(span, out, self._policy):
            return "copied"
        key = RedactKey(
            self._context.secret_key,
            f"{row['recording_id']}/{row['segment_index']}",
            self._params.redact.steady,
        )

        def edit(frames: Iterable[Frame], sink: FrameSink) -> None:
            treatment, crops = row["box_treatment"], crops_from_row(row)
            compose_segment(frames, sink, tracks, treatment, crops, self._params, key)

        media.rewrite(span, out, self._policy, edit)
        return "anonymized"


class Audit:
    """Decode the staged clip beside its source; a missed face goes back to compose once."""

    def __init__(self, context: StageContext) -> None:
        config = context.config
        self._context, self._config = context, config
        self._sources = SourceCache(context.scratch_dir)
        self._staged = SourceCache(Path(context.scratch_dir) / "staged")
        self._limits = decode_limits(config)
        self._detector = second_detector(config)
        self._detect_params = audit_detect_params(config)
        self._judges = {name: e.embed for name, e in judge_encoders(config).items()}
        self._judge_shas = judge_shas(config)
        replacing = config.replace.generator is not None
        self._attributes = own_attribute_reader(config) if replacing else None
        self._track_params = track_params(config)
        self._compose = Compose(context)

    def __call__(self, row: Row) -> Row:
        """Add the verdict; repair once where a face was missed."""
        report = self._look(row)
        n_repairs = 0
        if len(report.missed) and self._config.audit.repair:
            n_repairs = len(report.missed)
            self._discard(row)
            row = self._compose(_with_repairs(row, report.missed, self._track_params))
            report = self._look(row)
        if len(report.missed):
            self._refuse(row, report)
        return segment_part(row) | {n: row[n] for n in (*_FACES, *_STAGED)} | {
            "verdict": "publish",
            "n_missed": 0,
            "n_repairs": n_repairs,
            "psnr_outside_db": report.psnr_outside_db,
            "n_frames_audited": report.n_frames,
            "audit_detector": self._detector.name,
            "identity_rows": [
                identity_row(
                    t,
                    report.drift.get(t.track),
                    self._judge_shas[t.encoder],
                    self._config.replace.judge_far,
                )
                for t in report.tracks
            ],
        }  # fmt: skip

    def _look(self, row: Row) -> AuditReport:
        source = self._sources.local(row["source_uri"], row["source_sha256"])
        staged = self._staged.local(row["staged_uri"], row["staged_sha256"])
        before, after = (open_media(str(p), self._limits) for p in (source, staged))
        (out_span,) = after.spans(float("inf"))
        models = AuditModels(
            lambda images: find_faces(
                images, self._detector, None, self._detect_params, row["rotation_deg"]
            ),
            self._judges,
            calibration_file(),
            self._attributes,
        )
        with before.images(span_from_row(row)) as old, after.images(out_span) as new:
            return audit_segment(
                old,
                new,
                tracks_from_row(row),
                is_swapped(row),
                _persons(row),
                models,
                audit_params(self._config),
                self._config.audit.judge_faces_per_track,
            )

    def _refuse(self, row: Row, report: AuditReport) -> None:
        staged = self._staged.local(row["staged_uri"], row["staged_sha256"])
        kept = keep_refused(
            Storage(self._context.lake_uri),
            staged,
            unit_id=row["unit_id"],
            run_id=self._context.run_id,
        )
        self._discard(row)
        frames = sorted({int(f) for f in report.missed.frame_index})
        raise InputError(
            "audit_missed_face",
            row["source_uri"],
            f"{self._detector.name} still finds {len(report.missed)} uncovered faces in "
            f"{len(frames)} frames (first: {frames[0]}); the clip is kept at {kept.uri}",
            "look at the clip and correct the boxes or the detector's threshold",
        )

    def _discard(self, row: Row) -> None:
        storage, name = split_uri(row["staged_uri"])
        storage.delete(name)


class Publish:
    """Store the audited clip under its content-derived key; its row makes it visible."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._staged = SourceCache(Path(context.scratch_dir) / "staged")
        self._lake = Storage(context.lake_uri)

    def __call__(self, row: Row) -> Row:
        """Add the `clip_*` columns."""
        staged = self._staged.local(row["staged_uri"], row["staged_sha256"])
        clip = publish_clip(
            self._lake,
            staged,
            dataset=self._context.config.dataset,
            unit_id=row["unit_id"],
            pipeline_fingerprint=self._context.pipeline_fingerprint,
            sha256=row["staged_sha256"],
        )
        storage, name = split_uri(row["staged_uri"])
        storage.delete(name)
        return row | {"clip_uri": clip.uri, "clip_sha256": clip.sha256, "clip_bytes": clip.n_bytes}


def _persons(row: Row) -> list[str]:
    """Return the person of every track; tracks added by the repair are persons of their own."""
    n_tracks = tracks_from_row(row).n_tracks
    known = list(row["track_person_id"])
    return known + [f"repaired-{t}" for t in range(len(known), n_tracks)]


def _with_repairs(row: Row, missed: Faces, params: TrackParams) -> Row:
    """Return the row with redacted boxes for missed faces, as tracks of their own.

    They are tracked, filled and extended like any other: a detector that saw a face in one frame
    of the output may see it in the next frame of the repaired one.
    """
    tracks = tracks_from_row(row)
    size_wh_px = (row["width_px"], row["height_px"])
    new = track_faces(missed, row["n_frames"], size_wh_px, params).tracks
    n, first = len(new), max(tracks.n_tracks, len(row["track_person_id"]))
    added = replace(
        new,
        track=new.track + first,
        has_landmarks=np.zeros(n, np.bool_),
        origin=np.full(n, BoxOrigin.REPAIRED, np.uint8),
    )
    names = tuple(FaceTracks.__dataclass_fields__)
    joined = [np.concatenate([getattr(tracks, k), getattr(added, k)]) for k in names]
    order = np.lexsort((joined[1], joined[0]))
    merged = FaceTracks(*(array[order] for array in joined))
    treatment = [*row["box_treatment"], *[str(Treatment.REDACTED)] * n]
    reason = [*row["box_reason"], *[str(Reason.AUDIT_REPAIR)] * n]
    crops = crops_from_row(row)
    place = np.argsort(order).astype(np.int32)  # where each old row lies now
    moved = replace(crops, row=place[crops.row])
    return row | tracks_to_row(merged) | crops_to_row(moved) | {
        "box_treatment": [treatment[i] for i in order],
        "box_reason": [reason[i] for i in order],
    }  # fmt: skip


COMPOSE = Stage("compose", Compose, DIFFUSED, COMPOSED, can_crash=True)
AUDIT = Stage("audit", Audit, COMPOSED, AUDIT_DONE, can_crash=True)
PUBLISH = Stage("publish", Publish, AUDIT_DONE, PUBLISHED)
REPLACE = (SWAP, DIFFUSE, COMPOSE, AUDIT, PUBLISH)
