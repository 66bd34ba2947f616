"""`deid run`: loose files in, anonymized files of the same name out, a sidecar beside each.

The same stages as the nightly job, inline, without manifest or lake.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deid_ops.errors import InputError, SetupError
from jobs.config import JobConfig
from jobs.fingerprint import digest, pipeline_fingerprint
from jobs.linking import link_wave
from jobs.models import weights_in_use
from jobs.plan import plan_recording
from jobs.rows import Row, is_swapped, shown_anchor, tracks_from_row
from jobs.runners import InlineRunner
from jobs.sources import SourceCache
from jobs.stages.find import FIND
from jobs.stages.output import AUDIT, COMPOSE
from jobs.stages.replace import DIFFUSE, SWAP
from jobs.stages.stage import StageContext
from jobs.storage import split_uri

SIDECAR_VERSION = 1
_TO_AUDIT = (SWAP, DIFFUSE, COMPOSE, AUDIT)


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    source: Path
    output: Path | None
    n_frames: int
    n_faces: int
    n_swapped: int
    reason: str  # empty when written
    message: str


@dataclass(frozen=True)
class Timed:
    """An audited row with its stage times, and how long loading the models took."""

    row: Row
    load_s: float


def run_files(
    files: Sequence[Path], out: Path, config: JobConfig, secret_key: bytes
) -> Iterator[Outcome]:
    """Anonymize files one after another; yields an outcome for each, also for refused ones.

    Raises:
        SetupError: two files have one name, or a file lies in the output folder.
    """
    _refuse_clashes(files, out)
    with _context(out, config, secret_key) as context:
        runner = InlineRunner(context)
        for file in files:
            yield _one(file, out, context, runner)


def run_timed(file: Path, out: Path, config: JobConfig, secret_key: bytes) -> Timed:
    """Treat one file and return its audited row; nothing is kept.

    Raises:
        SetupError: the file was refused.
    """
    with _context(out, config, secret_key) as context:
        runner = InlineRunner(context)
        started = time.perf_counter()
        runner.load((*FIND, *_TO_AUDIT))
        load_s = time.perf_counter() - started
        row = _treated(file, context, runner)
    if row["status"] != "ok":
        raise SetupError(f"{file}: {row['reason']}: {row['detail']}")
    return Timed(row, load_s)


@contextmanager
def _context(out: Path, config: JobConfig, secret_key: bytes) -> Iterator[StageContext]:
    """Give a context whose one segment is the whole file, with a work folder inside `out`."""
    out.mkdir(parents=True, exist_ok=True)
    whole = config.model_copy(
        update={"video": config.video.model_copy(update={"max_segment_s": float("inf")})}
    )
    fingerprint = pipeline_fingerprint(whole, weights_in_use(whole), secret_key)
    with tempfile.TemporaryDirectory(prefix=".deid-", dir=out) as work:
        yield StageContext(whole, work, "loose", secret_key, work, fingerprint)


def _treated(file: Path, context: StageContext, runner: InlineRunner) -> Row:
    row = _planned(file, context)
    if row["status"] == "ok":
        (row,) = runner.map([row], FIND)
    if row["status"] == "ok":
        (linked,) = link_wave([row], context.config, context.secret_key)
        (row,) = runner.map([linked], _TO_AUDIT)
    return row


def _one(file: Path, out: Path, context: StageContext, runner: InlineRunner) -> Outcome:
    row = _treated(file, context, runner)
    if row["status"] != "ok":
        error = InputError(row["reason"], str(file), row["detail"], row["remedy"])
        return Outcome(file, None, 0, 0, 0, row["reason"], str(error))
    target = out / file.name
    storage, name = split_uri(row["staged_uri"])
    staged = storage.local_path(name)
    if staged is None:
        raise SetupError(f"{out}: deid run writes to local folders only")
    shutil.move(staged, target)
    write_sidecar(row, file, target)
    swapped = is_swapped(row)
    return Outcome(file, target, row["n_frames_out"], len(swapped), int(swapped.sum()), "", "")


def _planned(file: Path, context: StageContext) -> Row:
    recording: Row = {
        "recording_id": digest(str(file.resolve()), length=16),
        "uri": str(file.resolve()),
        "drive_id": file.stem,
        "drive_date": dt.date(1970, 1, 1),
        "vehicle_id": "",
        "fleet": "",
        "camera": file.stem,
        "sha256": None,
    }
    (row,) = plan_recording(recording, context.config, SourceCache(context.scratch_dir))
    return row | {"plan_id": "loose"}


def _refuse_clashes(files: Sequence[Path], out: Path) -> None:
    seen: dict[str, Path] = {}
    for file in files:
        if file.name in seen:
            raise SetupError(f"{seen[file.name]} and {file} would both become {out / file.name}")
        seen[file.name] = file
        if file.resolve().parent == out.resolve():
            raise SetupError(f"{file} lies in the output folder {out}; choose another --out")


def _sidecar_tracks(row: Row, n_tracks: int) -> list[dict[str, Any]]:
    """Return person and anchor of every track; a box of the audit's repair belongs to no person."""
    tracks = [
        {"track": t, "person": person, "anchor": shown_anchor(row, t)}
        for t, person in enumerate(row["track_person_id"])
    ]
    nobody = ({"track": t, "person": None, "anchor": -1} for t in range(len(tracks), n_tracks))
    return [*tracks, *nobody]


def write_sidecar(row: Row, source: Path, target: Path) -> None:
    """Write `TARGET.json`: an audited row's boxes and tracks, and facts of the clip."""
    tracks = tracks_from_row(row)
    faces = [
        {
            "frame": int(tracks.frame_index[k]),
            "track": int(tracks.track[k]),
            "box_xyxy_px": [round(float(v), 2) for v in tracks.boxes_xyxy_px[k]],
            "origin": ("detected", "interpolated", "extended", "repaired")[tracks.origin[k]],
            "score": round(float(tracks.score[k]), 4),
            "treatment": row["box_treatment"][k],
            "reason": row["box_reason"][k],
        }
        for k in range(len(tracks))
    ]
    content = {
        "version": SIDECAR_VERSION,
        "source": source.name,
        "output": target.name,
        "output_sha256": row["staged_sha256"],
        "clip_treatment": row["clip_treatment"],
        "width_px": row["width_px"],
        "height_px": row["height_px"],
        "rotation_deg": row["rotation_deg"],
        "n_frames": row["n_frames_out"],
        "time_base": f"{row['time_base_num']}/{row['time_base_den']}",
        "audit_detector": row["audit_detector"],
        "n_repairs": row["n_repairs"],
        "tracks": _sidecar_tracks(row, tracks.n_tracks),
        "faces": faces,
    }
    partial = target.with_name(f".{target.name}.json.part")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(partial, target.with_name(f"{target.name}.json"))
