"""Progress of a run: a bar with the time left on a terminal, JSON lines otherwise.

Both go to standard error, so that what a command prints can be piped. An observer is told

=============  ==================================================  ===============================
event          fields                                              when
=============  ==================================================  ===============================
`indexed`      `done`, `total`                                     a recording's index was read
`planned`      `planned`, `done_before`                            the plan is complete
`found`        `unit`, `status`                                    the find pass of a unit ended
`tried`        `unit`, `status`                                    anchors were tried on a unit
`unit`         `unit`, `status`, `reason`, `seconds`               a unit ended
`committed`    `published`, `quarantined`, `total`                 a wave is in the lake
=============  ==================================================  ===============================

and each time the `run_id`. `seconds` is the length of the unit's video.
"""

from __future__ import annotations

import atexit
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Observer = Callable[[str, dict[str, Any]], None]
_SELDOM_S = 1.0  # `indexed` comes once a recording: at most one line a second


def observer(stream: TextIO | None = None) -> Observer:
    """Return what reports a run on `stream` (standard error where None)."""
    out = sys.stderr if stream is None else stream
    shown: Observer = ProgressBar(out) if out.isatty() else JsonLines(out)
    metrics = RayMetrics()

    def both(event: str, fields: dict[str, Any]) -> None:
        shown(event, fields)
        metrics(event, fields)

    return both


class JsonLines:
    """Writes one JSON object a line: `time`, `event`, and the event's fields.

    Args:
        out: where to.
        clock: seconds, for the rate and to hold back frequent events.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._last_indexed = float("-inf")
        self._rate = _Rate()

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        """Write an event."""
        now = self._clock()
        if event == "indexed" and fields.get("done") != fields.get("total"):
            if now - self._last_indexed < _SELDOM_S:
                return
            self._last_indexed = now
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        entry |= fields | self._rate.of(event, fields, now)
        self._out.write(json.dumps(entry, default=str) + "\n")
        self._out.flush()


class RayMetrics:
    """Counts a run for Prometheus through Ray, as soon as and only if Ray runs.

    `deid_units` (tags `status`, `reason`), `deid_video_seconds`, `deid_planned_units`,
    `deid_done_units`; Ray exports them as `ray_deid_...`.
    """

    def __init__(self) -> None:
        self._counters: tuple[Any, Any, Any, Any] | None = None
        self._planned, self._done_before = 0, 0

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        """Count an event."""
        if event == "planned":
            self._planned, self._done_before = fields["planned"], fields["done_before"]
        ray = sys.modules.get("ray")
        if event not in {"unit", "committed"} or ray is None or not ray.is_initialized():
            return
        units, seconds, planned, done = self._counters or self._create()
        if event == "unit":
            units.inc(1, tags={"status": fields["status"], "reason": fields["reason"]})
            seconds.inc(max(0.0, fields.get("seconds") or 0.0))
        else:
            planned.set(self._planned)
            done.set(self._done_before + fields["published"] + fields["quarantined"])

    def _create(self) -> tuple[Any, Any, Any, Any]:
        from ray.util.metrics import Counter, Gauge

        self._counters = (
            Counter("deid_units", "Units that ended.", tag_keys=("status", "reason")),
            Counter("deid_video_seconds", "Seconds of video whose unit ended."),
            Gauge("deid_planned_units", "Units in the plan of the run."),
            Gauge("deid_done_units", "Units in the lake, those done before included."),
        )
        return self._counters


class ProgressBar:
    """Draws two bars, recordings indexed and segments done, with the time left.

    Args:
        out: a terminal.
    """

    def __init__(self, out: TextIO) -> None:
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=out),
        )
        self._tasks: dict[str, Any] = {}
        self._quarantined = 0
        self._found = 0
        self._done_before = 0

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        """Move the bars."""
        if event == "indexed":
            self._show("indexing", fields["total"], fields["done"])
        elif event == "planned":
            self._done_before = fields["done_before"]
            note = f"{self._done_before} done before" if self._done_before else ""
            self._show("anonymizing", fields["planned"], fields["done_before"], note)
            if fields["planned"] == fields["done_before"]:
                self._stop()
        elif event == "found":
            self._found += 1
            self._note(f"faces searched in {self._found}")
        elif event == "unit":
            self._quarantined += fields["status"] != "ok"
            self._bar.advance(self._tasks["anonymizing"])
            self._note(f"{self._quarantined} quarantined" if self._quarantined else "")
        elif event == "committed":
            task = self._bar.tasks[self._tasks["anonymizing"]]
            done = self._done_before + fields["published"] + fields["quarantined"]
            self._bar.update(task.id, completed=max(task.completed, done))
            if task.completed >= (task.total or 0):
                self._stop()

    def _show(self, name: str, total: int, completed: int, note: str = "") -> None:
        if not self._tasks:
            self._bar.start()
            atexit.register(self._bar.stop)  # an interrupted run gives the terminal back
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, note=note)
        self._bar.update(self._tasks[name], total=total, completed=completed, note=note)

    def _note(self, text: str) -> None:
        self._bar.update(self._tasks["anonymizing"], note=text)

    def _stop(self) -> None:
        self._bar.stop()
        atexit.unregister(self._bar.stop)


class _Rate:
    """Counts units since the plan was made, for the time left."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._left = 0
        self._ended = 0

    def of(self, event: str, fields: dict[str, Any], now: float) -> dict[str, float]:
        """Return `eta_s` for an ended unit, once there is something to reckon from."""
        if event == "planned":
            self._started, self._ended = now, 0
            self._left = fields["planned"] - fields["done_before"]
        if event != "unit" or self._started is None:
            return {}
        self._ended += 1
        remaining = max(0, self._left - self._ended)
        return {"eta_s": round((now - self._started) / self._ended * remaining, 1)}
