import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.judge.distances import (
    FaceDistances,
    face_distances,
    person_centroid,
    ranked_first_among,
    slack_together,
)
from deid_ops.judge.verification import checked_unit_rows


@pytest.fixture
def track():
    rng = np.random.default_rng(0)
    person = rng.normal(size=(1, 32))
    return checked_unit_rows((person + 0.2 * rng.normal(size=(9, 32))).astype(np.float32))


LIMIT = np.full(9, 0.4, np.float32)


def test_untouched_faces_are_matched_and_their_negation_is_not(track):
    judged = face_distances(track, track, LIMIT)
    assert judged.matches_original.all()
    assert not judged.matches_negation.any()
    assert judged.to_original == pytest.approx(np.zeros(9), abs=1e-5)


def test_negated_faces_are_matched_by_a_negating_searcher(track):
    judged = face_distances(track, -track, LIMIT)
    assert not judged.matches_original.any()
    assert judged.matches_negation.all()


def test_centroid_is_nearest_to_its_own_person(track):
    rng = np.random.default_rng(1)
    other = checked_unit_rows(rng.normal(size=(1, 32)).astype(np.float32))[0]
    centre = person_centroid(track)
    assert np.linalg.norm(centre) == pytest.approx(1, abs=1e-5)
    assert (track @ centre).min() > (track @ other).max()


def test_slack_is_the_worse_of_both_directions(track):
    output = track.copy()
    output[0] = -track[0]
    judged = face_distances(track, output, np.full(9, 0.4, np.float32))
    assert judged.slack == pytest.approx(np.full(9, -0.4), abs=1e-5)
    assert judged.matches_negation.tolist() == [True] + [False] * 8


def test_judges_together_ask_for_more_than_each_alone():
    """Faces: close to both thresholds, far from one, at the negation, within one threshold."""
    limits = np.float32([0.5] * 4), np.float32([0.1] * 4)
    one = FaceDistances(np.float32([0.55, 0.5, 1.5, 0.45]), np.float32([1.4] * 4), limits[0])
    two = FaceDistances(np.float32([0.11, 0.2, 0.2, 0.3]), np.float32([9, 9, 0.1, 9]), limits[1])
    assert (one.slack[:3] >= 0).all()
    assert (two.slack[:3] >= 0).all()
    together = slack_together([one, two], 1.2)
    assert together == pytest.approx(np.float32([1.1, 1.5, 1.9, 1.95]) - 1.2, abs=1e-5)


def test_wrong_shapes_are_refused(track):
    with pytest.raises(InvariantError):
        face_distances(track, track[:-1], LIMIT)
    with pytest.raises(InvariantError, match="thresholds"):
        face_distances(track, track, LIMIT[:3])


def test_line_ups_agree_with_drawing_them():
    rng = np.random.default_rng(1)
    apart = rng.random((3, 30)).astype(np.float32)
    own = np.float32([0.05, 0.3, 0.97])
    other = np.ones((3, 30), np.bool_)
    other[:, :4] = False  # further pictures of the person are in no line-up
    expected = ranked_first_among(own, apart, other, 5)
    drawn = [
        [own[i] < apart[i, 4 + rng.choice(26, 4, replace=False)].min() for i in range(3)]
        for _ in range(4000)
    ]
    assert expected == pytest.approx(np.mean(drawn, axis=0), abs=0.03)
    with pytest.raises(InvariantError, match="26 others for 28"):
        ranked_first_among(own, apart, other, 28)
