"""Progress of a run on a terminal and in a log file."""

from __future__ import annotations

import io
import json
from itertools import count
from typing import ClassVar

import pytest

from jobs.observe import JsonLines, ProgressBar, RayMetrics, observer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_log_gets_json_and_a_terminal_a_bar() -> None:
    log, terminal = io.StringIO(), Terminal()
    for out in (log, terminal):
        observer(out)("planned", {"planned": 1, "done_before": 1})
    assert lines(log)[0]["event"] == "planned"
    assert "anonymizing" in terminal.getvalue()


class Recorded:
    """Stands for `ray.util.metrics.Counter` and `Gauge`: keeps what was recorded."""

    kept: ClassVar[dict[str, list[tuple[float, dict[str, str] | None]]]] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> None:
        assert description.endswith(".")
        self.name, self.tag_keys = name, tag_keys
        self.kept[name] = []

    def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
        assert set(tags or {}) == set(self.tag_keys)
        self.kept[self.name].append((value, tags))

    set = inc


def test_metrics_count_units_and_the_state_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr("ray.util.metrics.Counter", Recorded)
    monkeypatch.setattr("ray.util.metrics.Gauge", Recorded)
    metrics = RayMetrics()
    metrics("planned", {"planned": 5, "done_before": 2})
    metrics("unit", {"status": "ok", "reason": "done", "seconds": 9.0})
    assert not Recorded.kept  # Ray does not run: nothing is created
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    metrics("unit", {"status": "quarantined", "reason": "truncated", "seconds": 2.5})
    metrics("committed", {"published": 0, "quarantined": 1, "total": 5})
    assert Recorded.kept == {
        "deid_units": [(1, {"status": "quarantined", "reason": "truncated"})],
        "deid_video_seconds": [(2.5, None)],
        "deid_planned_units": [(5, None)],
        "deid_done_units": [(3, None)],
    }


def test_json_lines_carry_event_fields_and_time_left() -> None:
    out, clock = io.StringIO(), iter(float(t) for t in (10, 12, 14))
    log = JsonLines(out, lambda: next(clock))
    log("planned", {"run_id": "r", "planned": 6, "done_before": 2})
    log("unit", {"run_id": "r", "unit": "a", "status": "ok", "reason": "done", "seconds": 3.0})
    log("unit", {"run_id": "r", "unit": "b", "status": "quarantined", "reason": "truncated"})
    planned, first, second = lines(out)
    assert planned["event"] == "planned"
    assert (first["unit"], first["eta_s"], second["eta_s"]) == ("a", 6.0, 4.0)
    assert str(first["time"]).endswith("+00:00")


def test_indexed_is_held_back_but_the_last_comes() -> None:
    out, ticks = io.StringIO(), count()
    log = JsonLines(out, lambda: next(ticks) * 0.01)
    for done in range(1, 51):
        log("indexed", {"done": done, "total": 50})
    written = [line["done"] for line in lines(out)]
    assert written == [1, 50]


def test_the_bar_counts_units_and_ends_when_the_plan_is_done() -> None:
    out = Terminal()
    bar = ProgressBar(out)
    bar("indexed", {"done": 1, "total": 1})
    bar("planned", {"planned": 2, "done_before": 0})
    bar("found", {"unit": "a", "status": "ok"})
    bar("unit", {"unit": "a", "status": "ok", "reason": "done", "seconds": 1.0})
    bar("unit", {"unit": "b", "status": "quarantined", "reason": "x", "seconds": 1.0})
    assert not bar._bar.finished or bar._bar.live.is_started
    bar("committed", {"published": 1, "quarantined": 1, "total": 2})
    assert not bar._bar.live.is_started
    assert "2/2" in out.getvalue()
    assert "1 quarantined" in out.getvalue()


def test_units_refused_while_planning_are_caught_up_at_the_commit() -> None:
    out = Terminal()
    bar = ProgressBar(out)
    bar("planned", {"planned": 5, "done_before": 3})
    bar("unit", {"unit": "a", "status": "ok", "reason": "done", "seconds": 1.0})
    bar("committed", {"published": 1, "quarantined": 1, "total": 5})
    assert not bar._bar.live.is_started
    assert "5/5" in out.getvalue()


def test_a_run_with_nothing_to_do_ends_at_once() -> None:
    out = Terminal()
    bar = ProgressBar(out)
    bar("planned", {"planned": 3, "done_before": 3})
    assert not bar._bar.live.is_started
    assert "3 done before" in out.getvalue()
