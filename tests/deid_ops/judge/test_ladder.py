import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.judge.ladder import (
    LadderParams,
    gate_faces,
    judge_faces,
    settle,
)
from deid_ops.types import BoxOrigin, FaceTracks, Reason, Treatment

PARAMS = LadderParams(other_anchors=1)


def tracks(n=1, **columns):
    base = {
        "frame_index": np.arange(n),
        "track": np.zeros(n),
        "boxes_xyxy_px": np.tile([0, 0, 40, 50], (n, 1)),
        "landmarks_xy_px": np.zeros((n, 5, 2)),
        "has_landmarks": np.ones(n, bool),
        "origin": np.full(n, BoxOrigin.DETECTED),
        "score": np.full(n, 0.9),
        "eye_distance_px": np.full(n, 30),
        "blur": np.full(n, 0.2),
        "turn": np.full(n, 0.1),
    }
    return FaceTracks(**(base | {k: np.asarray(v) for k, v in columns.items()}))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({}, None),
        ({"eye_distance_px": [5]}, Reason.TOO_SMALL),
        ({"turn": [0.9]}, Reason.TOO_TURNED),
        ({"blur": [0.95]}, Reason.TOO_BLURRED),
        ({"score": [0.1]}, Reason.LOW_SCORE),
        ({"has_landmarks": [False]}, Reason.NO_LANDMARKS),
        ({"origin": [BoxOrigin.INTERPOLATED]}, Reason.LOW_SCORE),  # of a track without detections
        ({"origin": [BoxOrigin.EXTENDED], "has_landmarks": [False]}, Reason.NOT_DETECTED),
        ({"origin": [BoxOrigin.REPAIRED]}, Reason.NOT_DETECTED),
        ({"eye_distance_px": [5], "turn": [0.9], "score": [0.1]}, Reason.LOW_SCORE),
    ],
)
def test_gate(columns, reason):
    assert gate_faces(tracks(**columns), PARAMS) == (reason,)


def test_a_track_that_is_mostly_uncertain_is_redacted_as_a_whole():
    sure, unsure = PARAMS.min_score + 0.3, PARAMS.min_score - 0.1
    found, filled = BoxOrigin.DETECTED, BoxOrigin.INTERPOLATED
    mixed = tracks(
        8,
        track=[0, 0, 0, 0, 1, 1, 1, 1],
        origin=[found, found, filled, found, found, found, filled, found],
        score=[unsure, sure, sure, unsure, unsure, sure, unsure, sure],
    )
    low = Reason.LOW_SCORE
    assert gate_faces(mixed, PARAMS) == (low, low, low, low, low, None, low, None)


def test_what_is_seen_less_surely_than_its_track_usually_is_lies_behind_something():
    score = [0.9, 0.9, 0.9, 0.9 * 0.65, 0.9 * 0.75, 0.5, 0.5, 0.5]
    partly_hidden = tracks(8, track=[0, 0, 0, 0, 0, 1, 1, 1], score=score)
    low = Reason.LOW_SCORE
    assert gate_faces(partly_hidden, PARAMS) == (None, None, None, low, None, None, None, None)


def test_limits_themselves_pass_the_gate():
    at_limits = tracks(
        eye_distance_px=[PARAMS.min_eye_distance_px],
        turn=[PARAMS.max_turn],
        blur=np.float32([PARAMS.max_blur]) - 1e-6,
        score=np.float32([PARAMS.min_score]) + 1e-6,
    )
    assert gate_faces(at_limits, PARAMS) == (None,)


def test_policy_and_missing_generator_redact_all():
    assert gate_faces(tracks(3), PARAMS, redact_all=True) == (Reason.POLICY,) * 3
    assert gate_faces(tracks(2), PARAMS, has_generator=False) == (Reason.NO_GENERATOR,) * 2
    assert gate_faces(FaceTracks.empty(), PARAMS) == ()


def test_filled_boxes_can_be_excluded():
    strict = LadderParams(replace_filled=False)
    filled = tracks(2, origin=[BoxOrigin.DETECTED, BoxOrigin.INTERPOLATED])
    assert gate_faces(filled, PARAMS) == (None, None)
    assert gate_faces(filled, strict) == (None, Reason.NOT_DETECTED)


def test_nothing_is_painted_on_the_head_of_a_nearer_person():
    found, filled = BoxOrigin.DETECTED, BoxOrigin.INTERPOLATED
    near, ear, beside = [100, 100, 200, 220], [190, 140, 220, 180], [290, 140, 320, 180]
    rows = [near, ear, near, beside, ear, ear, near, ear]
    reasons = gate_faces(
        tracks(
            8,
            frame_index=[0, 0, 1, 1, 2, 3, 3, 4],
            track=[0, 1, 0, 1, 1, 1, 0, 1],
            boxes_xyxy_px=rows,
            origin=[found, filled, found, filled, filled, found, found, found],
        ),
        PARAMS,
    )
    assert reasons == (None, Reason.NOT_DETECTED, None, None, None, None, None, None)


def test_every_judge_must_be_content_and_nan_fails():
    slack = np.float32([[0.2, 0.1], [0.2, -0.01], [np.nan, 0.3], [0.2, 0.2]])
    verdict = judge_faces(slack, np.array([True, True, True, False]), PARAMS)
    assert verdict.accepted.tolist() == [True, False, False, False]
    assert verdict.failure == (None, Reason.TOO_CLOSE, Reason.TOO_CLOSE, Reason.NOT_FOUND_AGAIN)


def test_attempts_follow_the_configuration():
    params = LadderParams(other_anchors=2, noise_strengths=(1.0, 1.5, 2.0))
    attempts = [params.first(), *params.with_other_anchors(), *params.with_stronger_noise()]
    steps = [(a.number, a.anchor_number, a.noise_strength) for a in attempts]
    assert steps == [(0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (3, None, 1.5), (4, None, 2.0)]
    assert [a.reason for a in attempts[:2]] == [Reason.REPLACED, Reason.REPLACED_STRONGER]


def test_lengths_must_fit_and_a_gated_face_is_never_swapped():
    first = PARAMS.first()
    with pytest.raises(InvariantError, match="trial_faces below 1"):
        LadderParams(trial_faces=0)
    with pytest.raises(InvariantError, match="gated as too_small"):
        settle([Reason.TOO_SMALL], [first], [None])
    with pytest.raises(InvariantError, match="2 gates, 1 tries"):
        settle([None, None], [first], [None])
    with pytest.raises(InvariantError, match="2 distances, 1 detections"):
        judge_faces(np.zeros(2, np.float32), np.ones(1, bool), PARAMS)
    assert settle([None], [None], [None]) == [(Treatment.REDACTED, Reason.TOO_CLOSE)]
