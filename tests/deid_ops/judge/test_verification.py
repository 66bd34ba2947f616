import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deid_ops.errors import InvariantError
from deid_ops.judge.verification import (
    area_under_curve,
    checked_unit_rows,
    cosine_distances,
    distances,
    equal_error_rate,
    paired_distances,
    person_pairs,
    retrieval_rates,
    retrieve,
    threshold_at_far,
    true_acceptance,
)

DISTANCES = hnp.arrays(np.float32, st.integers(5, 80), elements=st.floats(0, 2, width=32))


def algorithm_1(n_dis, p_dis, start_th, stop_th, step_size):
    """The thesis' loop, word by word."""
    th, far_curve, frr_curve, th_curve = start_th, [], [], []
    while th <= stop_th:
        far_curve.append(np.sum(np.where(n_dis < th, 1, 0)) / n_dis.size)
        frr_curve.append(np.sum(np.where(p_dis >= th, 1, 0)) / p_dis.size)
        th_curve.append(th)
        th += step_size
    idx = np.argmin(np.abs(np.array(far_curve) - np.array(frr_curve)))
    return (far_curve[idx] + frr_curve[idx]) / 2, th_curve[idx]


def algorithm_2(n_dis, init_th, step_size, far_t):
    """The thesis' loop; the threshold tested last, not the one after it."""
    th, far = init_th, 1.0
    while far > far_t:
        far = np.sum(np.where(n_dis < th, 1, 0)) / n_dis.size
        th -= step_size
    return th + step_size


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    impostor = rng.normal(1.0, 0.12, 4000).astype(np.float32)
    genuine = rng.normal(0.5, 0.15, 1500).astype(np.float32)
    return impostor, genuine


def test_eer_agrees_with_the_loop_of_the_thesis(scores):
    rate, threshold = algorithm_1(*scores, 0.0, 2.0, 1e-3)
    found = equal_error_rate(*scores)
    assert found.rate == pytest.approx(rate, abs=2e-3)
    assert found.threshold == pytest.approx(threshold, abs=5e-3)


@pytest.mark.parametrize("far", [0.1, 1e-2, 1e-3])
def test_threshold_agrees_with_the_loop_of_the_thesis(scores, far):
    found = threshold_at_far(scores[0], far)
    assert found.threshold == pytest.approx(algorithm_2(scores[0], 2.0, 1e-4, far), abs=5e-3)
    assert found.far_measured <= far
    assert found.resolved


@given(DISTANCES, st.floats(0.01, 0.9))
def test_threshold_never_accepts_more_than_asked_and_is_the_largest_such(impostor, far):
    found = threshold_at_far(impostor, far)
    assert np.mean(impostor < found.threshold) <= far + 1e-9
    above = np.nextafter(np.float32(found.threshold), np.float32(3))
    assert np.mean(impostor < above) > far or found.threshold == impostor.max()


def test_too_few_pairs_are_marked():
    found = threshold_at_far(np.float32([0.4, 0.6]), 1e-3)
    assert not found.resolved
    assert found.threshold == pytest.approx(0.4)
    assert found.far_measured == 0


@given(DISTANCES, DISTANCES)
def test_auc_mirrors(first, second):
    total = area_under_curve(first, second) + area_under_curve(second, first)
    assert total == pytest.approx(1, abs=1e-6)


def test_perfect_separation():
    impostor, genuine = np.float32([0.9, 1.0, 1.1]), np.float32([0.1, 0.2])
    assert equal_error_rate(impostor, genuine).rate == 0
    assert area_under_curve(impostor, genuine) == 1
    assert true_acceptance(genuine, 0.5).value == 1


def test_a_constant_changes_nothing_between_faces_but_negation(rng):
    a, b = (checked_unit_rows(rng.normal(size=(7, 16)).astype(np.float32)) for _ in range(2))
    shift = rng.normal(size=16).astype(np.float32)
    assert distances(a + shift, b + shift) == pytest.approx(cosine_distances(a, b), abs=1e-5)
    assert paired_distances(a, b) == pytest.approx(np.diag(distances(a, b)), abs=1e-5)
    assert paired_distances(a, -b) == pytest.approx(2 - paired_distances(a, b), abs=1e-5)
    assert np.abs(paired_distances(a + shift, -(b + shift)) - paired_distances(a, -b)).min() > 0.01


def test_vectors_without_length_or_of_other_size_are_refused():
    with pytest.raises(InvariantError, match="zeros"):
        checked_unit_rows(np.zeros((1, 16), np.float32))
    with pytest.raises(InvariantError, match="shapes"):
        distances(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))


def test_person_pairs_counts():
    impostor, genuine = person_pairs(np.eye(5, dtype=np.float32), np.array([0, 0, 1, 1, 1]))
    assert (impostor.size, genuine.size) == (6, 4)


class TestRetrieve:
    people = np.arange(6)
    gallery = np.eye(6, 8, dtype=np.float32)

    def test_untouched_faces_are_all_found(self):
        found = retrieve(self.gallery, self.people, self.gallery, self.people)
        rates = retrieval_rates(found, 0.3)
        assert rates.identified.value == rates.rank1.value == rates.verified.value == 1
        assert rates.chance_rank1 == pytest.approx(1 / 6)
        assert rates.chance_verified == 0

    def test_another_persons_face_is_not_identified(self):
        found = retrieve(np.roll(self.gallery, 1, axis=0), self.people, self.gallery, self.people)
        rates = retrieval_rates(found, 0.3)
        assert rates.identified.value == 0
        assert rates.identified.ci_high == 0.5  # three of six: little is known
        assert rates.chance_verified == pytest.approx(6 / 30)

    def test_nearest_but_too_far_is_rank1_only(self):
        weak = self.gallery.copy()
        weak[:, 7] = 2.0
        weak = checked_unit_rows(weak)
        rates = retrieval_rates(retrieve(weak, self.people, self.gallery, self.people), 0.3)
        assert (rates.rank1.value, rates.identified.value) == (1, 0)

    def test_own_picture_can_be_excluded(self):
        gallery = np.concatenate([self.gallery, np.roll(self.gallery, 2, axis=1)])
        people = np.concatenate([self.people, self.people])
        found = retrieve(self.gallery, self.people, gallery, people, excluded=np.arange(6))
        assert np.all(found.nearest != np.arange(6))
        assert found.own_distance.tolist() == [1.0] * 6

    def test_negation_is_found_by_a_negating_searcher(self):
        output = -self.gallery  # what a counterfactual generator gives for the person's own vector
        direct = retrieve(output, self.people, self.gallery, self.people)
        negated = retrieve(-output, self.people, self.gallery, self.people)
        assert retrieval_rates(direct, 0.3).identified.value == 0
        assert retrieval_rates(negated, 0.3).identified.value == 1

    def test_guessing_is_at_chance(self):
        rng = np.random.default_rng(0)
        people = np.repeat(np.arange(20), 50)
        queries = rng.normal(size=(1000, 32)).astype(np.float32)
        gallery = rng.normal(size=(20, 32)).astype(np.float32)
        rates = retrieval_rates(retrieve(queries, people, gallery, np.arange(20)), 0.0)
        assert rates.rank1.ci_low <= rates.chance_rank1 <= rates.rank1.ci_high

    def test_labels_must_fit(self):
        with pytest.raises(InvariantError, match="labels"):
            retrieve(self.gallery, self.people[:-1], self.gallery, self.people)
