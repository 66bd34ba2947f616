import numpy as np
import pytest
import yaml

from deid_ops.errors import SetupError
from deid_ops.judge.calibration import Calibration, calibrate_size
from deid_ops.judge.distances import face_distances
from deid_ops.judge.verification import checked_unit_rows


def faces(rng, n_people, noise, common=0.0):
    people = rng.normal(size=(n_people, 24))
    person = np.repeat(np.arange(n_people), 3)
    picture = people[person] + noise * rng.normal(size=(len(person), 24)) + common
    return checked_unit_rows(picture.astype(np.float32)), person.astype(np.int64)


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
    face = np.eye(1, 24, dtype=np.float32)
    expected = face - calibration.centres["judge"]
    assert again.centred("judge", 3 * face) == pytest.approx(expected, abs=1e-4)


def test_centring_keeps_thresholds_and_makes_the_negation_meaningful():
    rng = np.random.default_rng(2)
    crowded, person = faces(rng, 40, 0.2, common=20.0)
    plain = Calibration((calibrate_size("judge", 40.0, crowded, person),), {})
    centre = crowded.mean(axis=0)
    moved = Calibration(
        (calibrate_size("judge", 40.0, crowded - centre, person),), {"judge": centre}
    )
    limits = [c.thresholds("judge", np.float32([40]), 1e-2)[0] for c in (plain, moved)]
    assert limits[0] == pytest.approx(limits[1], rel=1e-2)
    negated = -(crowded - centre) + centre  # what a counterfactual generator would show
    for calibration, found in ((plain, 0.0), (moved, 1.0)):
        original = calibration.centred("judge", crowded)
        output = calibration.centred("judge", negated)
        reached = face_distances(original, output, np.full(len(person), limits[0]))
        assert reached.matches_negation.mean() == pytest.approx(found, abs=0.05)


@pytest.mark.parametrize("tree", [{}, {"rows": [{"encoder": "x"}]}, {"rows": 3}])
def test_a_broken_file_is_named(tree):
    with pytest.raises(SetupError, match=r"c\.yaml.*deid calibrate"):
        Calibration.from_mapping(tree, "c.yaml")


def test_unknown_encoder_and_other_weights_are_named(calibration):
    with pytest.raises(SetupError, match=r"'other'.*judge"):
        calibration.thresholds("other", np.float32([20]), 1e-3)
    with pytest.raises(SetupError, match="24 numbers"):
        calibration.centred("judge", np.ones((1, 8), np.float32))
