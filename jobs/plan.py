"""From a manifest to segments: what there is to do, in waves.

A recording that cannot be indexed becomes one quarantined row, so that nothing disappears between
the manifest and the lake.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from deid_ops.errors import InputError, SetupError
from deid_ops.types import Span
from deid_ops.video.stills import read_still
from jobs.config import JobConfig
from jobs.fingerprint import unit_id
from jobs.media import STILL, Media, open_media
from jobs.models import decode_limits
from jobs.rows import Row, empty_value
from jobs.sources import SourceCache
from schemas.columns import SchemaError
from schemas.edges import SEGMENT
from schemas.tables import MANIFEST


@dataclass(frozen=True)
class Window:
    """Drive dates, both inclusive; None leaves a side open."""

    first: dt.date | None = None
    last: dt.date | None = None

    def __contains__(self, day: dt.date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


def read_manifest(path: str, sources: SourceCache) -> list[Row]:
    """Read and check a manifest.

    Raises:
        SetupError: it cannot be read, a column is missing or wrong, or an id stands twice.
    """
    try:
        table = pq.read_table(sources.local(path))
    except (InputError, OSError, pa.ArrowInvalid) as error:
        raise SetupError(f"{path}: cannot read the manifest: {error}") from error
    optional = [c for c in MANIFEST.columns if c.nullable and c.name not in table.column_names]
    for column in optional:
        table = table.append_column(column.name, pa.nulls(table.num_rows, column.type))
    try:
        rows: list[Row] = MANIFEST.validate(table).to_pylist()
    except SchemaError as error:
        raise SetupError(
            f"{path}: not a manifest: {error}. `deid manifest build` writes one"
        ) from error
    seen: set[str] = set()
    for row in rows:
        if row["recording_id"] in seen:
            raise SetupError(f"{path}: recording_id {row['recording_id']!r} stands twice")
        seen.add(row["recording_id"])
    return rows


def plan_recording(recording: Row, config: JobConfig, sources: SourceCache) -> list[Row]:
    """Return the planned rows of one recording, or one quarantined row."""
    try:
        version = sources.version(recording["uri"], recording["sha256"])
        path = sources.local(recording["uri"], recording["sha256"])
        media = open_media(str(path), decode_limits(config))
        spans = media.spans(config.video.max_segment_s)
    except InputError as error:
        return [_refused(recording, error, config)]
    starts = [0, *accumulate(span.n_frames for span in spans)]
    return [
        _planned(recording, version, media, span, config)
        | {
            "segment_index": number,
            "start_frame": starts[number],
            "whole_file": len(spans) == 1,
        }
        for number, span in enumerate(spans)
    ]


def waves(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Cut rows into waves of at least `size` segments that never split an identity scope."""
    ordered = sorted(rows, key=lambda r: (r["drive_date"], r["scope_id"], r["recording_id"],
                                          r["segment_index"]))  # fmt: skip
    wave: list[Row] = []
    for row in ordered:
        if len(wave) >= size and row["scope_id"] != wave[-1]["scope_id"]:
            yield wave
            wave = []
        wave.append(row)
    if wave:
        yield wave


def scope_id(recording: Row, unit: str, config: JobConfig) -> str:
    """Return the identity scope of a segment: one person keeps one face within it."""
    scope = config.track.scope
    if scope == "drive":
        return f"drive:{recording['drive_id']}"
    return f"recording:{recording['recording_id']}" if scope == "recording" else f"segment:{unit}"


def _planned(
    recording: Row,
    version: str,
    media: Media,
    span: Span,
    config: JobConfig,
) -> Row:
    unit = unit_id(
        recording["recording_id"], version, span.stream_index, span.pts_start, span.pts_end
    )
    return _base(recording, version) | {
        "unit_id": unit,
        **_stream_facts(media, span),
        "stream_index": span.stream_index,
        "pts_start": span.pts_start,
        "pts_end": span.pts_end,
        "n_frames": span.n_frames,
        "time_base_num": span.time_base.numerator,
        "time_base_den": span.time_base.denominator,
        "scope_id": scope_id(recording, unit, config),
        "status": "ok",
    }


def _stream_facts(media: Media, span: Span) -> Row:
    if media.index is None:
        width, height = read_still(media.path).frame.size_wh_px
        return {
            "container": STILL,
            "codec": STILL,
            "duration_s": 0.0,
            "rotation_deg": 0,
            "width_px": width,
            "height_px": height,
        }
    facts = media.index.facts
    end = int(media.index.pts[-1]) + facts.last_duration if span.pts_end is None else span.pts_end
    return {
        "container": facts.container,
        "codec": facts.codec,
        "duration_s": float((end - span.pts_start) * span.time_base),
        "rotation_deg": facts.rotation_deg,
        "width_px": facts.width,
        "height_px": facts.height,
    }


def _refused(recording: Row, error: InputError, config: JobConfig) -> Row:
    version = recording["sha256"] or "unknown"
    unit = unit_id(recording["recording_id"], version, -1, 0, None)
    return _base(recording, version) | {
        "unit_id": unit,
        "scope_id": scope_id(recording, unit, config),
        "time_base_den": 1,
        "status": "quarantined",
        "reason": error.reason,
        "detail": error.detail,
        "remedy": error.remedy,
    }


def _base(recording: Row, version: str) -> Row:
    return {c.name: empty_value(c) for c in SEGMENT} | {
        "recording_id": recording["recording_id"],
        "drive_id": recording["drive_id"],
        "drive_date": recording["drive_date"],
        "fleet": recording["fleet"],
        "vehicle_id": recording["vehicle_id"],
        "camera": recording["camera"],
        "source_uri": recording["uri"],
        "source_sha256": recording["sha256"],
        "source_version": version,
        "attempt": 1,
    }
