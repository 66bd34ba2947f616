"""Drawn spectacles: before the eyes and nowhere else, another pair each time."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.swap.retarget import EYES
from deid_ops.train.spectacles import put_on_spectacles
from tests.support.ball_head import ball_head

MESH = ball_head()
EYE_LINE = [0.5 * (MESH[outer, :2] + MESH[inner, :2]) for outer, inner, _ in EYES]
EYE_DISTANCE_PX = float(np.linalg.norm(EYE_LINE[1] - EYE_LINE[0]))
GREY = np.full((128, 128, 3), 120, np.uint8)


def _changed(seed: int) -> np.ndarray:
    worn = put_on_spectacles(GREY, MESH, np.random.default_rng(seed))
    assert worn.shape == GREY.shape
    assert worn.dtype == np.uint8
    return np.asarray((worn != GREY).any(axis=2))


@pytest.mark.parametrize("seed", range(12))
def test_they_are_drawn_around_both_eyes_alone(seed: int) -> None:
    rows, columns = np.nonzero(_changed(seed))
    middle = (EYE_LINE[0] + EYE_LINE[1]) / 2
    assert np.abs(rows - middle[1]).max() < 0.7 * EYE_DISTANCE_PX  # neither brow nor mouth
    for eye in EYE_LINE:
        beside = np.abs(columns - eye[0]) < 0.5 * EYE_DISTANCE_PX
        assert beside.sum() > EYE_DISTANCE_PX


def test_every_pair_is_another_and_comes_from_the_generator_alone() -> None:
    pairs = np.stack([_changed(seed) for seed in (1, 1, 2, 3)])
    assert (pairs[0] == pairs[1]).all()
    assert (pairs[0] != pairs[2]).any()
    assert (pairs[2] != pairs[3]).any()


def test_they_turn_with_the_head() -> None:
    leaning = MESH.copy()
    leaning[:, 1] += 0.3 * (MESH[:, 0] - MESH[:, 0].mean())  # the right eye lower
    rows = {}
    for name, mesh in (("upright", MESH), ("leaning", leaning)):
        worn = put_on_spectacles(GREY, mesh, np.random.default_rng(4))
        at = np.nonzero((worn != GREY).any(axis=2))
        half = MESH[:, 0].mean()
        rows[name] = at[0][at[1] > half].mean() - at[0][at[1] < half].mean()
    assert abs(rows["upright"]) < 2.0
    assert rows["leaning"] > 5.0


def test_the_given_picture_stays_as_it_is() -> None:
    before = GREY.copy()
    put_on_spectacles(before, MESH, np.random.default_rng(0))
    assert (before == GREY).all()
