"""The job: plan, then wave by wave (`jobs/wave.py`) find, link, try and replace.

`deid nightly`, `deid backfill run`, the demo and the tests are this function with another request.
The lake is the checkpoint: a unit with the same id and fingerprint is not done again, and the
find pass of an interrupted wave is taken from the `tracks` table.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deid_ops.errors import DeidError, InvariantError, RetryableError
from jobs.config import JobConfig
from jobs.fingerprint import (
    code_version,
    config_text,
    find_fingerprint,
    key_id,
    pipeline_fingerprint,
    plan_id,
    sha256_text,
    versions_json,
)
from jobs.lake.commits import acquire_lease
from jobs.lake.resume import done_units, found_tracks
from jobs.lake.tables import Lake
from jobs.lake.writer import RunWriter
from jobs.models import weights_in_use
from jobs.openlineage import emit
from jobs.plan import Window, plan_recording, read_manifest, waves
from jobs.records import GPU_STAGES, RunFacts
from jobs.rows import Row
from jobs.runners import InlineRunner, RayRunner, Runner
from jobs.sources import SourceCache
from jobs.stages.stage import StageContext
from jobs.wave import WaveJob
from schemas.fields import SEGMENT_STATUS

#: Reasons that may be gone the next night, so that the recording is tried again every run.
TRANSIENT = frozenset(("source_missing", "source_denied", "truncated_transfer"))
_LOG = logging.getLogger("deid.run")

#: (event, fields): called as work proceeds; progress bars and JSON logs hang here.
Observer = Callable[[str, dict[str, Any]], None]
EVERY_DAY = Window()


def silent(event: str, fields: dict[str, Any]) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Request:
    """One run.

    Attributes:
        manifest_uri: Parquet manifest.
        lake_uri: root of tables and clips.
        config: resolved configuration.
        secret_key: decides anchors and redaction patterns.
        scratch_dir: local folder for downloads and clips in the making.
        command: sub-command, for the `runs` table.
        window: drive dates to take.
        ray_address: existing cluster; None starts a local one.
        inline: run every stage in this process, without Ray.
        retry_quarantined: try quarantined units of this fingerprint again.
        price_per_hour: price of an hour of compute, for cost per camera-hour.
        found_only: take only units whose find pass is in the lake (`deid render`).
        observer: told about progress.
    """

    manifest_uri: str
    lake_uri: str
    config: JobConfig
    secret_key: bytes = field(repr=False)
    scratch_dir: Path
    command: str = "nightly"
    window: Window = EVERY_DAY
    ray_address: str | None = None
    inline: bool = False
    retry_quarantined: bool = False
    price_per_hour: float | None = None
    found_only: bool = False
    observer: Observer = silent


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    run_id: str
    plan_id: str
    n_planned: int
    n_done_before: int
    n_published: int
    n_quarantined: int
    reasons: dict[str, int]

    @property
    def exit_code(self) -> int:
        """0 clean, 3 when this run quarantined something."""
        return 3 if self.n_quarantined else 0


def deidentify(request: Request) -> Summary:
    """Run the job to its end.

    Raises:
        SetupError: the manifest, configuration, weights or key are wrong; nothing was done.
        InvariantError: a promise would be broken; the run is recorded as failed.
    """
    run = _Run(request)
    try:
        return run.work()
    except BaseException as error:
        run.record_failure(
            f"{type(error).__name__}: {error}" if isinstance(error, DeidError) else ""
        )
        raise


class _Run:
    """The state of one run: facts, lease, counters."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.started_at = dt.datetime.now(dt.UTC)
        self.run_id = f"{self.started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        self.sources = SourceCache(request.scratch_dir)
        self.manifest = read_manifest(request.manifest_uri, self.sources)
        self.weights = weights_in_use(request.config)
        self.lake = Lake(request.lake_uri)
        self.lake.ensure()
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.planned = self._plan()
        self.facts = self._facts()
        if request.found_only:
            self.planned = self._with_found_faces(self.planned)
        self.lease = acquire_lease(self.lake, self.facts.plan_id, self.run_id)
        self.writer = RunWriter(self.lake, self.lease)

    def work(self) -> Summary:
        """Treat wave after wave of what the lake does not hold yet."""
        done = self._done()
        todo = [row for row in self.planned if row["unit_id"] not in done]
        self.counts.update(planned=len(self.planned), done=len(self.planned) - len(todo))
        self._record("started", None)
        self._tell("planned", planned=len(self.planned), done_before=self.counts["done"])
        if todo:
            runner, job = self._runner(), self._wave_job()
            for wave in waves(todo, self.request.config.ray.wave_segments):
                self._count(job.treat(wave, runner))
        return self._finish()

    def _plan(self) -> list[Row]:
        recordings = [r for r in self.manifest if r["drive_date"] in self.request.window]
        rows: list[Row] = []
        for number, recording in enumerate(recordings):
            rows += plan_recording(recording, self.request.config, self.sources)
            self._tell("indexed", done=number + 1, total=len(recordings))
        units = [row["unit_id"] for row in rows]
        if len(set(units)) != len(units):
            raise InvariantError("plan: two segments have the same unit id")
        plan = plan_id(units)
        return [row | {"plan_id": plan} for row in rows]

    def _facts(self) -> RunFacts:
        config, key = self.request.config, self.request.secret_key
        pools = (getattr(config.ray, stage) for stage in GPU_STAGES)
        return RunFacts(
            run_id=self.run_id,
            plan_id=plan_id(row["unit_id"] for row in self.planned),
            find_fingerprint=find_fingerprint(config, self.weights, key),
            pipeline_fingerprint=pipeline_fingerprint(config, self.weights, key),
            code_version=code_version(),
            config_sha256=sha256_text(config_text(config)),
            weights=self.weights,
            providers=",".join(config.inference.providers),
            key_id=key_id(key),
            identity_scope=config.track.scope,
            host=socket.gethostname(),
            has_gpu=any(pool.gpus > 0 for pool in pools),
        )

    def _with_found_faces(self, rows: Sequence[Row]) -> list[Row]:
        units = [row["unit_id"] for row in rows]
        found = found_tracks(self.lake, units, self.facts.find_fingerprint)["unit_id"]
        held = set(found.to_pylist())
        return [row for row in rows if row["unit_id"] in held]

    def _done(self) -> set[str]:
        again = {r["unit_id"] for r in self.planned if r["reason"] in TRANSIENT}
        done = done_units(
            self.lake,
            (row["unit_id"] for row in self.planned),
            self.facts.pipeline_fingerprint,
            ("published",) if self.request.retry_quarantined else SEGMENT_STATUS,
        )
        return set(done) - again

    def _runner(self) -> Runner:
        context = StageContext(
            self.request.config,
            self.lake.root,
            self.run_id,
            self.request.secret_key,
            str(self.request.scratch_dir),
            self.facts.pipeline_fingerprint,
        )
        if self.request.inline:
            return InlineRunner(context)
        return RayRunner(context, self.request.ray_address)

    def _wave_job(self) -> WaveJob:
        return WaveJob(
            config=self.request.config,
            secret_key=self.request.secret_key,
            facts=self.facts,
            lake=self.lake,
            writer=self.writer,
            planned=self.planned,
            started_at=self.started_at,
            tell=self._tell,
        )

    def _count(self, segments: Sequence[Row]) -> None:
        """Count what a wave has committed."""
        self.counts.update(record["status"] for record in segments)
        refused = (record for record in segments if record["status"] == "quarantined")
        self.reasons.update(record["reason"] for record in refused)
        counts = {name: self.counts[name] for name in ("published", "quarantined")}
        self._tell("committed", total=self.counts["planned"], **counts)

    def _finish(self) -> Summary:
        c = self.counts
        if c["planned"] != c["done"] + c["published"] + c["quarantined"]:
            raise InvariantError(
                f"{c['planned']} planned, but {c['done']} done before + {c['published']} "
                f"published + {c['quarantined']} quarantined"
            )
        summary = Summary(
            self.run_id,
            self.facts.plan_id,
            c["planned"],
            c["done"],
            c["published"],
            c["quarantined"],
            dict(self.reasons),
        )
        status = "quarantined" if summary.exit_code else "clean"
        self._record(status, summary.exit_code)
        return summary

    def record_failure(self, what: str) -> None:
        """Write that the run failed, as far as the lake still takes it."""
        try:
            self._record("failed", 1, what)
        except DeidError as error:
            _LOG.warning("the failure could not be recorded: %s", error)

    def _record(self, status: str, exit_code: int | None, what_failed: str = "") -> None:
        request, facts, now = self.request, self.facts, dt.datetime.now(dt.UTC)
        text = config_text(request.config)
        row = {
            "run_id": self.run_id,
            "plan_id": facts.plan_id,
            "command": request.command,
            "status": status,
            "exit_code": exit_code,
            "manifest_uri": request.manifest_uri,
            "manifest_sha256": None,
            "window_start": request.window.first,
            "window_end": request.window.last,
            "n_planned": self.counts["planned"],
            "n_done_before": self.counts["done"],
            "n_published": self.counts["published"],
            "n_quarantined": self.counts["quarantined"],
            "pipeline_fingerprint": facts.pipeline_fingerprint,
            "code_version": facts.code_version,
            "config_yaml": text,
            "config_sha256": facts.config_sha256,
            "weights_json": facts.weights_json,
            "versions_json": versions_json(),
            "providers": facts.providers,
            "identity_scope": facts.identity_scope,
            "key_id": facts.key_id,
            "lease_epoch": self.lease.epoch,
            "host": facts.host,
            "price_per_hour": request.price_per_hour,
            "started_at": self.started_at,
            "finished_at": None if status == "started" else now,
            "committed_at": now,
        }
        self.writer.append("runs", [row])
        try:
            emit(self.lake, row, what_failed)
        except RetryableError as error:
            _LOG.warning("the lineage event could not be written: %s", error)

    def _tell(self, event: str, **fields: Any) -> None:
        self.request.observer(event, {"run_id": self.run_id, **fields})
