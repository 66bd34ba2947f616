"""The sidecar of `deid run`: every box has a track, also one that the audit's repair added."""

import json

import numpy as np

from deid_ops.types import BoxOrigin, FaceTracks
from jobs.clip_faces import read_sidecar
from jobs.loose import write_sidecar
from jobs.rows import tracks_to_row


def row_with_a_repair():
    """Two tracks of persons; the third one was added by the audit and belongs to nobody."""
    n = 3
    tracks = FaceTracks(
        frame_index=np.int32([0, 0, 1]),
        track=np.int32([0, 1, 2]),
        boxes_xyxy_px=np.float32([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]),
        landmarks_xy_px=np.zeros((n, 5, 2), np.float32),
        has_landmarks=np.array([True, True, False]),
        score=np.float32([0.9, 0.8, 0.7]),
        eye_distance_px=np.float32([4, 4, 0]),
        blur=np.zeros(n, np.float32),
        turn=np.zeros(n, np.float32),
        origin=np.array([BoxOrigin.DETECTED, BoxOrigin.DETECTED, BoxOrigin.REPAIRED], np.int8),
    )
    return tracks_to_row(tracks) | {
        "box_treatment": ["swapped", "redacted", "redacted"],
        "box_reason": ["replaced", "too_small", "audit_repair"],
        "track_person_id": ["ann", "bob"],
        "track_anchor_id": np.int32([5, -1]),
        "track_other_anchor_ids": np.int32([6, 7, -1, -1]),
        "track_anchor_number": np.int32([2, 0]),
        "staged_sha256": "0" * 64,
        "clip_treatment": "anonymized",
        "width_px": 64,
        "height_px": 32,
        "rotation_deg": 0,
        "n_frames_out": 2,
        "time_base_num": 1,
        "time_base_den": 10,
        "audit_detector": "mtcnn",
        "n_repairs": 1,
    }


def test_a_repaired_box_has_a_track_of_nobody(tmp_path):
    write_sidecar(row_with_a_repair(), tmp_path / "in.mp4", tmp_path / "out.mp4")
    sidecar = read_sidecar(tmp_path / "out.mp4.json")
    assert sidecar.person.tolist() == ["ann", "bob", "track 2"]
    assert sidecar.swapped.tolist() == [True, False, False]
    tracks = json.loads((tmp_path / "out.mp4.json").read_text())["tracks"]
    assert [t["anchor"] for t in tracks] == [7, -1, -1]  # what is shown, not the first choice
