"""What the lake already holds: the only checkpoint there is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from jobs.lake.tables import Lake
from schemas.fields import SEGMENT_STATUS
from schemas.tables import TRACKS


def done_units(
    lake: Lake,
    unit_ids: Iterable[str],
    pipeline_fingerprint: str,
    statuses: Collection[str] = SEGMENT_STATUS,
    drive_dates: Collection[date] | None = None,
) -> dict[str, str]:
    """Return the status of those units that need not be done again.

    Args:
        lake: the tables.
        unit_ids: the planned units.
        pipeline_fingerprint: units done with another one do not count.
        statuses: which outcomes count as done; leave `quarantined` out to try those again.
        drive_dates: the days of the planned units, to read only these partitions.

    Returns:
        Status by unit, where it has one of `statuses`; the latest row decides.
    """
    wanted = pa.array(sorted(set(unit_ids)), pa.string())
    where = pc.field("pipeline_fingerprint") == pipeline_fingerprint
    rows = _matching(
        lake, "segments", wanted, where, drive_dates, ["unit_id", "status", "committed_at"]
    )
    latest = {r["unit_id"]: r["status"] for r in rows.sort_by("committed_at").to_pylist()}
    return {unit: status for unit, status in latest.items() if status in statuses}


def found_tracks(
    lake: Lake,
    unit_ids: Iterable[str],
    find_fingerprint: str,
    drive_dates: Collection[date] | None = None,
) -> pa.Table:
    """Return the `found` rows of those units whose find pass is in the lake already.

    All tracks of a unit are committed together, and a unit without faces has one row with
    `track` -1, so a unit that occurs at all is complete. Where several runs found the same unit,
    the rows of the latest are returned.
    """
    wanted = pa.array(sorted(set(unit_ids)), pa.string())
    where = (pc.field("find_fingerprint") == find_fingerprint) & (pc.field("state") == "found")
    rows = _matching(lake, "tracks", wanted, where, drive_dates, list(TRACKS.names))
    latest = {
        r["unit_id"]: r["run_id"]
        for r in rows.select(["unit_id", "run_id", "committed_at"])
        .sort_by("committed_at")
        .to_pylist()
    }
    keep = [
        latest[unit] == run
        for unit, run in zip(rows["unit_id"].to_pylist(), rows["run_id"].to_pylist(), strict=True)
    ]
    chosen = rows.filter(pa.array(keep, pa.bool_()))
    return TRACKS.validate(chosen).sort_by([("unit_id", "ascending"), ("track", "ascending")])


def shown_anchors(lake: Lake, unit_ids: Iterable[str], pipeline_fingerprint: str) -> dict[str, int]:
    """Return by person the row of the anchor bank that the replaced faces of these units show.

    Args:
        lake: the tables.
        unit_ids: published units.
        pipeline_fingerprint: units published with another one do not count.
    """
    wanted = pa.array(sorted(set(unit_ids)), pa.string())
    where = (
        (pc.field("pipeline_fingerprint") == pipeline_fingerprint)
        & (pc.field("state") == "treated")
        & (pc.field("n_swapped") > 0)
    )
    columns = ["unit_id", "person_id", "anchor_id"]
    rows = _matching(lake, "tracks", wanted, where, None, columns).to_pylist()
    return {r["person_id"]: int(r["anchor_id"]) for r in rows}


def _matching(
    lake: Lake,
    table: str,
    unit_ids: pa.Array,
    where: pads.Expression,
    drive_dates: Collection[date] | None,
    columns: list[str],
) -> pa.Table:
    """Read batch by batch and keep the wanted units, so that memory follows the plan's size."""
    if drive_dates is not None:
        where &= pc.field("drive_date").isin(pa.array(sorted(set(drive_dates)), pa.date32()))
    dataset = lake.dataset(table)
    batches = dataset.to_batches(columns=columns, filter=where)
    kept = [b.filter(pc.is_in(b.column("unit_id"), value_set=unit_ids)) for b in batches]
    schema = pa.schema([dataset.schema.field(name) for name in columns])
    return pa.Table.from_batches(kept, schema=schema)
