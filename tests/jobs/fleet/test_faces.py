"""Painted faces: which anchors are chosen, and what of the picture changes."""

from __future__ import annotations

import doctest

import numpy as np

from deid_ops.anchors.bank import density_bank
from jobs.fleet import faces
from jobs.fleet.faces import far_apart, paint_face
from jobs.fleet.portraits import ASTRONAUT

LANDMARKS = np.array(ASTRONAUT.landmarks_xy_px, np.float32)


def test_doctests() -> None:
    assert doctest.testmod(faces).failed == 0


def test_chosen_anchors_are_farther_apart_than_any_others() -> None:
    bank = density_bank(200, 8, seed=1, apart_min=0.05)
    chosen = bank.vectors_unit[far_apart(bank, 5)]
    off_diagonal = ~np.eye(5, dtype=bool)
    apart = (1 - chosen @ chosen.T)[off_diagonal].min()
    rng = np.random.default_rng(0)
    for _ in range(100):
        others = bank.vectors_unit[rng.choice(200, 5, replace=False)]
        assert (1 - others @ others.T)[off_diagonal].min() < apart


def test_more_faces_do_not_change_the_first_ones() -> None:
    bank = density_bank(50, 8, seed=2, apart_min=0.05)
    assert far_apart(bank, 6)[:3] == far_apart(bank, 3)
    assert len(set(far_apart(bank, 6))) == 6


def test_numbers_paint_different_faces_and_only_faces() -> None:
    image = ASTRONAUT.read()
    first, again, second = (paint_face(image, LANDMARKS, number) for number in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    x0, y0, x1, y1 = ASTRONAUT.face_xyxy_px
    for painted, other in ((first, image), (second, image), (first, second)):
        changed = (painted != other).any(axis=2)
        assert changed[y0 + 20 : y1 - 20, x0 + 20 : x1 - 20].mean() > 0.9
        changed[y0 - 30 : y1 + 30, x0 - 30 : x1 + 30] = False
        assert not changed.any()
