import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.judge.distances import face_distances, judge_track, person_centroid
from deid_ops.judge.verification import unit_rows


@pytest.fixture
def track():
    rng = np.random.default_rng(0)
    person = rng.normal(size=(1, 32))
    return unit_rows((person + 0.2 * rng.normal(size=(9, 32))).astype(np.float32))


def thresholds(n):
    return {1e-2: np.full(n, 0.6, np.float32), 1e-3: np.full(n, 0.4, np.float32)}


def test_untouched_track_is_matched_everywhere(track):
    judged = judge_track(track, track, thresholds_by_far=thresholds(9))
    assert judged.n_matched_by_far == {1e-2: 9, 1e-3: 9}
    assert judged.n_matched_negation_by_far == {1e-2: 0, 1e-3: 0}
    assert judged.retrieved == {1e-2: True, 1e-3: True}
    assert judged.temporal_original == judged.temporal_output
    assert judged.distance_original_mean == pytest.approx(0, abs=1e-5)


def test_negated_track_is_matched_by_a_negating_searcher(track):
    judged = judge_track(track, -track, thresholds_by_far=thresholds(9))
    assert judged.n_matched_by_far[1e-2] == 0
    assert judged.n_matched_negation_by_far[1e-3] == 9
    assert judged.retrieved[1e-3]


def test_replaced_track_is_near_its_anchor_and_unmatched(track):
    rng = np.random.default_rng(1)
    anchor = unit_rows(rng.normal(size=(1, 32)).astype(np.float32))[0]
    output = unit_rows((anchor + 0.02 * rng.normal(size=(9, 32))).astype(np.float32))
    people = np.stack([person_centroid(track), anchor])
    judged = judge_track(
        track, output, anchor, thresholds_by_far=thresholds(9), people=people, own_person=0
    )
    assert judged.distance_anchor_mean is not None
    assert judged.distance_anchor_mean < 0.1
    assert not judged.retrieved[1e-2]
    assert (judged.n_rank1, judged.chance_rank1) == (0, 0.5)
    assert judged.temporal_output < judged.temporal_original


def test_one_face_has_no_temporal_figure_and_no_rank_without_others(track):
    judged = judge_track(track[:1], track[:1], people=track[:1], own_person=0)
    assert judged.temporal_original is None
    assert judged.n_rank1 is None


def test_slack_is_the_worse_of_both_directions(track):
    output = track.copy()
    output[0] = -track[0]
    judged = face_distances(track, output, np.full(9, 0.4, np.float32))
    assert judged.slack == pytest.approx(np.full(9, -0.4), abs=1e-5)
    assert judged.matches_negation.tolist() == [True] + [False] * 8


def test_wrong_shapes_are_refused(track):
    with pytest.raises(InvariantError):
        judge_track(track, track[:-1])
    with pytest.raises(InvariantError, match="thresholds"):
        face_distances(track, track, np.zeros(3, np.float32))
    with pytest.raises(InvariantError, match="person 5 of 2"):
        judge_track(track, track, people=track[:2], own_person=5)
