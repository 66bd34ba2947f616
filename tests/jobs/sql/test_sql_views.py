"""What the views, checks and questions say about a lake whose content is known."""

import pytest

from deid_ops.errors import SetupError
from jobs.lake.tables import Lake
from jobs.sql import checks, named, offenders, open_engine, plain_types, query, questions, views


@pytest.fixture(scope="module")
def ask(disk_lake):
    with open_engine(disk_lake.root, "duckdb") as engine:
        yield lambda statement: plain_types(engine.run(named(statement))).to_pylist()


def by(rows, *names):
    return {tuple(r[n] for n in names) if len(names) > 1 else r[names[0]]: r for r in rows}


def test_current_segments_shows_the_latest_outcome(ask):
    rows = by(ask("current_segments"), "unit_id")
    assert {u: (r["status"], r["run_id"]) for u, r in rows.items()} == {
        "a1": ("published", "run2"),
        "a2": ("published", "run1"),
        "b1": ("published", "run1"),
        "c1": ("quarantined", "run1"),
        "c2": ("published", "run2"),
    }


def test_current_tracks_follow_the_segments_and_ignore_rows_of_a_crash(ask):
    rows = by(ask("current_tracks"), "unit_id", "track")
    assert {k: (r["run_id"], r["n_swapped"]) for k, r in rows.items()} == {
        ("a1", 0): ("run2", 6),
        ("a1", 1): ("run2", 4),
        ("b1", 0): ("run1", 5),
        ("c2", 0): ("run2", 6),
    }


def test_exposure_adds_up_per_recording(ask):
    rows = by(ask("exposure"), "recording_id")
    a = rows["rec-a"]
    assert (a["n_segments"], a["n_segments_copied"], a["video_s"]) == (2, 1, 20.0)
    assert (a["n_faces"], a["n_faces_swapped"], a["n_faces_redacted"]) == (12, 10, 2)
    assert (a["n_persons"], a["face_seconds"]) == (2, 0.48)
    assert rows["rec-c"]["n_segments_quarantined"] == 1


def test_identity_rates_come_with_an_interval(ask):
    rows = by(ask("identity_rate"), "encoder", "eye_distance_px", "shown")
    assert set(rows) == {
        ("dlib", "24 to 48", "replaced"),
        ("dlib", "below 12", "redacted"),
        ("dlib", "unknown", "replaced"),
        ("other", "24 to 48", "replaced"),
    }
    middle = rows["dlib", "24 to 48", "replaced"]
    assert middle["others_retrieved_rate"] == pytest.approx((0.5 + 0.5) / 12)
    assert middle["n_faces_judged"] == 12
    assert middle["retrieved_rate"] == pytest.approx(1 / 12)
    # Wilson's interval for 1 of 12 at 95 %: [0.0149, 0.3539]
    assert middle["retrieved_rate_high"] == pytest.approx(0.3539, abs=1e-4)
    assert middle["rank1_rate_by_chance"] == pytest.approx(1 / 3)
    # ... and for 0 of 5: z^2 / (n + z^2)
    small = rows["dlib", "below 12", "redacted"]
    assert small["retrieved_rate_high"] == pytest.approx(3.841459 / 8.841459)
    assert small["others_retrieved_rate"] is None


def test_utility_drift_counts_a_track_once_and_weighs_it_by_its_faces(ask):
    (row,) = ask("utility_drift")  # both recordings have one camera and one face size
    assert (row["eye_distance_px"], row["n_tracks"], row["n_faces_judged"]) == ("24 to 48", 2, 12)
    assert row["pose_drift_deg"] == pytest.approx((6 * 2.0 + 6 * 5.0) / 12)
    assert row["landmark_drift_max"] == pytest.approx(5.0)
    assert row["consistency_output"] == pytest.approx(0.125)


def test_identity_risk_takes_the_worst_encoder(ask):
    rows = by(ask("identity_risk"), "unit_id", "track")
    assert rows["c2", 0]["n_retrieved"] == 1
    assert rows["c2", 0]["margin_min"] == pytest.approx(-0.02)
    assert rows["a1", 0]["margin_min"] == pytest.approx(0.15)


def test_open_quarantine_leaves_out_what_was_published_since(ask):
    assert [(r["unit_id"], r["reason"]) for r in ask("quarantine_open")] == [("c1", "truncated")]


def test_run_summary_shows_the_last_state_of_each_run(ask):
    rows = by(ask("run_summary"), "run_id")
    assert (rows["run1"]["status"], rows["run1"]["exit_code"]) == ("quarantined", 3)
    assert rows["run1"]["n_frames"] == 1250
    assert rows["run1"]["frames_per_compute_s"] == pytest.approx(1250 / (5 * 31.25))
    assert (rows["run2"]["status"], rows["run2"]["exit_code"]) == ("started", None)


def test_coverage_per_camera(ask):
    rows = by(ask("coverage_by_camera"), "fleet", "camera")
    rear = rows["north", "rear"]
    assert (rear["n_faces"], rear["n_detected"], rear["n_filled"], rear["n_repaired"]) == (
        8,
        5,
        2,
        1,
    )
    assert rear["found_before_audit"] == pytest.approx(7 / 8)
    assert rows["south", "front"]["n_quarantined"] == 1


def test_linkability_counts_persons_and_shared_anchors(ask):
    (row,) = ask("linkability")
    assert (row["n_persons"], row["n_persons_in_several_recordings"]) == (3, 1)
    assert row["n_persons_in_several_drives"] == 0
    assert (row["n_anchors"], row["n_anchors_of_several_persons"]) == (2, 1)


def test_cost_needs_a_price(ask):
    rows = by(ask("cost_per_camera_hour"), "run_id", "fleet", "camera")
    assert rows["run1", "north", "rear"]["cost_per_camera_hour"] == pytest.approx(2.5 * 3.125)
    assert rows["run2", "south", "front"]["cost_per_camera_hour"] is None


def test_the_review_queue_begins_with_the_recognized(ask):
    rows = ask("what_should_a_person_look_at")
    assert [(r["recording_id"], r["why"]) for r in rows] == [
        ("rec-c", "matched to the original"),
        ("rec-b", "found by the audit only"),
        ("rec-a", "sample"),
        ("rec-a", "sample"),
    ]


def test_checks_find_nothing_in_a_sound_lake(disk_lake):
    found = offenders(disk_lake.root)
    assert {name: rows.to_pylist() for name, rows in found.items()} == {}


def test_every_question_has_an_answer_and_a_documented_purpose(ask):
    for name, question in questions().items():
        assert ask(name), name
        assert question.doc.count("?") >= 1, name
    for statement in (*views().values(), *checks().values()):
        assert len(statement.doc) > 20, statement.name


def test_own_sql_and_names_are_told_apart(disk_lake):
    rows = query(disk_lake.root, "SELECT count(*) AS n FROM segments;")
    assert rows.to_pylist() == [{"n": 7}]
    assert named("segments") == "SELECT * FROM segments"
    with pytest.raises(SetupError, match="'segmnts' is no table, view"):
        query(disk_lake.root, "segmnts")


@pytest.mark.parametrize("engine", ["duckdb", "datafusion"])
def test_an_engine_that_refuses_says_so(disk_lake, engine):
    with pytest.raises(SetupError, match="no_such_column"):
        query(disk_lake.root, "SELECT no_such_column FROM segments", engine)


def test_a_lake_that_is_not_there_is_a_setup_error(tmp_path):
    with pytest.raises(SetupError, match="no table runs"):
        query(str(tmp_path), "exposure")


def test_an_empty_lake_answers_with_no_rows(tmp_path):
    lake = Lake(tmp_path)
    lake.ensure()
    for engine in ("duckdb", "datafusion"):
        with open_engine(lake.root, engine) as opened:
            for name in views():
                assert plain_types(opened.run(named(name))).num_rows == 0
    assert offenders(lake.root) == {}
