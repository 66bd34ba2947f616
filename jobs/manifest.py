"""Write a manifest for a folder or prefix full of recordings."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from deid_ops.errors import SetupError
from jobs.rows import Row
from jobs.storage import ObjectInfo, Storage, split_uri
from schemas.tables import MANIFEST

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".ts", ".mts", ".m2ts", ".gif", ".avi")
)
_DATE = re.compile(r"(?<!\d)(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d)")


@dataclass(frozen=True)
class ManifestRules:
    """What the paths do not tell.

    Attributes:
        fleet: fleet of every recording.
        vehicle_id: vehicle of every recording; None takes the folder two levels above the file.
        drive_date: day of every recording; None takes a date in the path, else the file's own.
        checksums: read every file and record its sha256.
    """

    fleet: str = "default"
    vehicle_id: str | None = None
    drive_date: dt.date | None = None
    checksums: bool = False


def build_manifest(root: str, rules: ManifestRules) -> pa.Table:
    """Return a manifest of every recording below a folder or an `s3://` prefix.

    A path `.../VEHICLE/DRIVE/CAMERA.mp4` gives vehicle, drive and camera.

    Raises:
        SetupError: there is no recording below it.
    """
    storage = Storage(root)
    rows = [
        _recording(info, storage, rules)
        for info in storage.walk("")
        if PurePosixPath(info.path).suffix.lower() in VIDEO_SUFFIXES
    ]
    if not rows:
        raise SetupError(
            f"{root}: no recording lies there (looked for {', '.join(sorted(VIDEO_SUFFIXES))})"
        )
    return MANIFEST.table(rows)


def write_manifest(table: pa.Table, uri: str) -> None:
    """Store a manifest as Parquet, replacing what was there."""
    sink = pa.BufferOutputStream()
    pq.write_table(MANIFEST.validate(table), sink)
    storage, name = split_uri(uri)
    storage.write(name, sink.getvalue().to_pybytes())


def _recording(info: ObjectInfo, storage: Storage, rules: ManifestRules) -> Row:
    path = PurePosixPath(info.path)
    folders = path.parts[:-1]
    return {
        "recording_id": str(path.with_suffix("")).replace("/", "_") + path.suffix.replace(".", "_"),
        "uri": info.uri,
        "drive_id": folders[-1] if folders else path.stem,
        "drive_date": rules.drive_date or _date_in(info.path) or info.modified_at.date(),
        "vehicle_id": rules.vehicle_id or (folders[-2] if len(folders) > 1 else "unknown"),
        "fleet": rules.fleet,
        "camera": path.stem,
        "sha256": storage.digest(info.path)[0] if rules.checksums else None,
        "start_time_utc": None,
    }


def _date_in(path: str) -> dt.date | None:
    for year, month, day in _DATE.findall(path):
        try:
            return dt.date(int(year), int(month), int(day))
        except ValueError:
            continue
    return None
