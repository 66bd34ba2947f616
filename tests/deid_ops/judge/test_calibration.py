import numpy as np
import pytest
import yaml

from deid_ops.errors import SetupError
from deid_ops.judge.calibration import Calibration, calibrate_size


def faces(rng, n_people, noise, common=0.0):
    people = rng.normal(size=(n_people, 24))
    person = np.repeat(np.arange(n_people), 3)
    picture = people[person] + noise * rng.normal(size=(len(person), 24)) + common
    return picture.astype(np.float32), person.astype(np.int64)


@pytest.fixture
def calibration():
    rng = np.random.default_rng(0)
    rows = []
    for size, noise in ((10.0, 1.5), (20.0, 0.8), (40.0, 0.3)):
        rows.append(calibrate_size("judge", size, *faces(rng, 60, noise)))
    centre = np.linspace(-1, 1, 24).astype(np.float32)
    return Calibration(tuple(rows), {"judge": centre}, "test.yaml")


def test_small_faces_are_told_apart_less_well(calibration):
    auc = [row.auc for row in calibration.rows_of("judge")]
    eer = [row.eer for row in calibration.rows_of("judge")]
    assert auc == sorted(auc)
    assert eer == sorted(eer, reverse=True)


def test_rates_the_sample_cannot_resolve_are_left_out():
    row = calibrate_size("judge", 40.0, *faces(np.random.default_rng(1), 10, 0.3))
    assert row.n_impostor == 405
    assert [p.far for p in row.points] == [1e-2]
    with pytest.raises(SetupError, match=r"FAR 0\.001 .*0\.01"):
        row.threshold(1e-3)


def test_each_face_takes_the_row_of_its_size(calibration):
    rows = calibration.rows_of("judge")
    found = calibration.thresholds("judge", np.float32([3, 13, 16, 29, 400]), 1e-3)
    expected = [rows[i].threshold(1e-3) for i in (0, 0, 1, 2, 2)]
    assert found == pytest.approx(expected)


def test_survives_yaml(calibration):
    text = yaml.safe_dump(calibration.to_mapping())
    again = Calibration.from_mapping(yaml.safe_load(text), "again.yaml")
    eyes = np.float32([10, 20, 40])
    assert again.thresholds("judge", eyes, 1e-2) == pytest.approx(
        calibration.thresholds("judge", eyes, 1e-2), abs=1e-4
    )
    assert again.centred("judge", np.zeros((1, 24), np.float32)) == pytest.approx(
        -calibration.centres["judge"][None], abs=1e-4
    )


def test_centring_makes_the_negation_meaningful():
    rng = np.random.default_rng(2)
    crowded, person = faces(rng, 40, 0.2, common=20.0)
    row_as_is = calibrate_size("judge", 40.0, crowded, person)
    centre = crowded.mean(axis=0)
    calibration = Calibration((row_as_is,), {"judge": centre})
    row = calibrate_size("judge", 40.0, calibration.centred("judge", crowded), person)
    assert row_as_is.threshold(1e-2) < 0.01  # all faces look alike before
    assert row.threshold(1e-2) > 0.3


@pytest.mark.parametrize("tree", [{}, {"rows": [{"encoder": "x"}]}, {"rows": 3}])
def test_a_broken_file_is_named(tree):
    with pytest.raises(SetupError, match=r"c\.yaml.*deid calibrate"):
        Calibration.from_mapping(tree, "c.yaml")


def test_unknown_encoder_and_other_weights_are_named(calibration):
    with pytest.raises(SetupError, match=r"'other'.*judge"):
        calibration.thresholds("other", np.float32([20]), 1e-3)
    with pytest.raises(SetupError, match="24 numbers"):
        calibration.centred("judge", np.zeros((1, 8), np.float32))
