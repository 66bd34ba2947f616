import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import InvariantError
from deid_ops.judge.ladder import LadderParams, gate_faces, judge_faces
from deid_ops.judge.ladder_run import LadderRun
from deid_ops.types import BoxOrigin, FaceTracks, Reason, Treatment

PARAMS = LadderParams()


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
        ({"origin": [BoxOrigin.INTERPOLATED]}, None),
        ({"origin": [BoxOrigin.EXTENDED], "has_landmarks": [False]}, Reason.NOT_DETECTED),
        ({"origin": [BoxOrigin.REPAIRED]}, Reason.NOT_DETECTED),
        ({"eye_distance_px": [5], "turn": [0.9], "score": [0.1]}, Reason.LOW_SCORE),
    ],
)
def test_gate(columns, reason):
    assert gate_faces(tracks(**columns), PARAMS) == (reason,)


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
    filled = tracks(origin=[BoxOrigin.INTERPOLATED])
    assert gate_faces(filled, strict) == (Reason.NOT_DETECTED,)


def test_every_judge_must_be_content_and_nan_fails():
    slack = np.float32([[0.2, 0.1], [0.2, -0.01], [np.nan, 0.3], [0.2, 0.2]])
    verdict = judge_faces(slack, np.array([True, True, True, False]), PARAMS)
    assert verdict.accepted.tolist() == [True, False, False, False]
    assert verdict.failure == (None, Reason.TOO_CLOSE, Reason.TOO_CLOSE, Reason.NOT_FOUND_AGAIN)


def test_attempts_follow_the_configuration():
    params = LadderParams(other_anchors=2, noise_strengths=(1.0, 1.5, 2.0))
    steps = [(a.number, a.new_anchor, a.noise_strength) for a in params.attempts()]
    assert steps == [
        (0, False, 1.0),
        (1, True, 1.0),
        (2, True, 1.0),
        (3, False, 1.5),
        (4, False, 2.0),
    ]
    assert [a.reason for a in params.attempts()][:2] == [
        Reason.REPLACED,
        Reason.REPLACED_STRONGER,
    ]


def run_ladder(track, gate, accept, params=PARAMS):
    """Drive a run; `accept(attempt, row, anchor)` plays generator and judge."""
    run = LadderRun(np.asarray(track, np.int32), gate, params)
    stands = {}
    for attempt in params.attempts():
        rows = run.open_rows(attempt)
        if len(rows) == 0:
            continue
        anchors = run.anchor_number[rows].copy()
        good = [accept(attempt.number, int(r), int(a)) for r, a in zip(rows, anchors, strict=True)]
        slack = np.where(good, 0.1, -0.1).astype(np.float32)
        keep = run.record(attempt, rows, slack, np.ones(len(rows), bool))
        for row, anchor in zip(rows[keep], anchors[keep], strict=True):
            stands[int(row)] = int(anchor)
    return run, stands


def test_a_good_first_try_ends_the_ladder():
    run, stands = run_ladder([0, 0, 1], [None, None, Reason.TOO_SMALL], lambda *_: True)
    assert run.outcome() == [
        (Treatment.SWAPPED, Reason.REPLACED),
        (Treatment.SWAPPED, Reason.REPLACED),
        (Treatment.REDACTED, Reason.TOO_SMALL),
    ]
    assert stands == {0: 0, 1: 0}


def test_a_failing_track_takes_another_anchor_as_a_whole():
    run, stands = run_ladder([0, 0, 1], [None] * 3, lambda n, r, a: r in {0, 2} or a == 1)
    assert stands == {0: 1, 1: 1, 2: 0}
    reasons = [reason for _, reason in run.outcome()]
    assert reasons == [Reason.REPLACED_STRONGER, Reason.REPLACED_STRONGER, Reason.REPLACED]


def test_a_worse_anchor_is_given_back():
    def accept(number, row, anchor):
        return (anchor == 0 and row < 2) or number == 2

    run, stands = run_ladder([0, 0, 0], [None] * 3, accept)
    assert stands == {0: 0, 1: 0, 2: 0}  # the noise step keeps the first anchor
    assert [r for _, r in run.outcome()] == [
        Reason.REPLACED,
        Reason.REPLACED,
        Reason.REPLACED_STRONGER,
    ]


def test_single_failures_in_a_long_track_skip_the_anchor_step():
    tries = []

    def accept(number, row, anchor):
        tries.append((number, row))
        return row != 7

    run, _ = run_ladder([0] * 20, [None] * 20, accept)
    assert [t for t in tries if t[0] > 0] == [(2, 7)]
    assert run.outcome()[7] == (Treatment.REDACTED, Reason.TOO_CLOSE)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=25),
    st.integers(0, 2**31),
    st.integers(0, 2),
)
def test_every_face_ends_somewhere_and_no_track_shows_two_identities(faces, seed, other_anchors):
    rng = np.random.default_rng(seed)
    track = [t for t, _ in faces]
    gate = [None if ok else Reason.TOO_BLURRED for _, ok in faces]
    params = LadderParams(other_anchors=other_anchors)
    accepted = {}

    def accept(number, row, anchor):
        accepted[(row, anchor, number)] = bool(rng.random() < 0.6)
        return accepted[(row, anchor, number)]

    run, stands = run_ladder(track, gate, accept, params)
    outcome = run.outcome()
    assert len(outcome) == len(faces)
    for row, (treatment, reason) in enumerate(outcome):
        if gate[row] is not None:
            assert (treatment, reason) == (Treatment.REDACTED, gate[row])
        elif treatment is Treatment.SWAPPED:
            assert any(ok for (r, _, _), ok in accepted.items() if r == row)
            assert stands[row] == run.anchor_number[row]
    for t in set(track):
        swapped = [
            run.anchor_number[i]
            for i in range(len(faces))
            if track[i] == t and outcome[i][0] is Treatment.SWAPPED
        ]
        assert len(set(swapped)) <= 1


def test_lengths_must_fit():
    with pytest.raises(InvariantError, match="3 faces, 2 reasons"):
        LadderRun(np.zeros(3, np.int32), [None, None], PARAMS)
    run = LadderRun(np.zeros(3, np.int32), [None] * 3, PARAMS)
    first = PARAMS.attempts()[0]
    with pytest.raises(InvariantError, match="3 faces open, 2 judged"):
        run.record(first, run.open_rows(first), np.zeros(2, np.float32), np.ones(2, bool))
