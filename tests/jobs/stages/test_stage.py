import pyarrow as pa
import pytest

from deid_ops.errors import InputError, InvariantError, RetryableError, SetupError
from jobs.config import JobConfig
from jobs.rows import from_table, to_table
from jobs.stages import stage as module
from jobs.stages.stage import Stage, StageActor, StageContext, check_pipeline
from schemas.edges import DETECTED, PLANNED, TRACKED

CONTEXT = StageContext(JobConfig(), "lake", "run", b"k" * 32, "scratch", "f" * 32)


def actor(operation):
    return StageActor(Stage("detect", lambda _: operation, PLANNED, PLANNED), CONTEXT)


def batch(*units):
    rows = [to_table(PLANNED, {"unit_id": u, "status": "ok"}) for u in units]
    return pa.concat_tables(rows)


def test_the_secret_key_is_not_printed():
    assert "kkkk" not in repr(CONTEXT)


def test_an_input_error_costs_one_row():
    def operation(row):
        if row["unit_id"] == "bad":
            raise InputError("truncated", "bad.mp4", "half a file", "copy it again")
        return row

    out = from_table(PLANNED, actor(operation)(batch("a", "bad", "b")))
    assert [r["status"] for r in out] == ["ok", "quarantined", "ok"]
    assert out[1]["refused_by"] == "detect"
    assert dict(out[0]["stage_seconds"])["detect"] >= 0


def test_a_transient_failure_is_tried_again(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    calls = []

    def operation(row):
        calls.append(row["unit_id"])
        if len(calls) < 3:
            raise RetryableError("the store is away")
        return row

    (row,) = from_table(PLANNED, actor(operation)(batch("a")))
    assert (row["status"], len(calls)) == ("ok", 3)


def test_a_lasting_failure_of_the_store_quarantines(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)

    def operation(_):
        raise RetryableError("the store is away")

    (row,) = from_table(PLANNED, actor(operation)(batch("a")))
    assert row["reason"] == "retries_exhausted"
    assert "the store is away" in row["detail"]


def test_a_broken_promise_stops_the_run():
    def operation(_):
        raise InvariantError("lost a box")

    with pytest.raises(InvariantError, match="lost a box"):
        actor(operation)(batch("a"))


def test_a_refused_row_is_not_treated_again():
    def operation(_):
        raise AssertionError("must not be called")

    refused = to_table(PLANNED, {"unit_id": "a", "status": "quarantined", "reason": "x"})
    (row,) = from_table(PLANNED, actor(operation)(refused))
    assert (row["reason"], row["stage_seconds"]) == ("x", [])


def test_neighbours_that_do_not_fit_are_named():
    first = Stage("detect", lambda _: None, PLANNED, DETECTED)
    second = Stage("swap", lambda _: None, TRACKED, TRACKED)
    with pytest.raises(SetupError, match=r"'swap' reads edge 'tracked', but 'detect' emits"):
        check_pipeline((first, second))
