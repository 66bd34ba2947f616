"""Anti-joins against the lake, the attempt ledger, garbage and maintenance."""

import datetime as dt

import pytest

from deid_ops.errors import InputError
from jobs.lake.attempts import AttemptLedger
from jobs.lake.commits import acquire_lease, append
from jobs.lake.gc import collect_garbage
from jobs.lake.maintenance import maintain
from jobs.lake.resume import done_units, found_tracks, shown_anchors
from jobs.lake.tables import Lake
from jobs.storage import Storage

F1, F2 = "1" * 64, "2" * 64
LATER = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


@pytest.fixture
def lake(root_uri):
    lake = Lake(root_uri)
    lake.ensure()
    return lake


@pytest.fixture
def write(lake, example_rows):
    lease = acquire_lease(lake, "plan", "run")
    seqs = {}

    def write(table, *overrides):
        seqs[table] = seqs.get(table, 0) + 1
        append(lake, lease, table, example_rows(table, *overrides), seqs[table])

    return write


def test_done_means_same_unit_and_same_fingerprint(lake, write):
    write("segments", {"unit_id": "a", "pipeline_fingerprint": F1})
    write("segments", {"unit_id": "b", "pipeline_fingerprint": F1, "status": "quarantined"})
    write("segments", {"unit_id": "c", "pipeline_fingerprint": F2})
    planned = ["a", "b", "c", "d"]
    assert done_units(lake, planned, F1) == {"a": "published", "b": "quarantined"}
    assert done_units(lake, planned, F1, statuses={"published"}) == {"a": "published"}
    assert done_units(lake, planned, F2) == {"c": "published"}
    assert done_units(lake, ["d"], F1) == {}
    assert done_units(lake, [], F1) == {}


def test_the_latest_outcome_of_a_unit_decides(lake, write):
    row = {"unit_id": "a", "pipeline_fingerprint": F1}
    write("segments", row | {"committed_at": LATER})
    write("segments", row | {"status": "quarantined"})
    assert done_units(lake, ["a"], F1) == {"a": "published"}
    assert done_units(lake, ["a"], F1, statuses={"quarantined"}) == {}


def test_only_the_days_asked_for_are_read(lake, write):
    row = {"pipeline_fingerprint": F1}
    write("segments", row | {"unit_id": "a", "drive_date": dt.date(2026, 5, 1)})
    write("segments", row | {"unit_id": "b", "drive_date": dt.date(2026, 5, 2)})
    days = {dt.date(2026, 5, 2)}
    assert done_units(lake, ["a", "b"], F1, drive_dates=days) == {"b": "published"}


def test_found_tracks_come_back_complete_and_once(lake, write):
    row = {"find_fingerprint": F1, "frame_index": [0], "boxes_xyxy_px": [1.0, 2.0, 3.0, 4.0]}
    one = {"n_faces": 1, "n_detected": 1, "n_swapped": 1}
    write("tracks", row | one | {"unit_id": "a", "track": 1}, row | {"unit_id": "a"})
    write("tracks", {"unit_id": "b", "track": -1, "find_fingerprint": F1})
    write("tracks", row | {"unit_id": "c", "find_fingerprint": F2})
    write("tracks", row | {"unit_id": "a", "state": "treated"})
    found = found_tracks(lake, ["a", "b", "c", "d"], F1)
    assert list(zip(found["unit_id"].to_pylist(), found["track"].to_pylist(), strict=True)) == [
        ("a", 0),
        ("a", 1),
        ("b", -1),
    ]
    assert found["boxes_xyxy_px"].to_pylist()[1] == [1.0, 2.0, 3.0, 4.0]


def test_a_unit_found_by_two_runs_is_taken_from_the_latest(lake, write):
    old = {"unit_id": "a", "find_fingerprint": F1, "run_id": "old"}
    write("tracks", old | {"track": 0}, old | {"track": 1})
    write("tracks", old | {"run_id": "new", "committed_at": LATER})
    found = found_tracks(lake, ["a"], F1)
    assert found["run_id"].to_pylist() == ["new"]


def test_shown_anchors_are_those_of_published_faces_of_these_units(lake, write):
    row = {"state": "treated", "pipeline_fingerprint": F1, "person_id": "p", "anchor_id": "7"}
    row |= {"n_faces": 1, "n_detected": 1, "n_swapped": 1}
    write("tracks", row | {"unit_id": "a"})
    write("tracks", row | {"unit_id": "b", "person_id": "q", "n_swapped": 0, "n_redacted": 1})
    write("tracks", row | {"unit_id": "b", "person_id": "r", "pipeline_fingerprint": F2})
    write("tracks", row | {"unit_id": "c", "person_id": "s", "anchor_id": "8"})
    assert shown_anchors(lake, ["a", "b"], F1) == {"p": 7}
    assert shown_anchors(lake, ["c", "d"], F1) == {"s": 8}


def test_the_attempt_after_the_last_is_refused_and_forgotten_ones_do_not_count(root_uri):
    ledger = AttemptLedger(Storage(root_uri), F1)
    other = AttemptLedger(Storage(root_uri), F2)
    assert [ledger.begin("u1", "detect"), ledger.begin("u1", "detect")] == [1, 2]
    with pytest.raises(InputError, match="2 attempts at detect") as caught:
        ledger.begin("u1", "detect")
    assert caught.value.reason == "attempts_exhausted"
    assert ledger.begin("u1", "compose") == 1
    assert other.begin("u1", "detect") == 1
    ledger.forget("u1", "detect")
    assert ledger.begin("u1", "detect") == 1


def test_garbage_is_what_no_row_refers_to_and_is_old_enough(lake, write, root_uri):
    output = Storage(f"{root_uri}/out")
    for path in ("clips/d/a/kept.mp4", "clips/d/a/orphan.mp4", "staging/r/x", "quarantine/r/y"):
        output.write(path, b"1")
    write("segments", {"clip_uri": output.uri("clips/d/a/kept.mp4")})
    assert collect_garbage(lake, output, dt.timedelta(days=7), dry_run=False) == []
    seconds = dt.timedelta(seconds=-5)  # the objects are a moment old, and clocks are coarse
    listed = collect_garbage(lake, output, seconds, dry_run=True)
    assert [o.path for o in listed] == ["clips/d/a/orphan.mp4", "staging/r/x"]
    assert output.exists("clips/d/a/orphan.mp4")
    collect_garbage(lake, output, seconds, dry_run=False)
    left = [o.path for o in output.walk("")]
    assert left == ["clips/d/a/kept.mp4", "quarantine/r/y"]


@pytest.mark.parametrize("cluster", [False, True])
def test_maintenance_compacts_and_changes_no_row(lake, write, cluster):
    for number in range(4):
        write("segments", {"unit_id": f"u{number}"})
    before = lake.read("segments").sort_by("unit_id")
    done = {m.table: m for m in maintain(lake, cluster=cluster, vacuum=True)}
    assert (done["segments"].n_files_removed, done["segments"].n_files_added) == (4, 1)
    assert lake.read("segments").sort_by("unit_id").equals(before)
    assert lake.open("segments").protocol().min_writer_version == 2
    assert lake.open("segments").transaction_version("segments/run") == 4
    write("segments", {"unit_id": "u9"})
    assert lake.read("segments").num_rows == 5
