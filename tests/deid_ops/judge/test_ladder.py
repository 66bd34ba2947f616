import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import InvariantError
from deid_ops.judge.ladder import (
    LadderParams,
    faces_to_retry,
    gate_faces,
    judge_faces,
    settle,
    track_merit,
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
    steps = [(a.number, a.anchor_number, a.noise_strength) for a in params.attempts()]
    assert steps == [(0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (3, 2, 1.5), (4, 2, 2.0)]
    reasons = [a.reason for a in params.attempts()]
    assert reasons[:2] == [Reason.REPLACED, Reason.REPLACED_STRONGER]


def climb(track, gate, accept, params=PARAMS):
    """Drive the functions; `accept(attempt number, row, anchor number)` plays all models."""
    rows = np.flatnonzero([g is None for g in gate])
    track = np.asarray(track, np.int32)
    stands = {}  # row -> (attempt, anchor)
    anchor_of = np.zeros(len(track), int)
    failures = [None] * len(track)
    for attempt in params.attempts():
        ok = np.array([r in stands for r in rows], bool)
        far = np.full(track.max() + 1, 9.0, np.float32)
        again = faces_to_retry(ok, track[rows], far, attempt, params)
        for row in rows if attempt.number == 0 else rows[again]:
            moves = attempt.noise_strength == params.noise_strengths[0]
            if moves:
                anchor_of[row] = attempt.anchor_number
            stands.pop(row, None)
            good = accept(attempt.number, int(row), int(anchor_of[row]))
            verdict = judge_faces(np.float32([0.1 if good else -0.1]), np.array([True]), params)
            failures[row] = verdict.failure[0]
            if verdict.accepted[0]:
                stands[row] = (attempt, int(anchor_of[row]))
    accepted_in = [stands[i][0] if i in stands else None for i in range(len(track))]
    anchors = {int(row): anchor for row, (_, anchor) in stands.items()}
    return settle(gate, accepted_in, failures), anchors


def test_a_good_first_try_ends_the_ladder():
    outcome, anchors = climb([0, 0, 1], [None, None, Reason.TOO_SMALL], lambda *_: True)
    assert outcome == [
        (Treatment.SWAPPED, Reason.REPLACED),
        (Treatment.SWAPPED, Reason.REPLACED),
        (Treatment.REDACTED, Reason.TOO_SMALL),
    ]
    assert anchors == {0: 0, 1: 0}


def test_a_failing_track_takes_another_anchor_as_a_whole():
    outcome, anchors = climb([0, 0, 1], [None] * 3, lambda n, r, a: r in {0, 2} or a == 1)
    assert anchors == {0: 1, 1: 1, 2: 0}
    reasons = [reason for _, reason in outcome]
    assert reasons == [Reason.REPLACED_STRONGER, Reason.REPLACED_STRONGER, Reason.REPLACED]


def test_single_failures_in_a_long_track_skip_the_anchor_step():
    tries = []

    def accept(number, row, anchor):
        tries.append((number, row))
        return row != 7

    outcome, _ = climb([0] * 20, [None] * 20, accept)
    assert [t for t in tries if t[0] > 0] == [(2, 7)]
    assert outcome[7] == (Treatment.REDACTED, Reason.TOO_CLOSE)


def test_a_track_that_is_near_as_a_whole_takes_another_anchor_and_the_best_one_stays():
    other, stronger = PARAMS.attempts()[1:]
    track, all_stand = np.int32([0, 0, 1]), np.ones(3, bool)
    near = np.float32([0.99, 1.0])
    assert faces_to_retry(all_stand, track, near, other, PARAMS).tolist() == [True, True, False]
    assert not faces_to_retry(all_stand, track, near, stronger, PARAMS).any()
    merit = track_merit(all_stand, track, near)
    assert merit[1] == 2.0
    assert 1.9 < merit[0] < 2.0
    # farther than needed is no better
    assert (track_merit(all_stand, track, near + 1) == 2.0).all()
    assert track_merit(np.array([True, False, True]), track, near + 1)[0] == 1.5


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=25),
    st.integers(0, 2**31),
    st.integers(0, 2),
)
def test_every_face_ends_somewhere_and_no_track_shows_two_identities(faces, seed, other_anchors):
    rng = np.random.default_rng(seed)
    track = [t for t, _ in faces]
    gate = [None if ok else Reason.TOO_BLURRED for _, ok in faces]
    last = {}

    def accept(number, row, anchor):
        last[row] = bool(rng.random() < 0.6)
        return last[row]

    outcome, anchors = climb(track, gate, accept, LadderParams(other_anchors=other_anchors))
    assert len(outcome) == len(faces)
    for row, (treatment, reason) in enumerate(outcome):
        if gate[row] is not None:
            assert (treatment, reason) == (Treatment.REDACTED, gate[row])
        else:
            assert (treatment is Treatment.SWAPPED) == last[row] == (row in anchors)
    for t in set(track):
        assert len({a for row, a in anchors.items() if track[row] == t}) <= 1


def test_lengths_must_fit_and_a_gated_face_is_never_swapped():
    first = PARAMS.attempts()[0]
    with pytest.raises(InvariantError, match="3 faces, 2 tracks"):
        faces_to_retry(np.zeros(3, bool), np.zeros(2, np.int32), np.ones(1), first, PARAMS)
    with pytest.raises(InvariantError, match="gated as too_small"):
        settle([Reason.TOO_SMALL], [first], [None])
    with pytest.raises(InvariantError, match="2 gates, 1 tries"):
        settle([None, None], [first], [None])
    with pytest.raises(InvariantError, match="2 distances, 1 detections"):
        judge_faces(np.zeros(2, np.float32), np.ones(1, bool), PARAMS)
    assert settle([None], [None], [None]) == [(Treatment.REDACTED, Reason.TOO_CLOSE)]
