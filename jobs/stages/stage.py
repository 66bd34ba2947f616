"""What a stage is, and the actor that runs one.

A `Stage` names an operation, the edge it reads, the edge it emits and the pool it runs in. A
pipeline is a tuple of stages whose neighbours' edges match; `check_pipeline` compares them before
anything starts. `StageActor` is the whole knowledge of how an operation meets Arrow rows; it runs
unchanged inside a Ray actor and in the caller's own process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa

from deid_ops.errors import InputError, RetryableError, SetupError
from jobs.config import JobConfig
from jobs.lake.attempts import AttemptLedger
from jobs.rows import Row, add_seconds, from_table, quarantined, segment_part, to_table
from jobs.storage import Storage
from schemas.columns import Edge

RETRIES = 3
_LOG = logging.getLogger("deid.stage")


@dataclass(frozen=True)
class StageContext:
    """What every operation may depend on besides its row.

    Attributes:
        config: the resolved configuration.
        lake_uri: root of the lake (local path or `s3://`), where staged clips go too.
        run_id: the run that does the work.
        secret_key: decides anchors and redaction patterns; never logged, never stored.
        scratch_dir: local folder for downloads and clips being encoded.
        pipeline_fingerprint: names published clips and counts attempts.
    """

    config: JobConfig
    lake_uri: str
    run_id: str
    secret_key: bytes = field(repr=False)
    scratch_dir: str
    pipeline_fingerprint: str


Operation = Callable[[Row], Row]


@dataclass(frozen=True)
class Stage:
    """One named step of the pipeline.

    Attributes:
        name: also names its pool in the configuration.
        build: makes the operation inside the worker.
        reads: edge of the rows it takes.
        emits: edge of the rows it gives.
        can_crash: it decodes or runs models, so a worker may die of a row: attempts are counted.
    """

    name: str
    build: Callable[[StageContext], Operation]
    reads: Edge
    emits: Edge
    can_crash: bool = False


def check_pipeline(stages: Sequence[Stage]) -> None:
    """Refuse a pipeline in which a stage reads what its neighbour does not emit.

    Raises:
        SetupError: names the two stages and the columns that differ.
    """
    for left, right in pairwise(stages):
        if left.emits.arrow_schema() != right.reads.arrow_schema():
            differ = set(left.emits.names) ^ set(right.reads.names)
            raise SetupError(
                f"stage {right.name!r} reads edge {right.reads.name!r}, but {left.name!r} emits "
                f"{left.emits.name!r}; columns that differ: {sorted(differ)}"
            )


class StageActor:
    """Runs one stage over Arrow batches: rows to types, the operation, types to rows.

    An `InputError` turns its row into a quarantined one; a `RetryableError` is tried again up to
    three times in all and then quarantines the row; anything else stops the run.
    """

    def __init__(self, stage: Stage, context: StageContext) -> None:
        self._stage = stage
        self._operation = stage.build(context)
        self._ledger: AttemptLedger | None = None
        if stage.can_crash:
            self._ledger = AttemptLedger(
                Storage(context.lake_uri),
                context.pipeline_fingerprint,
                context.config.max_attempts - 1,
            )
        self._free_since = time.perf_counter()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Treat every row of a batch."""
        rows = [self._treat(row) for row in from_table(self._stage.reads, batch)]
        if not rows:
            return self._stage.emits.empty()
        return pa.concat_tables([to_table(self._stage.emits, row) for row in rows])

    def _treat(self, row: Row) -> Row:
        started = time.perf_counter()
        idle_s = started - self._free_since
        out = self._run(row) if row["status"] == "ok" else segment_part(row)
        self._free_since = time.perf_counter()
        if row["status"] == "ok":
            name = self._stage.name
            busy_s = self._free_since - started
            out["stage_seconds"] = add_seconds(row["stage_seconds"], name, busy_s)
            out["idle_seconds"] = add_seconds(row["idle_seconds"], name, idle_s)
        return out

    def _run(self, row: Row) -> Row:
        for attempt in range(1, RETRIES + 1):
            try:
                return self._guarded(row) if attempt == 1 else self._operation(row)
            except InputError as error:
                _LOG.warning("quarantined %s at %s: %s", row["unit_id"], self._stage.name, error)
                return quarantined(row, self._stage.name, error)
            except RetryableError as error:
                _LOG.warning("%s: attempt %d of %d: %s", row["unit_id"], attempt, RETRIES, error)
                if attempt == RETRIES:
                    detail = f"{self._stage.name} failed {RETRIES} times: {error}"
                    remedy = "check the storage and the workers, then run again"
                    failed = InputError("retries_exhausted", row["source_uri"], detail, remedy)
                    return quarantined(row, self._stage.name, failed)
                time.sleep(0.5 * 2**attempt)
        raise AssertionError("unreachable")

    def _guarded(self, row: Row) -> Row:
        """Count the attempt before it is made, and forget it when the worker lived through it."""
        if self._ledger is None:
            return self._operation(row)
        row = row | {"attempt": self._ledger.begin(row["unit_id"], self._stage.name)}
        try:
            return self._operation(row)
        finally:
            # Also after an exception: the worker lives, and the caller decides what it means.
            self._ledger.forget(row["unit_id"], self._stage.name)
