import numpy as np
import pytest

from deid_ops.attacks.figures import (
    attackable_rows,
    linkage_figures,
    own_thresholds,
    retrieval_figures,
)
from deid_ops.judge.verification import checked_unit_rows


@pytest.fixture
def gallery(rng):
    person = np.repeat(np.arange(60), 2)
    people = rng.normal(size=(60, 24))
    return checked_unit_rows(
        (people[person] + 0.4 * rng.normal(size=(120, 24))).astype(np.float32)
    ), person


def thresholds(vectors, person):
    return own_thresholds(vectors, person, len(vectors), (1e-2, 1e-3))


def test_a_perfect_attacker_retrieves_everyone(gallery):
    vectors, person = gallery
    rows = np.arange(120)
    found = {
        f.metric: f
        for f in retrieval_figures(
            "inversion", vectors, rows, vectors, person, thresholds(*gallery), "s", "d", "j"
        )
    }
    assert found["inversion_same_photo_far_0.001"].estimate.value == 1
    assert found["inversion_rank1_other_photo"].estimate.value > 0.9
    assert found["inversion_other_photo_far_0.001"].estimate.value > 0.5
    assert found["inversion_same_photo_far_0.001"].bar == 0.02


def test_a_blind_attacker_retrieves_chance(gallery, rng):
    vectors, person = gallery
    blind = checked_unit_rows(rng.normal(size=vectors.shape).astype(np.float32))
    figures = list(
        retrieval_figures(
            "inversion", blind, np.arange(120), vectors, person, thresholds(*gallery), "s", "d", "j"
        )
    )
    for figure in figures:
        assert figure.estimate.ci_low <= figure.chance <= figure.estimate.ci_high + 0.02


def test_same_face_again_is_linked_and_fresh_faces_are_not(gallery, rng):
    vectors, person = gallery
    linked = linkage_figures(vectors, vectors, person, thresholds(*gallery), "same key", "d", "j")
    by_name = {f.metric: f for f in linked}
    assert by_name["linked_same_photo_far_0.001"].estimate.value == 1
    assert by_name["linked_other_photo_far_0.01"].estimate.value > 0.8
    fresh = [checked_unit_rows(rng.normal(size=vectors.shape).astype(np.float32)) for _ in range(2)]
    unlinked = linkage_figures(*fresh, person, thresholds(*gallery), "other key", "d", "j")
    for figure in unlinked:
        limit = figure.bar if figure.bar is not None else figure.chance
        assert figure.estimate.ci_low <= limit


def test_thresholds_of_a_space_keep_the_rate(gallery):
    limits = thresholds(*gallery)
    assert limits[1e-2][0] > limits[1e-3][0]
    assert len(limits[1e-3]) == 120


def test_attacked_people_have_two_pictures():
    person = np.array([0, 0, 1, 2, 2, 3])
    assert attackable_rows(person, None, 0).tolist() == [0, 1, 3, 4]
    few = attackable_rows(person, 2, 0)
    assert len(few) == 2
    assert set(few) <= {0, 1, 3, 4}
