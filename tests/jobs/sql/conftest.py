"""A lake with some of everything: redone and refused units, empty units, several encoders."""

import datetime as dt
import shutil

import pytest

from jobs.lake.commits import acquire_lease, append_all
from jobs.lake.tables import Lake

RUN1, RUN2 = "run1", "run2"
F1, F2 = "1" * 64, "2" * 64
T0 = dt.datetime(2026, 5, 3, 1, 0, 0, 123456, tzinfo=dt.UTC)
PLACES = {
    # recording: drive, date, fleet, vehicle, camera
    "rec-a": ("drive-1", dt.date(2026, 5, 1), "north", "car-1", "front"),
    "rec-b": ("drive-1", dt.date(2026, 5, 1), "north", "car-1", "rear"),
    "rec-c": ("drive-2", dt.date(2026, 5, 2), "south", "car-2", "front"),
}
NAMES = ("drive_id", "drive_date", "fleet", "vehicle_id", "camera")


def place(recording):
    return {"recording_id": recording} | dict(zip(NAMES, PLACES[recording], strict=True))


def segment(unit, recording, run, fingerprint, minute, **more):
    return place(recording) | {
        "unit_id": unit,
        "run_id": run,
        "pipeline_fingerprint": fingerprint,
        "find_fingerprint": F1,
        "clip_uri": f"clips/{unit}-{fingerprint[:4]}.mp4",
        "committed_at": T0 + dt.timedelta(minutes=minute),
        "duration_s": 10.0,
        "n_frames_in": 250,
        "n_frames_out": 250,
        "n_frames_audited": 250,
        "compute_s": 31.25,
        "gpu_s": 1.5,
        "stage_s": [("detect", 20.0), ("encode", 11.25)],
        "key_id": "key-1",
        **more,
    }


def faces(swapped, redacted, tracks, seconds):
    return {
        "n_faces": swapped + redacted,
        "n_faces_swapped": swapped,
        "n_faces_redacted": redacted,
        "n_tracks": tracks,
        "n_frames_with_faces": 100,
        "face_seconds": seconds,
    }


def track(unit, number, recording, run, fingerprint, person, n, **more):
    return place(recording) | {
        "unit_id": unit,
        "track": number,
        "run_id": run,
        "state": "treated" if fingerprint else "found",
        "pipeline_fingerprint": fingerprint,
        "find_fingerprint": F1,
        "person_id": person,
        "anchor_id": {"p1": "7", "p2": "8", "p3": "7"}.get(person, ""),
        "anchor_distance": 0.95,
        "key_id": "key-1",
        "last_frame": n - 1,
        "n_faces": n,
        "n_detected": n - 2,
        "n_interpolated": 2,
        "n_swapped": n,
        "frame_index": list(range(n)),
        "boxes_xyxy_px": [0.5] * 4 * n,
        "treatment": ["swapped"] * n,
        "reason": ["replaced"] * n,
        "eye_distance_px_p50": 30.0,
        **more,
    }


def judged(unit, number, recording, run, fingerprint, person, encoder, n, **more):
    return place(recording) | {
        "unit_id": unit,
        "track": number,
        "run_id": run,
        "pipeline_fingerprint": fingerprint,
        "person_id": person,
        "encoder": encoder,
        "n_faces": n,
        "n_faces_judged": n,
        "n_swapped_judged": n,
        "others_retrieved_far_1e3": 0.5,
        "gallery_size": 3,
        "distance_original_min": 0.71,
        "distance_original_p05": 0.75,
        "distance_original_p50": 0.9,
        "distance_negation_min": 0.8,
        "threshold_far_1e3": 0.6,
        "consistency_original": 0.1,
        "consistency_output": 0.125,
        "eye_distance_px_p50": 30.0,
        **more,
    }


def drift(amount):
    names = ("pose_drift_deg", "gaze_drift_deg", "expression_drift", "landmark_drift")
    return dict.fromkeys(names, amount)


def first_run():
    recognized = {"n_retrieved_far_1e3": 1, "n_retrieved_far_1e2": 2, "n_rank1": 2}
    return {
        "segments": [
            segment("a1", "rec-a", RUN1, F1, 0, **faces(12, 0, 2, 0.48)),
            segment("a2", "rec-a", RUN1, F1, 0, treatment="copied", reason="no_faces"),
            segment("b1", "rec-b", RUN1, F1, 0, **faces(5, 3, 1, 0.32), audit_repairs=1),
            segment("c1", "rec-c", RUN1, F1, 0, status="quarantined", reason="truncated",
                    treatment=None, clip_uri=None),
            segment("c2", "rec-c", RUN1, F1, 0, status="quarantined", reason="audit_failed",
                    treatment=None, clip_uri=None),
        ],
        "tracks": [
            track("a1", 0, "rec-a", RUN1, None, "p1", 8),
            track("a1", 1, "rec-a", RUN1, None, "p2", 4),
            track("a2", -1, "rec-a", RUN1, None, "", 2, n_faces=0, n_detected=0,
                  n_interpolated=0, n_swapped=0, frame_index=[], last_frame=0),
            track("a1", 0, "rec-a", RUN1, F1, "p1", 8),
            track("a1", 1, "rec-a", RUN1, F1, "p2", 4),
            track("b1", 0, "rec-b", RUN1, F1, "p1", 8, n_swapped=5, n_redacted=3, n_repaired=1,
                  n_detected=5, treatment=["swapped"] * 5 + ["redacted"] * 3),
        ],
        "identity_audit": [
            judged("a1", 0, "rec-a", RUN1, F1, "p1", "dlib", 8),
            judged("a1", 1, "rec-a", RUN1, F1, "p2", "dlib", 4, **recognized),
            judged("a1", 0, "rec-a", RUN1, F1, "p1", "other", 8, distance_original_min=0.5,
                   distance_original_p05=0.55),
            judged("b1", 0, "rec-b", RUN1, F1, "p1", "dlib", 5, eye_distance_px_p50=10.0,
                   n_swapped_judged=0, others_retrieved_far_1e3=None),
        ],
        "quarantine": [
            place("rec-c") | {"unit_id": "c1", "run_id": RUN1, "reason": "truncated",
                              "stage": "plan", "committed_at": T0, "pipeline_fingerprint": F1},
            place("rec-c") | {"unit_id": "c2", "run_id": RUN1, "reason": "audit_failed",
                              "stage": "audit", "committed_at": T0, "pipeline_fingerprint": F1},
        ],
        "runs": [
            {"run_id": RUN1, "started_at": T0, "committed_at": T0, "key_id": "key-1"},
            {"run_id": RUN1, "started_at": T0, "committed_at": T0 + dt.timedelta(minutes=5),
             "status": "quarantined", "exit_code": 3, "n_planned": 5, "n_published": 3,
             "n_quarantined": 2, "price_per_hour": 2.5, "key_id": "key-1",
             "finished_at": T0 + dt.timedelta(minutes=5)},
        ],
    }  # fmt: skip


def second_run():
    """Other weights: `a1` is rendered again, `c2` now succeeds; killed before its last row."""
    return {
        "segments": [
            segment("a1", "rec-a", RUN2, F2, 60, **faces(10, 2, 2, 0.48)),
            segment("c2", "rec-c", RUN2, F2, 60, **faces(6, 0, 1, 0.24)),
        ],
        "tracks": [
            track("a1", 0, "rec-a", RUN2, F2, "p1", 8, n_swapped=6, n_redacted=2),
            track("a1", 1, "rec-a", RUN2, F2, "p2", 4),
            track("c2", 0, "rec-c", RUN2, F2, "p3", 6),
            # rows of a crash between two tables: they describe no committed segment
            track("b1", 0, "rec-b", RUN2, F2, "p1", 8),
        ],
        "identity_audit": [
            judged("a1", 0, "rec-a", RUN2, F2, "p1", "dlib", 6, **drift(2.0)),
            judged("a1", 0, "rec-a", RUN2, F2, "p1", "other", 6, **drift(2.0)),
            judged("a1", 1, "rec-a", RUN2, F2, "p2", "dlib", 4, eye_distance_px_p50=None),
            judged("c2", 0, "rec-c", RUN2, F2, "p3", "dlib", 6, n_retrieved_far_1e3=1,
                   n_retrieved_far_1e2=1, distance_original_p05=0.58, **drift(5.0)),
        ],
        "runs": [
            {"run_id": RUN2, "started_at": T0 + dt.timedelta(hours=1), "n_planned": 5,
             "n_done_before": 3, "committed_at": T0 + dt.timedelta(hours=1), "key_id": "key-1"},
        ],
    }  # fmt: skip


def fill(root, example_rows):
    lake = Lake(root)
    lake.ensure()
    for run, batch in ((RUN1, first_run()), (RUN2, second_run())):
        lease = acquire_lease(lake, f"plan-{run}", run)
        tables = {name: example_rows(name, *rows) for name, rows in batch.items()}
        append_all(lake, lease, tables, 1)
    return lake


@pytest.fixture
def filled_lake(root_uri, example_rows):
    """The lake on disk and on S3."""
    return fill(root_uri, example_rows)


@pytest.fixture(scope="session")
def disk_lake(tmp_path_factory, example_rows):
    """The lake on disk, to be read only."""
    return fill(str(tmp_path_factory.mktemp("lake") / "lake"), example_rows)


@pytest.fixture
def own_lake(disk_lake, tmp_path):
    """A copy of the lake that the test may spoil."""
    shutil.copytree(disk_lake.root, tmp_path / "lake")
    return Lake(tmp_path / "lake")
