"""The plan of a backfill as a file in the lake, and its progress read from the lake."""

from __future__ import annotations

import datetime as dt
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deid_ops.errors import SetupError
from jobs.config import JobConfig
from jobs.fingerprint import plan_id
from jobs.lake.tables import Lake
from jobs.plan import plan_recording, read_manifest, waves
from jobs.rows import Row, to_table
from jobs.sources import SourceCache
from jobs.storage import Storage
from schemas.edges import PLANNED

PLANS = "plans"


@dataclass(frozen=True)
class Plan:
    """A written plan."""

    plan_id: str
    uri: str
    n_recordings: int
    n_units: int
    n_refused: int
    n_waves: int
    hours: float


@dataclass(frozen=True)
class Progress:
    """How far a plan is."""

    plan_id: str
    n_units: int
    n_published: int
    n_quarantined: int
    hours_total: float
    hours_done: float
    reasons: dict[str, int]
    eta: dt.datetime | None  # None before the first commit and after the last

    @property
    def n_left(self) -> int:
        """Units without an outcome."""
        return self.n_units - self.n_published - self.n_quarantined

    def text(self) -> str:
        """Return the lines that `deid backfill status` prints."""
        share = 100 * (self.n_units - self.n_left) / max(1, self.n_units)
        lines = [
            f"plan {self.plan_id}: {share:.1f} % of {self.n_units} units "
            f"({self.hours_done:.2f} of {self.hours_total:.2f} h)",
            f"  published {self.n_published}, quarantined {self.n_quarantined}, left {self.n_left}",
        ]
        lines += [f"    {count} {reason}" for reason, count in sorted(self.reasons.items())]
        if self.eta is not None:
            lines.append(f"  at the pace so far it ends {self.eta:%Y-%m-%d %H:%M} UTC")
        return "\n".join(lines)


def write_plan(manifest_uri: str, lake_uri: str, config: JobConfig, scratch: Path) -> Plan:
    """Index every recording of a manifest and store the planned units as Parquet.

    Raises:
        SetupError: the manifest is wrong or empty.
    """
    sources = SourceCache(scratch)
    recordings = read_manifest(manifest_uri, sources)
    rows = [row for recording in recordings for row in plan_recording(recording, config, sources)]
    if not rows:
        raise SetupError(f"{manifest_uri}: no recording is listed")
    plan = plan_id(row["unit_id"] for row in rows)
    table = pa.concat_tables([to_table(PLANNED, row | {"plan_id": plan}) for row in rows])
    sink = io.BytesIO()
    pq.write_table(table, sink)
    storage, path = Storage(lake_uri), f"{PLANS}/{plan}.parquet"
    storage.write(path, sink.getvalue())
    return Plan(
        plan_id=plan,
        uri=storage.uri(path),
        n_recordings=len(recordings),
        n_units=len(rows),
        n_refused=sum(row["status"] != "ok" for row in rows),
        n_waves=len(list(waves(rows, config.ray.wave_segments))),
        hours=sum(row.get("duration_s", 0.0) for row in rows) / 3600,
    )


def status_of(lake_uri: str, plan: str | None) -> Progress:
    """Return the progress of a plan; the latest one where `plan` is None.

    Raises:
        SetupError: there is no such plan.
    """
    units = _read_plan(Storage(lake_uri), plan)
    found = units[0]["plan_id"]
    wanted = pa.array([u["unit_id"] for u in units])
    outcomes: dict[str, Row] = {}
    lake = Lake(lake_uri)
    if lake.exists("segments"):
        columns = ["unit_id", "status", "reason", "committed_at", "started_at"]
        rows = lake.read("segments", columns, pc.field("unit_id").isin(wanted))
        for row in rows.sort_by("committed_at").to_pylist():
            outcomes[row["unit_id"]] = row
    hours = {u["unit_id"]: u["duration_s"] / 3600 for u in units}
    refused = Counter(r["reason"] for r in outcomes.values() if r["status"] == "quarantined")
    done_h = sum(hours[unit] for unit in outcomes)
    return Progress(
        plan_id=found,
        n_units=len(units),
        n_published=sum(r["status"] == "published" for r in outcomes.values()),
        n_quarantined=sum(refused.values()),
        hours_total=sum(hours.values()),
        hours_done=done_h,
        reasons=dict(refused),
        eta=_eta(list(outcomes.values()), len(units)),
    )


def _read_plan(storage: Storage, plan: str | None) -> list[Row]:
    if plan is None:
        written = sorted(storage.walk(PLANS), key=lambda info: info.modified_at)
        if not written:
            raise SetupError(f"{storage.root}: no plan is there; run `deid backfill plan` first")
        path = written[-1].path
    else:
        path = f"{PLANS}/{plan}.parquet"
        if not storage.exists(path):
            raise SetupError(f"{storage.uri(path)}: no such plan")
    rows: list[Row] = pq.read_table(io.BytesIO(storage.read_bytes(path))).to_pylist()
    return rows


def _eta(outcomes: list[Row], n_units: int) -> dt.datetime | None:
    """Extrapolate from the first run's start to the latest commit, per unit."""
    if not outcomes or len(outcomes) >= n_units:
        return None
    first: dt.datetime = min(row["started_at"] for row in outcomes)
    last: dt.datetime = max(row["committed_at"] for row in outcomes)
    return last + (last - first) / len(outcomes) * (n_units - len(outcomes))
