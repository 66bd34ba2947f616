"""A small lake with two published clips and one refused recording, made without the pipeline."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from deid_ops.types import U8
from deid_ops.video.index import VideoIndex, read_index
from jobs.fleet.build import write_recording
from jobs.fleet.drives import FLEET
from jobs.fleet.encode import encode
from jobs.lake.commits import acquire_lease, append
from jobs.lake.tables import Lake
from schemas.columns import Column
from schemas.tables import TABLE_BY_NAME

RUN_ID = "20260302T083000Z-00000001"
FINGERPRINT = "f" * 64
NOW = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
N_FRAMES = 20
DEFAULTS = (
    (pa.types.is_string, ""),
    (pa.types.is_integer, 0),
    (pa.types.is_floating, 0.0),
    (pa.types.is_date, dt.date(2026, 3, 2)),
    (pa.types.is_timestamp, NOW),
    (pa.types.is_list, []),
    (pa.types.is_map, []),
)


def row_of(table: str, **values: Any) -> dict[str, Any]:
    """Return a row with plain values in the columns that are not given."""
    row = {c.name: _default(c) for c in TABLE_BY_NAME[table].columns if not c.nullable}
    return row | {"run_id": RUN_ID, "pipeline_fingerprint": FINGERPRINT} | values


def _default(column: Column) -> Any:
    if "sha256" in column.name:
        return "0" * 64
    if column.name in {"time_base_den", "attempt"}:
        return 1
    return next(value for matches, value in DEFAULTS if matches(column.type))


@dataclass(frozen=True)
class SmallLake:
    root: str
    run_id: str
    clips: dict[str, Path]
    sources: dict[str, Path]


def covered(frames: list[U8], box: tuple[int, int, int, int]) -> Iterator[tuple[Fraction, U8]]:
    """Yield the frames with a green rectangle over the box."""
    for number, frame in enumerate(frames):
        shown = frame.copy()
        cv2.rectangle(shown, box[:2], box[2:], (0, 255, 0), -1)
        yield Fraction(number, 20), shown


def decode(path: Path) -> list[U8]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.fixture
def small_lake(shared_small_lake: SmallLake) -> Iterator[SmallLake]:
    """The lake; whatever a test does to its files is undone afterwards."""
    files = [*shared_small_lake.sources.values(), *shared_small_lake.clips.values()]
    contents = {path: path.read_bytes() for path in files}
    yield shared_small_lake
    for path, content in contents.items():
        path.write_bytes(content)


@pytest.fixture(scope="session")
def shared_small_lake(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    tmp_path = tmp_path_factory.mktemp("small_lake")
    by_id = {r.recording_id: r for r in FLEET}
    sources, clips = {}, {}
    box = (40, 90, 140, 210)
    for name in ("d001-left", "d002-cabin"):
        recording = replace(by_id[name], n_frames=N_FRAMES)
        sources[name], clips[name] = tmp_path / f"{name}.mp4", tmp_path / f"{name}-clip.mp4"
        write_recording(sources[name], recording, seed=0)
        # The decoder gives coded frames; the second clip keeps its rotation, so turn them upright.
        turns = 1 if recording.encoding.rotation_degrees else 0
        frames = list(covered(decode(sources[name]), box))
        upright = [(t, np.ascontiguousarray(np.rot90(f, turns))) for t, f in frames]
        encode(clips[name], upright, recording.fps, recording.encoding)
    lake = Lake(str(tmp_path / "lake"))
    lake.ensure()
    lease = acquire_lease(lake, "plan", RUN_ID)
    rows = table_rows(sources, clips, box)
    for seq, (table, listed) in enumerate(rows.items(), 1):
        append(lake, lease, table, TABLE_BY_NAME[table].table(listed), seq)
    return SmallLake(lake.root, RUN_ID, clips, sources)


def table_rows(
    sources: dict[str, Path], clips: dict[str, Path], box: tuple[int, int, int, int]
) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {
        "segments": [], "tracks": [], "identity_audit": [], "quarantine": [], "runs": [],
    }  # fmt: skip
    for name, source in sources.items():
        index = read_index(str(source))
        rows["segments"].append(segment(name, source, clips[name], index))
        rows["tracks"] += [track(name, "found", box), track(name, "treated", box)]
        rows["identity_audit"].append(audit(name))
    refused = {"unit_id": "unit-broken", "recording_id": "d002-left", "reason": "truncated"}
    rows["segments"].append(row_of("segments", status="quarantined", **refused))
    rows["quarantine"].append(
        row_of("quarantine", stage="plan", detail="moov <missing>", remedy="copy again", **refused)
    )
    ended = {"status": "quarantined", "exit_code": 3, "finished_at": NOW}
    counted = {"n_planned": 3, "n_published": 2, "n_quarantined": 1}
    rows["runs"].append(
        row_of(
            "runs", plan_id="plan", command="nightly", identity_scope="drive", **ended, **counted
        )
    )
    return rows


def segment(name: str, source: Path, clip: Path, index: VideoIndex) -> dict[str, Any]:
    return row_of(
        "segments",
        unit_id=f"unit-{name}", plan_id="plan", recording_id=name, camera="left",
        source_uri=str(source), clip_uri=str(clip), clip_bytes=clip.stat().st_size,
        source_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        clip_sha256=hashlib.sha256(clip.read_bytes()).hexdigest(), pts_sha256="1" * 64,
        pts_start=int(index.pts[0]), time_base_num=1,
        time_base_den=index.facts.time_base.denominator,
        duration_s=1.0, n_frames_in=N_FRAMES, n_frames_out=N_FRAMES, n_frames_audited=N_FRAMES,
        n_frames_with_faces=N_FRAMES, n_faces=N_FRAMES, n_faces_redacted=N_FRAMES, n_tracks=1,
        face_seconds=1.0, treatment="anonymized", status="published", reason="done",
        committed_at=NOW,
    )  # fmt: skip


def track(name: str, state: str, box: tuple[int, int, int, int]) -> dict[str, Any]:
    return row_of(
        "tracks",
        unit_id=f"unit-{name}", recording_id=name, state=state, identity_scope="drive",
        person_id="p1", n_faces=N_FRAMES, n_detected=N_FRAMES - 5, n_interpolated=5,
        last_frame=N_FRAMES - 1, frame_index=list(range(N_FRAMES)),
        boxes_xyxy_px=[float(v) for v in box] * N_FRAMES, landmarks_xy_px=[0.0] * 10 * N_FRAMES,
        treatment=["redacted"] * N_FRAMES,
        reason=["no_generator"] * (N_FRAMES - 5) + ["not_detected"] * 5,
        n_redacted=N_FRAMES, score_p50=0.8, eye_distance_px_p50=30.0,
        **({"pipeline_fingerprint": None} if state == "found" else {}),
    )  # fmt: skip


def audit(name: str) -> dict[str, Any]:
    near = 0.4 if name == "d001-left" else 0.9
    return row_of(
        "identity_audit",
        unit_id=f"unit-{name}", recording_id=name, encoder="judge", n_faces=N_FRAMES,
        n_faces_judged=10, n_swapped_judged=10, others_retrieved_far_1e3=0.5,
        distance_original_min=near, distance_original_p50=near + 0.05,
        distance_negation_min=0.8, threshold_far_1e3=0.5, eye_distance_px_p50=30.0,
        landmark_drift=4.0 if name == "d001-left" else None, pose_drift_deg=1.5,
        n_retrieved_far_1e3=4 if name == "d001-left" else 0,
        n_retrieved_far_1e2=4 if name == "d001-left" else 0,
    )  # fmt: skip
