"""Leases and guarded commits: replays, races, takeovers, lost answers, kills."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deid_ops.errors import InvariantError
from jobs.lake import commits
from jobs.lake.commits import LeaseLostError, acquire_lease, append, append_all
from jobs.lake.resume import done_units
from jobs.lake.tables import Lake
from jobs.storage import Storage


@pytest.fixture
def lake(root_uri):
    lake = Lake(root_uri)
    lake.ensure()
    return lake


def units(lake):
    return sorted(lake.read("segments", ["unit_id"])["unit_id"].to_pylist())


def test_a_replay_does_not_double_the_rows(lake, example_rows):
    lease = acquire_lease(lake, "plan", "run")
    rows = example_rows("segments", {"unit_id": "u1"})
    first = append(lake, lease, "segments", rows, 1)
    again = append(lake, lease, "segments", rows, 1)
    assert (first.landed_before, again.landed_before) == (False, True)
    assert append(lake, lease, "segments", rows, 0).landed_before  # an older one neither
    assert units(lake) == ["u1"]


def test_transactions_survive_checkpoints(tmp_path, example_rows):
    lake = Lake(tmp_path)
    lake.ensure()
    lease = acquire_lease(lake, "plan", "run")
    rows = example_rows("segments", {"unit_id": "u1"})
    append(lake, lease, "segments", rows, 7)
    table = lake.open("segments")
    table.create_checkpoint()
    for log in (tmp_path / "segments/_delta_log").glob("*.json"):
        log.unlink()
    assert append(lake, lease, "segments", rows, 7).landed_before


def test_of_eight_racing_replays_one_lands(lake, example_rows):
    lease = acquire_lease(lake, "plan", "run")
    rows = example_rows("segments", {"unit_id": "u1"})
    with ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda _: append(Lake(lake.root), lease, "segments", rows, 1), range(8))
        )
    assert sum(not r.landed_before for r in results) == 1
    assert units(lake) == ["u1"]


def test_drivers_of_different_plans_do_not_publish_a_unit_twice(lake, example_rows):
    one, two = (acquire_lease(lake, f"plan-{n}", f"run-{n}") for n in "ab")
    row = {"unit_id": "u1", "pipeline_fingerprint": "f" * 64}
    append(lake, one, "segments", example_rows("segments", row), 1)
    both = example_rows("segments", row, {"unit_id": "u2", "pipeline_fingerprint": "f" * 64})
    with pytest.raises(InvariantError, match="1 of 2 units are published already by run"):
        append(lake, two, "segments", both, 1)
    append(lake, two, "segments", example_rows("segments", row | {"status": "quarantined"}), 1)
    append(lake, two, "segments", example_rows("segments", row | {"pipeline_fingerprint": "0"}), 2)
    twice = example_rows("segments", *[row | {"unit_id": "u3"}] * 2)
    with pytest.raises(InvariantError, match="some of 2 units"):
        append(lake, two, "segments", twice, 3)
    assert units(lake) == ["u1", "u1", "u1"]


def test_four_drivers_of_different_plans_all_land(lake, example_rows):
    def drive(number):
        own = Lake(lake.root)
        lease = acquire_lease(own, f"plan{number}", f"run{number}")
        append(own, lease, "segments", example_rows("segments", {"unit_id": f"u{number}"}), 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(drive, range(4)))
    assert units(lake) == [f"u{n}" for n in range(4)]


def test_a_driver_that_was_taken_over_is_refused_on_every_table(lake, example_rows):
    zombie = acquire_lease(lake, "plan", "old")
    append(lake, zombie, "segments", example_rows("segments", {"unit_id": "u1"}), 1)
    heir = acquire_lease(lake, "plan", "new")
    assert heir.epoch == zombie.epoch + 1
    for name in ("segments", "tracks", "quarantine", "runs", "identity_audit", "evaluations"):
        with pytest.raises(LeaseLostError, match="another driver has taken over"):
            append(lake, zombie, name, example_rows(name, {}), 2)
    append(lake, heir, "segments", example_rows("segments", {"unit_id": "u2"}), 1)
    assert units(lake) == ["u1", "u2"]


def test_a_zombie_with_a_snapshot_from_before_the_takeover_is_refused(
    lake, example_rows, monkeypatch
):
    zombie = acquire_lease(lake, "plan", "old")
    stale = lake.open("segments")
    acquire_lease(lake, "plan", "new")
    handles = iter([stale])
    real = Lake.open
    monkeypatch.setattr(Lake, "open", lambda self, name: next(handles, None) or real(self, name))
    with pytest.raises(LeaseLostError):
        append(lake, zombie, "segments", example_rows("segments", {"unit_id": "u1"}), 1)
    assert units(lake) == []


def test_two_drivers_that_start_at_once_do_not_both_hold_the_plan(lake, example_rows):
    def start(number):
        own = Lake(lake.root)
        try:
            lease = acquire_lease(own, "plan", f"run{number}")
            rows = example_rows("segments", {"unit_id": "u", "run_id": f"run{number}"})
            append(own, lease, "segments", rows, 1)
        except LeaseLostError:
            return None
        except InvariantError as refused:  # came after one that has published the unit
            if "published already" not in str(refused):
                raise
            return None
        return lease.epoch

    with ThreadPoolExecutor(4) as pool:
        epochs = [e for e in pool.map(start, range(4)) if e is not None]
    assert len(set(epochs)) == len(epochs)
    last = Lake(lake.root).open("segments").transaction_version("lease/plan")
    holder = commits.Lease("plan", "late", last - 1)
    with pytest.raises(LeaseLostError):
        append(lake, holder, "segments", example_rows("segments", {}), 9)


def test_several_tables_land_under_one_number_and_segments_last(lake, example_rows):
    lease = acquire_lease(lake, "plan", "run")
    batch = {
        "segments": example_rows("segments", {"unit_id": "u1"}),
        "tracks": example_rows("tracks", {"unit_id": "u1"}),
        "quarantine": example_rows("quarantine"),
    }
    done = append_all(lake, lease, batch, 1)
    assert [c.table for c in done] == ["tracks", "segments"]
    assert all(c.landed_before for c in append_all(lake, lease, batch, 1))
    with pytest.raises(InvariantError, match="no such tables: clips"):
        append_all(lake, lease, {"clips": batch["segments"]}, 2)


def test_giving_up_is_bounded_and_says_why(tmp_path, example_rows, monkeypatch):
    lake = Lake(tmp_path)
    lake.ensure()
    lease = acquire_lease(lake, "plan", "run")
    monkeypatch.setattr(commits, "MAX_TRIES", 2)

    def fail(*args, **kwargs):
        raise OSError("the store is down")

    monkeypatch.setattr(commits, "write_deltalake", fail)
    with pytest.raises(commits.RetryableError, match="after 2 attempts: the store is down"):
        append(lake, lease, "segments", example_rows("segments", {}), 1)


WRITER = textwrap.dedent(
    """
    import sys
    import pyarrow.parquet as pq
    from jobs.lake.commits import acquire_lease, append
    from jobs.lake.tables import Lake

    root, run_id, rows_file = sys.argv[1:4]
    lake = Lake(root)
    lease = acquire_lease(lake, "plan", run_id)
    rows = pq.read_table(rows_file)
    print("ready", flush=True)
    sys.stdin.readline()
    for row in range(rows.num_rows):
        append(lake, lease, "segments", rows.slice(row, 1), row + 1)
    """
)


def start_writer(root, run_id, rows, tmp_path):
    import pyarrow.parquet as pq

    script, file = tmp_path / "writer.py", tmp_path / f"{run_id}.parquet"
    script.write_text(WRITER)
    pq.write_table(rows, file)
    return subprocess.Popen(
        [sys.executable, str(script), root, run_id, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
    )


def test_drivers_killed_at_any_moment_lose_and_double_nothing(tmp_path, example_rows, rng):
    lake = Lake(tmp_path / "lake")
    lake.ensure()
    planned = [f"u{n:02d}" for n in range(30)]
    fingerprint = "f" * 64
    for run in range(12):
        missing = sorted(set(planned) - set(done_units(lake, planned, fingerprint)))
        if not missing:
            break
        rows = example_rows(
            "segments", *({"unit_id": u, "pipeline_fingerprint": fingerprint} for u in missing)
        )
        driver = start_writer(lake.root, f"run{run}", rows, tmp_path)
        assert driver.stdout.readline() == b"ready\n"
        driver.stdin.write(b"go\n")
        driver.stdin.close()
        if run < 4:
            time.sleep(rng.uniform(0.0, 0.08))
            driver.send_signal(signal.SIGKILL)
        driver.stdout.close()
        driver.wait(timeout=60)
    assert run > 1, "no driver was killed before it was done"
    assert units(lake) == planned


@pytest.mark.s3
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_driver_killed_around_its_commit_is_resumed_exactly_once(
    s3_bucket, s3_fault, example_rows, tmp_path, moment
):
    lake = Lake(f"{s3_bucket}/lake")
    lake.ensure()
    fingerprint = "f" * 64
    rows = example_rows("segments", {"unit_id": "u1", "pipeline_fingerprint": fingerprint})
    driver = start_writer(lake.root, "run0", rows, tmp_path)
    assert driver.stdout.readline() == b"ready\n"
    s3_fault("/segments/_delta_log/", moment, kill=driver.pid)
    driver.stdin.write(b"go\n")
    driver.stdin.close()
    assert driver.wait(timeout=60) == -signal.SIGKILL
    driver.stdout.close()
    written = [o.path for o in Storage(lake.root).walk("segments") if "_delta_log" not in o.path]
    assert len(written) == 1, "the data file comes before the commit"
    landed = {"u1": "published"} if moment == "after" else {}
    assert done_units(lake, ["u1"], fingerprint) == landed
    heir = acquire_lease(lake, "plan", "run1")
    if not landed:
        append(lake, heir, "segments", rows, 1)
    assert units(lake) == ["u1"]


@pytest.mark.s3
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_whose_answer_is_lost_happens_once(s3_bucket, s3_fault, example_rows, moment):
    lake = Lake(f"{s3_bucket}/lake")
    lake.ensure()
    lease = acquire_lease(lake, "plan", "run")
    was_applied = s3_fault("/segments/_delta_log/", moment)
    append(lake, lease, "segments", example_rows("segments", {"unit_id": "u1"}), 1)
    assert was_applied()
    assert units(lake) == ["u1"]
