"""From stage rows to table rows: what the driver commits.

Only here is it said which column of a table comes from where.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.types import BoxOrigin, FaceTracks, Treatment
from jobs.rows import Row, further_anchors, is_swapped, shown_anchor, tracks_from_row

_WHERE = ("recording_id", "drive_id", "drive_date", "fleet", "vehicle_id", "camera")

#: Columns of `tracks` with values for every box, by the name they have in `FaceTracks`.
_TRACK_ARRAYS = (
    "frame_index", "boxes_xyxy_px", "landmarks_xy_px", "has_landmarks", "origin", "score",
    "eye_distance_px", "blur", "turn",
)  # fmt: skip

#: Stages that hold a GPU where the pools ask for one.
GPU_STAGES = ("detect", "swap", "trial", "diffuse", "audit")


@dataclass(frozen=True)
class RunFacts:
    """What every committed row of a run says about the run."""

    run_id: str
    plan_id: str
    find_fingerprint: str
    pipeline_fingerprint: str
    code_version: str
    config_sha256: str
    weights: Mapping[str, str]
    providers: str
    key_id: str
    identity_scope: str
    host: str
    has_gpu: bool

    @property
    def weights_json(self) -> str:
        """Weight names and checksums as JSON."""
        return json.dumps(dict(self.weights), sort_keys=True)


def segment_record(row: Row, run: RunFacts, started_at: dt.datetime) -> Row:
    """Return the `segments` row of a published or quarantined unit."""
    seconds = dict(row["stage_seconds"])
    published = row["status"] == "ok" and row.get("verdict") == "publish"
    counts = _face_counts(row, published)
    return {name: row[name] for name in _WHERE} | counts | {
        "unit_id": row["unit_id"],
        "pipeline_fingerprint": run.pipeline_fingerprint,
        "find_fingerprint": run.find_fingerprint,
        "run_id": run.run_id,
        "plan_id": run.plan_id,
        "source_uri": row["source_uri"],
        "source_sha256": row["source_sha256"],
        "source_etag": None if row["source_sha256"] else row["source_version"],
        "stream_index": max(0, row.get("stream_index", 0)),
        "pts_start": row.get("pts_start", 0),
        "pts_end": row["pts_end"],
        "time_base_num": row.get("time_base_num", 0),
        "time_base_den": max(1, row.get("time_base_den", 1)),
        "duration_s": row.get("duration_s", 0.0),
        "codec": row.get("codec") or None,
        "width_px": row.get("width_px") or None,
        "height_px": row.get("height_px") or None,
        "n_frames_in": row["n_frames_in"] if published else 0,
        "n_frames_out": row["n_frames_out"] if published else 0,
        "n_frames_audited": row["n_frames_audited"] if published else 0,
        "treatment": row["clip_treatment"] if published else None,
        "status": "published" if published else "quarantined",
        "reason": _reason(row, published),
        "attempt": row["attempt"],
        "clip_uri": row["clip_uri"] if published else None,
        "clip_sha256": row["clip_sha256"] if published else None,
        "clip_bytes": row["clip_bytes"] if published else None,
        "pts_sha256": row["pts_sha256"] if published else None,
        "code_version": run.code_version,
        "config_sha256": run.config_sha256,
        "weights_json": run.weights_json,
        "providers": run.providers,
        "key_id": run.key_id,
        "audit_detector": (row.get("audit_detector") or None) if published else None,
        "audit_faces_missed": row.get("n_missed", 0) or 0,
        "audit_repairs": row.get("n_repairs", 0) or 0,
        "psnr_outside_db": row.get("psnr_outside_db"),
        "compute_s": float(sum(seconds.values())),
        "gpu_s": float(sum(seconds.get(s, 0.0) for s in GPU_STAGES)) if run.has_gpu else 0.0,
        "stage_s": list(seconds.items()),
        "host": run.host,
        "started_at": started_at,
        "committed_at": _now(),
    }  # fmt: skip


def quarantine_record(row: Row, run: RunFacts) -> Row:
    """Return the `quarantine` row of a refused unit."""
    return {name: row[name] for name in _WHERE} | {
        "unit_id": row["unit_id"],
        "pipeline_fingerprint": run.pipeline_fingerprint,
        "run_id": run.run_id,
        "source_uri": row["source_uri"],
        "stage": row.get("refused_by") or "plan",
        "reason": row["reason"],
        "detail": row["detail"],
        "remedy": row["remedy"],
        "attempt": row["attempt"],
        "output_uri": None,
        "committed_at": _now(),
    }


def track_records(row: Row, run: RunFacts, state: str) -> Iterator[Row]:
    """Yield a `tracks` row per track; `state` is `found` or `treated`."""
    tracks = tracks_from_row(row)
    seconds_per_frame = row["duration_s"] / max(1, row["n_frames"])
    treatments, reasons = np.array(row["box_treatment"]), np.array(row["box_reason"])
    for track in range(tracks.n_tracks):
        rows = np.flatnonzero(tracks.track == track)
        part = tracks.take(rows)
        # A repaired box belongs to a track of its own that no person was linked to.
        linked = track < len(row["track_person_id"])
        anchor = shown_anchor(row, track) if linked else -1
        yield {name: row[name] for name in _WHERE} | track_row_of(part, run) | {
            "unit_id": row["unit_id"],
            "track": track,
            "state": state,
            "pipeline_fingerprint": run.pipeline_fingerprint if state == "treated" else None,
            "person_id": row["track_person_id"][track] if linked else "",
            "anchor_id": str(anchor) if anchor >= 0 else "",
            **_anchor_facts(row, track if linked else None),
            "face_seconds": float(len(part) * seconds_per_frame),
            "treatment": treatments[rows].tolist(),
            "reason": reasons[rows].tolist(),
            "n_swapped": int((treatments[rows] == Treatment.SWAPPED).sum()),
            "n_redacted": int((treatments[rows] == Treatment.REDACTED).sum()),
        }  # fmt: skip


def track_row_of(part: FaceTracks, run: RunFacts) -> Row:
    """Return the columns of a `tracks` row that follow from the run and the boxes alone."""
    some = len(part) > 0
    flat = {name: np.asarray(getattr(part, name)) for name in _TRACK_ARRAYS}
    return {name: array.reshape(-1).tolist() for name, array in flat.items()} | {
        "find_fingerprint": run.find_fingerprint,
        "run_id": run.run_id,
        "identity_scope": run.identity_scope,
        "key_id": run.key_id,
        "first_frame": int(part.frame_index[0]) if some else 0,
        "last_frame": int(part.frame_index[-1]) if some else 0,
        "n_faces": len(part),
        "n_detected": _n_of(part, BoxOrigin.DETECTED),
        "n_interpolated": _n_of(part, BoxOrigin.INTERPOLATED),
        "n_extended": _n_of(part, BoxOrigin.EXTENDED),
        "n_repaired": _n_of(part, BoxOrigin.REPAIRED),
        "n_swapped": 0,
        "n_redacted": 0,
        "eye_distance_px_p50": float(np.median(part.eye_distance_px)) if some else None,
        "score_p50": _median_detected(part),
        "committed_at": _now(),
    }


def no_faces_record(row: Row, run: RunFacts) -> Row:
    """Return the `tracks` row that says the find pass saw no face in a unit: `track` is -1."""
    empty = track_row_of(FaceTracks.empty(), run)
    return {name: row[name] for name in _WHERE} | empty | {
        "unit_id": row["unit_id"],
        "track": -1,
        "state": "found",
        "pipeline_fingerprint": None,
        "person_id": "",
        "anchor_id": "",
        "anchor_distance": None,
        "other_anchor_ids": [],
        "face_seconds": 0.0,
        "treatment": [],
        "reason": [],
    }  # fmt: skip


def linked_row(planned: Row, found: Sequence[Row]) -> Row:
    """Return the row of edge `linked` from a planned row and its `tracks` rows (state `found`)."""
    found = sorted(found, key=lambda r: r["track"])
    if [r["track"] for r in found] != list(range(len(found))):
        raise InvariantError(
            f"unit {planned['unit_id']}: the lake holds tracks {[r['track'] for r in found]}"
        )
    parts = {name: np.concatenate([np.asarray(r[name]) for r in found]) if found else np.zeros(0)
             for name in _TRACK_ARRAYS}  # fmt: skip
    counts = [len(r["frame_index"]) for r in found]
    parts["track"] = np.repeat(np.arange(len(found)), counts)
    # Rows of a segment are sorted by frame, then track; those of the table by track, then frame.
    order = np.lexsort((parts["track"], parts["frame_index"]))
    boxes = {f"box_{name}": _rows_of(array, len(order))[order] for name, array in parts.items()}
    treatments = [t for r in found for t in r["treatment"]]
    reasons = [t for r in found for t in r["reason"]]
    return planned | boxes | {
        "track_person_id": [r["person_id"] for r in found],
        "track_anchor_id": np.array([int(r["anchor_id"] or -1) for r in found], np.int32),
        "track_other_anchor_ids": np.array(
            [a for r in found for a in r["other_anchor_ids"]], np.int32
        ),
        "track_anchor_number": np.zeros(len(found), np.int32),
        "track_anchor_distance": np.array(
            [-1.0 if r["anchor_distance"] is None else r["anchor_distance"] for r in found],
            np.float32,
        ),
        "box_treatment": [treatments[i] for i in order],
        "box_reason": [reasons[i] for i in order],
    }  # fmt: skip


def identity_records(row: Row, run: RunFacts) -> Iterator[Row]:
    """Yield the `identity_audit` rows of a published unit."""
    for judged in row["identity_rows"]:
        track = judged["track"]
        anchor = shown_anchor(row, track)
        yield {name: row[name] for name in _WHERE} | judged | {
            "unit_id": row["unit_id"],
            "pipeline_fingerprint": run.pipeline_fingerprint,
            "run_id": run.run_id,
            "person_id": row["track_person_id"][track],
            "anchor_id": str(anchor) if anchor >= 0 else "",
            "committed_at": _now(),
        }  # fmt: skip


def _anchor_facts(row: Row, track: int | None) -> Row:
    if track is None:
        return {"anchor_distance": None, "other_anchor_ids": []}
    distance = float(row["track_anchor_distance"][track])
    of_shown = distance >= 0 and row["track_anchor_number"][track] == 0
    return {
        "anchor_distance": distance if of_shown else None,
        "other_anchor_ids": further_anchors(row)[track].tolist(),
    }


def _rows_of(array: np.ndarray, n: int) -> np.ndarray:
    return array.reshape(n, -1) if len(array) != n else array


def _reason(row: Row, published: bool) -> str:
    if not published:
        return str(row["reason"])
    return "no_faces" if len(row["box_frame_index"]) == 0 else "done"


def _face_counts(row: Row, published: bool) -> Row:
    if not published:
        names = ("n_frames_with_faces", "n_tracks", "n_faces", "n_faces_swapped")
        zero: Row = dict.fromkeys((*names, "n_faces_redacted"), 0)
        return zero | {"face_seconds": 0.0}
    treatments = row["box_treatment"]
    n_faces = len(row["box_frame_index"])
    return {
        "n_frames_with_faces": len(np.unique(row["box_frame_index"])),
        "n_tracks": len(np.unique(row["box_track"])),
        "n_faces": n_faces,
        "n_faces_swapped": int(is_swapped(row).sum()),
        "n_faces_redacted": sum(t == Treatment.REDACTED for t in treatments),
        "face_seconds": float(n_faces * row["duration_s"] / max(1, row["n_frames"])),
    }


def _n_of(part: FaceTracks, origin: BoxOrigin) -> int:
    return int((part.origin == origin).sum())


def _median_detected(part: FaceTracks) -> float | None:
    detected = part.score[part.origin == BoxOrigin.DETECTED]
    return float(np.median(detected)) if len(detected) else None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
