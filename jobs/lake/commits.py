"""Exactly-once commits from one driver.

Delta keeps for every table the latest version of named *application transactions*, but accepts
any of them; being exactly once is the writer's duty. Each append therefore

1. opens the table afresh,
2. requires `lease/{plan}` to be at this driver's epoch (a later driver has raised it: stop),
3. returns if `{table}/{run}` is already at this sequence number (an earlier attempt landed
   although its answer was lost),
4. writes against that very snapshot, both transactions in the commit, no retries inside delta-rs,
5. and starts again at 1 if anything was committed in between.

For `segments`, step 3 also refuses a unit that is published already with the same fingerprint: two
drivers of different plans (overlapping nights) hold different leases but may share units.

The checks hold because the commit succeeds only if the snapshot they were made on is the latest.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, SchemaMismatchError

from deid_ops.errors import InvariantError, RetryableError
from jobs.lake.tables import Lake
from schemas.columns import SchemaError
from schemas.tables import TABLE_BY_NAME, TABLES

MAX_TRIES = 40
# `segments` decides what exists, so it is written after the tables that describe its rows.
COMMIT_ORDER = ("evaluations", "tracks", "identity_audit", "quarantine", "segments", "runs")
LEASED = ("segments", *(t.name for t in TABLES if t.name != "segments"))


class LeaseLostError(InvariantError):
    """A later driver has taken over the plan; this one may write nothing more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to commit for a plan, until another driver acquires a higher epoch."""

    plan_id: str
    run_id: str
    epoch: int

    @property
    def app_id(self) -> str:
        """Name of the application transaction that holds the epoch."""
        return f"lease/{self.plan_id}"


@dataclass(frozen=True, slots=True)
class Committed:
    """Where rows are now; `landed_before` if an earlier attempt had written them already."""

    table: str
    version: int
    landed_before: bool


def acquire_lease(lake: Lake, plan_id: str, run_id: str) -> Lease:
    """Take over a plan: from now on, commits of every earlier driver of it are refused.

    Raises:
        LeaseLostError: yet another driver took over while this one was starting.
        RetryableError: the tables are too busy or the store failed.
    """
    app_id = f"lease/{plan_id}"
    for tries in _Tries(f"lease on plan {plan_id}"):
        table = lake.open(LEASED[0])
        lease = Lease(plan_id, run_id, (table.transaction_version(app_id) or 0) + 1)
        if tries.succeeded(_commit_epoch(table, lease)):
            break
    for name in LEASED[1:]:
        for tries in _Tries(f"lease on plan {plan_id}, table {name}"):
            table = lake.open(name)
            held = table.transaction_version(app_id) or 0
            if held >= lease.epoch:
                raise _lost(lease, name, held)
            if tries.succeeded(_commit_epoch(table, lease)):
                break
    return lease


def append(lake: Lake, lease: Lease, table_name: str, rows: pa.Table, seq: int) -> Committed:
    """Append rows exactly once; repeating the call with the same `seq` changes nothing.

    Args:
        lake: the tables.
        lease: of this driver.
        table_name: a table of the lake.
        rows: checked against the declaration.
        seq: rises by one or more with each new batch that this run appends to the table.

    Raises:
        LeaseLostError: a later driver has taken over.
        InvariantError: the rows break the declaration or a constraint of the table, or would
            publish a unit a second time.
        RetryableError: the table is too busy or the store failed.
    """
    try:
        rows = TABLE_BY_NAME[table_name].validate(rows)
    except SchemaError as error:
        raise InvariantError(str(error)) from error
    run_app_id = f"{table_name}/{lease.run_id}"
    properties = CommitProperties(
        app_transactions=[Transaction(lease.app_id, lease.epoch), Transaction(run_app_id, seq)],
        max_commit_retries=0,
        custom_metadata={"deid.run_id": lease.run_id, "deid.seq": str(seq)},
    )
    for tries in _Tries(f"commit {seq} to {lake.table_uri(table_name)}"):
        table = lake.open(table_name)
        held = table.transaction_version(lease.app_id)
        if held != lease.epoch:
            raise _lost(lease, table_name, held)
        landed = table.transaction_version(run_app_id)
        if landed is not None and landed >= seq:
            return Committed(table_name, table.version(), landed_before=True)
        if table_name == "segments":
            _refuse_published_twice(table, rows)
        if tries.succeeded(_write(table, rows, properties, lake.table_uri(table_name))):
            return Committed(table_name, table.version(), landed_before=False)
    raise AssertionError("unreachable: _Tries raises at its end")


def append_all(
    lake: Lake, lease: Lease, batch: Mapping[str, pa.Table], seq: int
) -> list[Committed]:
    """Append to several tables under one sequence number, `segments` after what describes it.

    A crash in between leaves rows without a `segments` row; the views do not show them, and the
    units are done again by the next run. Empty tables are left out.
    """
    unknown = sorted(set(batch) - set(COMMIT_ORDER))
    if unknown:
        raise InvariantError(f"no such tables: {', '.join(unknown)}")
    return [
        append(lake, lease, name, batch[name], seq)
        for name in COMMIT_ORDER
        if name in batch and batch[name].num_rows
    ]


def _commit_epoch(table: DeltaTable, lease: Lease) -> Exception | None:
    """Record the lease without data; return what prevented it, usually another commit."""
    try:
        table.create_write_transaction(
            actions=[],
            mode="append",
            schema=table.schema(),
            partition_by=table.metadata().partition_columns,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(lease.app_id, lease.epoch)],
                max_commit_retries=0,
                custom_metadata={"deid.run_id": lease.run_id},
            ),
        )
    except (DeltaError, OSError) as error:
        return error
    return None


def _write(
    table: DeltaTable, rows: pa.Table, properties: CommitProperties, uri: str
) -> Exception | None:
    """Try one commit against the handle's snapshot; return why it has to be tried again."""
    try:
        write_deltalake(table, rows, mode="append", commit_properties=properties)
    except SchemaMismatchError as error:
        raise InvariantError(f"{uri}: {error}") from error
    except DeltaError as error:
        if "failed validation check" in str(error):
            raise InvariantError(f"{uri}: rows break a constraint: {error}") from error
        return error
    except OSError as error:
        return error
    return None


def _refuse_published_twice(table: DeltaTable, rows: pa.Table) -> None:
    """Compare with the very snapshot that the commit will be made against."""
    new = rows.filter(pc.field("status") == "published")
    if not new.num_rows:
        return
    where = (
        (pc.field("status") == "published")
        & pc.field("drive_date").isin(pc.unique(new["drive_date"]))
        & pc.field("unit_id").isin(pc.unique(new["unit_id"]))
    )
    key = ["unit_id", "pipeline_fingerprint"]
    held = table.to_pyarrow_dataset().to_table(columns=[*key, "run_id"], filter=where)
    twice = held.join(new.select(key), key, join_type="inner")
    if twice.num_rows or new.group_by(key).aggregate([]).num_rows < new.num_rows:
        runs = ", ".join(sorted(set(twice["run_id"].to_pylist()))) or "this one"
        raise InvariantError(
            f"{twice.num_rows or 'some'} of {new.num_rows} units are published already by run "
            f"{runs}; nothing was committed. Start the job again: it leaves them out"
        )


def _lost(lease: Lease, table_name: str, held: int | None) -> LeaseLostError:
    return LeaseLostError(
        f"run {lease.run_id} holds epoch {lease.epoch} of plan {lease.plan_id}, but {table_name} "
        f"is at {held}: another driver has taken over"
    )


class _Tries:
    """Bounded attempts with a growing, jittered pause; raises `RetryableError` at the end."""

    def __init__(self, what: str) -> None:
        self._what, self._count = what, 0
        self._last: Exception | None = None

    def __iter__(self) -> _Tries:
        return self

    def __next__(self) -> _Tries:
        if self._count == MAX_TRIES:
            raise RetryableError(
                f"{self._what}: gave up after {MAX_TRIES} attempts: {self._last}"
            ) from self._last
        if self._count:
            time.sleep(random.uniform(0, min(0.02 * 2**self._count, 2.0)))  # noqa: S311
        self._count += 1
        return self

    def succeeded(self, failure: Exception | None) -> bool:
        """Note what prevented this attempt, if anything did."""
        self._last = failure
        return failure is None
