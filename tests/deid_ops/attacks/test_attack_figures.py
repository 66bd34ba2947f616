import numpy as np
import pytest

from deid_ops.attacks.figures import (
    ReleasePair,
    Setting,
    attackable_rows,
    linkage_figures,
    own_thresholds,
    parrot_figures,
    retrieval_figures,
)
from deid_ops.judge.verification import checked_unit_rows, person_pairs

SETTING = Setting("s", "d", "j")


@pytest.fixture
def gallery(rng):
    person = np.repeat(np.arange(60), 2)
    people = rng.normal(size=(60, 24))
    return checked_unit_rows(
        (people[person] + 0.4 * rng.normal(size=(120, 24))).astype(np.float32)
    ), person


def thresholds(vectors, person):
    return own_thresholds(person_pairs(vectors, person)[0], len(vectors), (1e-2, 1e-3))


def test_a_perfect_attacker_retrieves_everyone(gallery):
    vectors, person = gallery
    rows = np.arange(120)
    found = {
        f.metric: f
        for f in retrieval_figures(
            "inversion", vectors, rows, vectors, person, thresholds(*gallery), SETTING
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
            "inversion", blind, np.arange(120), vectors, person, thresholds(*gallery), SETTING
        )
    )
    for figure in figures:
        assert figure.estimate.ci_low <= figure.chance <= figure.estimate.ci_high + 0.02


def test_same_face_again_is_linked_and_fresh_faces_are_not(gallery, rng):
    vectors, person = gallery
    linked = linkage_figures(ReleasePair(vectors, vectors, person), (1e-2, 1e-3), SETTING)
    by_name = {f.metric: f for f in linked}
    assert by_name["linked_same_photo_far_0.001"].estimate.value == 1
    assert by_name["linked_other_photo_far_0.01"].estimate.value > 0.8
    assert by_name["linked_rank1_other_photo"].estimate.value > 0.8
    fresh = [checked_unit_rows(rng.normal(size=vectors.shape).astype(np.float32)) for _ in range(2)]
    unlinked = list(linkage_figures(ReleasePair(*fresh, person), (1e-2, 1e-3), SETTING))
    assert len(unlinked) == len(by_name) == 6
    for figure in unlinked:
        assert figure.estimate.ci_low <= figure.chance + 0.02
        assert figure.estimate.value < 0.1


def test_faces_that_are_all_alike_are_not_linked_more_than_chance(rng):
    person = np.repeat(np.arange(60), 2)
    alike = np.ones((2, 120, 24)) + 0.05 * rng.normal(size=(2, 120, 24))
    releases = [checked_unit_rows(a.astype(np.float32)) for a in alike]
    by_name = {
        f.metric: f for f in linkage_figures(ReleasePair(*releases, person), (1e-2,), SETTING)
    }
    found = by_name["linked_other_photo_far_0.01"]
    assert found.chance == pytest.approx(0.01, abs=1e-3)
    assert found.estimate.value < 0.06


def test_thresholds_of_a_space_keep_the_rate(gallery):
    limits = thresholds(*gallery)
    assert limits[1e-2][0] > limits[1e-3][0]
    assert len(limits[1e-3]) == 120


def test_attacked_people_have_two_pictures_and_both_are_attacked():
    person = np.array([0, 0, 1, 2, 2, 3, 4, 4, 4])
    assert attackable_rows(person, None, 0).tolist() == [0, 1, 3, 4, 6, 7, 8]
    for seed in range(8):
        few = attackable_rows(person, 4, seed)
        people, counts = np.unique(person[few], return_counts=True)
        assert counts.tolist() == [2, 2]
        assert set(people) <= {0, 2, 4}
        assert len(set(few)) == 4


def test_only_other_photos_have_a_bar_where_both_sides_are_protected(gallery):
    vectors, person = gallery
    parrot = parrot_figures(ReleasePair(vectors, vectors, person), (1e-2, 1e-3), SETTING)
    linked = linkage_figures(ReleasePair(vectors, vectors, person), (1e-2, 1e-3), SETTING)
    bars = {f.metric: f.bar for f in (*parrot, *linked) if "far_0.001" in f.metric}
    assert bars["parrot_same_photo_far_0.001"] is None
    assert bars["parrot_other_photo_far_0.001"] == 0.02
    assert bars["parrot_linked_other_photo_far_0.001"] is None
    assert bars["linked_same_photo_far_0.001"] is None
    assert bars["linked_other_photo_far_0.001"] == 0.021


def test_a_parrot_links_pairs_whatever_the_size_of_the_gallery(gallery):
    vectors, person = gallery
    whole = parrot_figures(ReleasePair(vectors, vectors, person), (1e-2,), SETTING)
    half = parrot_figures(ReleasePair(vectors[:60], vectors[:60], person[:60]), (1e-2,), SETTING)
    linked = [
        {f.metric: f.estimate for f in figures}["parrot_linked_other_photo_far_0.01"]
        for figures in (whole, half)
    ]
    assert [estimate.n for estimate in linked] == [120, 60]
    assert linked[0].ci_low <= linked[1].value <= linked[0].ci_high


def test_a_parrot_that_knows_nobody_is_at_chance(gallery, rng):
    vectors, person = gallery
    blind = checked_unit_rows(rng.normal(size=vectors.shape).astype(np.float32))
    for figure in parrot_figures(ReleasePair(blind, vectors, person), (1e-2, 1e-3), SETTING):
        assert figure.estimate.ci_low <= figure.chance <= figure.estimate.ci_high + 0.02
