"""One wave of segments: find, link, commit, try, replace, commit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from deid_ops.errors import InvariantError
from jobs.config import JobConfig
from jobs.lake.resume import found_tracks, shown_anchors
from jobs.lake.tables import Lake
from jobs.lake.writer import RunWriter
from jobs.linking import link_wave
from jobs.records import (
    RunFacts,
    identity_records,
    linked_row,
    no_faces_record,
    quarantine_record,
    segment_record,
    track_records,
)
from jobs.recurring import with_one_face
from jobs.rows import Row
from jobs.runners import Runner
from jobs.stages.find import FIND
from jobs.stages.output import REPLACE
from jobs.stages.replace import TRY


@dataclass(frozen=True)
class WaveJob:
    """Treats waves of a run.

    Attributes:
        config: resolved configuration.
        secret_key: decides anchors.
        facts: what every record says about the run.
        lake: read for what is found or shown already.
        writer: commits.
        planned: every segment of the run.
        started_at: of the run.
        tell: (event, fields): told about progress.
    """

    config: JobConfig
    secret_key: bytes = field(repr=False)
    facts: RunFacts
    lake: Lake
    writer: RunWriter
    planned: Sequence[Row]
    started_at: dt.datetime
    tell: Callable[..., None]

    def treat(self, wave: Sequence[Row], runner: Runner) -> list[Row]:
        """Treat whole identity scopes to their end; returns the `segments` rows committed."""
        linked, refused = self._find(wave, runner)
        linked = self._with_one_face(linked, wave, runner)
        finished = [*refused]
        for row in runner.map(linked, REPLACE):
            finished.append(row)
            facts = {name: row[name] for name in ("status", "reason")}
            self.tell("unit", unit=row["unit_id"], seconds=row["duration_s"], **facts)
        if len(finished) != len(wave):
            raise InvariantError(f"wave of {len(wave)} units ended with {len(finished)}")
        return self._commit(finished)

    def _find(self, wave: Sequence[Row], runner: Runner) -> tuple[list[Row], list[Row]]:
        """Return linked rows and refused rows; commits what was found now."""
        held: dict[str, list[Row]] = {}
        stored = found_tracks(
            self.lake, (row["unit_id"] for row in wave), self.facts.find_fingerprint
        )
        for found in stored.to_pylist():
            held.setdefault(found["unit_id"], []).append(found)
        linked = [
            linked_row(row, [f for f in held[row["unit_id"]] if f["track"] >= 0])
            for row in wave
            if row["unit_id"] in held
        ]
        refused = [row for row in wave if row["status"] != "ok"]
        fresh = [r for r in wave if r["status"] == "ok" and r["unit_id"] not in held]
        tracked: list[Row] = []
        for row in runner.map(fresh, FIND):
            (tracked if row["status"] == "ok" else refused).append(row)
            self.tell("found", unit=row["unit_id"], status=row["status"])
        new = link_wave(tracked, self.config, self.secret_key)
        self._commit_found(new)
        return linked + new, refused

    def _commit_found(self, linked: Sequence[Row]) -> None:
        records: list[Row] = []
        for row in linked:
            tracks = list(track_records(row, self.facts, "found"))
            records += tracks or [no_faces_record(row, self.facts)]
        self.writer.append("tracks", records)

    def _with_one_face(
        self, linked: Sequence[Row], wave: Sequence[Row], runner: Runner
    ) -> list[Row]:
        """Decide what who is seen in several segments shows, unless published ones tell."""
        here, scopes = {row["unit_id"] for row in wave}, {row["scope_id"] for row in wave}
        of_scopes = {row["unit_id"] for row in self.planned if row["scope_id"] in scopes}
        others, shown = of_scopes - here, {}
        if others:
            shown = shown_anchors(self.lake, others, self.facts.pipeline_fingerprint)

        def try_anchors(rows: Sequence[Row]) -> Iterator[Row]:
            for row in runner.map(rows, TRY):
                self.tell("tried", unit=row["unit_id"], status=row["status"])
                yield row

        return with_one_face(linked, shown, self.config.replace.trial_faces, try_anchors)

    def _commit(self, finished: Sequence[Row]) -> list[Row]:
        """Append what became of every unit."""
        records: dict[str, list[dict[str, Any]]] = {
            "segments": [], "tracks": [], "identity_audit": [], "quarantine": [],
        }  # fmt: skip
        for row in finished:
            record = segment_record(row, self.facts, self.started_at)
            records["segments"].append(record)
            if record["status"] == "published":
                records["tracks"] += track_records(row, self.facts, "treated")
                records["identity_audit"] += identity_records(row, self.facts)
            else:
                records["quarantine"].append(quarantine_record(row, self.facts))
        self.writer.append_all(records)
        return records["segments"]
