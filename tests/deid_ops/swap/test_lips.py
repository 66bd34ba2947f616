"""Pale lips are darkened to the skin around them; teeth, darker lips and the rest stay."""

from __future__ import annotations

import numpy as np

from deid_ops.swap.layout import N_POINTS, group_slice
from deid_ops.swap.lips import muted_lips


def _ellipse(points: np.ndarray, group: str, width: float, height: float) -> None:
    place = group_slice(group)
    angle = np.linspace(0, 2 * np.pi, place.stop - place.start, endpoint=False)
    points[0, place] = np.stack([64 + width * np.cos(angle), 92 + height * np.sin(angle)], 1)


def _mouth(open_px: float) -> np.ndarray:
    points = np.full((1, N_POINTS, 2), 64.0, np.float32)
    _ellipse(points, "outer_lips", 20, 8 + open_px)
    _ellipse(points, "inner_lips", 14, open_px)
    return points


def _face(lips: int, teeth: int = 120) -> np.ndarray:
    crop = np.full((1, 128, 128, 3), 120, np.uint8)
    crop[0, 80:105, 40:88] = lips
    crop[0, 89:96, 55:73] = teeth
    return crop


def _skin_around(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Take the patch of lips back to skin outside the outer lips."""
    y, x = np.mgrid[:128, :128]
    outside = ((x - 64) / 20) ** 2 + ((y - 92) / 12) ** 2 > 1
    crop[0, outside] = 120
    return crop


def test_pale_lips_are_no_paler_than_skin_and_teeth_stay() -> None:
    points = _mouth(open_px=4)
    crop = _skin_around(_face(lips=200, teeth=240), points)
    found = muted_lips(crop, points)
    assert 110 < found[0, 101, 64, 0] < 135  # the lower lip, 200 before
    assert found[0, 92, 64].tolist() == [240] * 3
    assert np.array_equal(found[0, :75], crop[0, :75])
    assert np.array_equal(found[0, :, :38], crop[0, :, :38])


def test_darker_lips_stay() -> None:
    points = _mouth(open_px=0)
    crop = _skin_around(_face(lips=90, teeth=90), points)
    found = muted_lips(crop, points)
    y, x = np.mgrid[:128, :128]
    within = ((x - 64) / 18) ** 2 + ((y - 92) / 7) ** 2 < 1
    assert np.array_equal(found[0, within], crop[0, within])


def test_colour_stays_and_nobody_is_no_error() -> None:
    points = _mouth(open_px=0)
    crop = _skin_around(_face(lips=0), points)
    red = ((crop == 0).all(axis=3) & True)[0]
    crop[0, red] = (170, 160, 220)
    found = muted_lips(crop, points)[0, 97, 64].astype(int)
    assert found[2] - found[1] == 60
    assert found.mean() < 130
    assert muted_lips(crop[:0], points[:0]).shape == (0, 128, 128, 3)


def test_lips_outside_of_the_crop_are_left_alone() -> None:
    points = _mouth(open_px=0) + 400.0
    crop = _face(lips=200)
    assert np.array_equal(muted_lips(crop, points.astype(np.float32)), crop)
