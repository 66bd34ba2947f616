import numpy as np
import pytest

from deid_ops.judge.calibration import Calibration, calibrate_size
from deid_ops.judge.protocol import (
    Comparison,
    Judge,
    people_with_two_pictures,
    privacy_figures,
    realism_figure,
)
from deid_ops.judge.verification import checked_unit_rows


@pytest.fixture
def world(rng):
    """120 people, two pictures each, in a judge's space; and the judge calibrated on others."""
    people = rng.normal(size=(120, 32))
    person = np.repeat(np.arange(120), 2)
    gallery = checked_unit_rows(
        (people[person] + 0.5 * rng.normal(size=(240, 32))).astype(np.float32)
    )
    others = rng.normal(size=(150, 32))
    labels = np.repeat(np.arange(150), 2)
    background = checked_unit_rows(
        (others[labels] + 0.5 * rng.normal(size=(300, 32))).astype(np.float32)
    )
    row = calibrate_size("judge", 40.0, background, labels)
    judge = Judge("judge", lambda image, points: image, Calibration((row,), {}))
    return judge, gallery, person


def measure(world, output, fars=(1e-2, 1e-3)):
    judge, gallery, person = world
    rows = people_with_two_pictures(person)
    eyes = np.full(len(rows), 40, np.float32)
    shown = checked_unit_rows(output.astype(np.float32))
    compared = Comparison(judge, gallery, person, rows, shown, eyes)
    return {f.metric: f for f in privacy_figures(compared, "s", "d", fars)}


def test_untouched_faces_are_found_in_every_way_but_negated(world):
    found = measure(world, world[1])
    value = {name: f.estimate.value for name, f in found.items()}
    assert value["match_original_far_0.001"] == 1
    assert value["identified_same_photo_far_0.001"] == 1
    assert value["rank1_other_photo"] > 0.9
    assert value["tar_other_photo_far_0.01"] > 0.9
    assert value["match_negated_far_0.001"] == 0
    assert value["identified_negated_far_0.01"] == 0
    assert value["eer"] == 0
    assert value["rank1_among_10"] == 1


def test_negated_faces_are_found_by_negating(world):
    value = {k: f.estimate.value for k, f in measure(world, -world[1]).items()}
    assert value["match_original_far_0.01"] == 0
    assert value["match_negated_far_0.001"] == 1
    assert value["identified_negated_far_0.001"] == 1


def test_random_faces_are_at_chance(world, rng):
    found = measure(world, rng.normal(size=world[1].shape))
    matched = found["match_original_far_0.01"]
    assert matched.estimate.ci_low <= 0.03
    assert matched.chance == pytest.approx(0.01, abs=0.01)
    rank1 = found["rank1_same_photo"]
    assert rank1.estimate.ci_low <= rank1.chance <= rank1.estimate.ci_high
    assert found["eer"].estimate.value == pytest.approx(0.5, abs=0.05)
    among = found["rank1_among_10"]
    assert (among.chance, among.estimate.value) == (0.1, pytest.approx(0.1, abs=0.03))
    assert found["match_original_far_0.001"].bar == 0.002


def test_weak_traces_show_between_the_two(world, rng):
    trace = world[1] + 0.35 * rng.normal(size=world[1].shape)
    value = {k: f.estimate.value for k, f in measure(world, trace).items()}
    assert 0.02 < value["match_original_far_0.01"] < 0.9
    assert value["rank1_other_photo"] < value["rank1_same_photo"]


def test_only_people_with_another_picture_are_asked_for():
    assert people_with_two_pictures(np.array([0, 1, 1, 2, 0])).tolist() == [0, 1, 2, 4]


def test_realism_grows_with_the_difference(rng):
    real = rng.normal(size=(200, 8)).astype(np.float32)
    like = rng.normal(size=(200, 8)).astype(np.float32)
    unlike = like + np.float32([4, 0, 0, 0, 0, 0, 0, 0])
    near = realism_figure("j", real, like, "s", "d")
    far = realism_figure("j", real, unlike, "s", "d")
    assert near.estimate.ci_high < far.estimate.ci_low
    assert near.chance is not None
    assert near.estimate.value < 3 * near.chance
