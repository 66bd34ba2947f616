"""What is told of a face's light: evenness, the mean face's shading, a little of the rim."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.swap.layout import N_POINTS, group_slice
from deid_ops.swap.light import colourfulness, even_light, mouth_shares, shading, tint, told_light

_CLOSED = np.zeros((1, 1, 8, 8), np.float32)  # a mouth
_Y, _X = np.mgrid[0:8, 0:8].astype(np.float32)


def _share() -> np.ndarray:
    share = np.zeros((1, 1, 8, 8), np.float32)
    share[..., 1:7, 1:7] = 1.0
    return share


def test_an_even_light_passes() -> None:
    even = (0.5 + 0.02 * _X - 0.03 * _Y + 0.004 * _X * _Y - 0.003 * _X**2)[None, None]
    cells = np.concatenate([even, even[..., ::-1], 1 - even], axis=1).astype(np.float32)
    assert np.allclose(even_light(cells, _share())[..., 1:7, 1:7], cells[..., 1:7, 1:7], atol=2e-3)
    assert np.allclose(
        told_light(cells, _share(), _CLOSED)[..., 1:7, 1:7], cells[..., 1:7, 1:7], atol=6e-3
    )


def test_what_a_person_alone_has_does_not() -> None:
    """A beard, glasses: told are the mean face's shading and nothing of them."""
    flat = np.full((1, 3, 8, 8), 0.5, np.float32)
    spot = flat.copy()
    spot[..., 3, 4] -= 0.3  # one dark cell
    told = told_light(spot, _share(), _CLOSED)
    assert np.abs(told - told_light(flat, _share(), _CLOSED))[..., 3, 4].max() < 0.1
    one, other = flat.copy(), flat.copy()
    pattern = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    pattern[:2] = pattern[6:] = 0
    pattern[:, :2] = pattern[:, 6:] = 0
    one += 0.1 * pattern
    other -= 0.1 * pattern
    told = [told_light(cells, _share(), _CLOSED)[..., 2:6, 2:6] for cells in (one, other)]
    given = [cells[..., 2:6, 2:6] for cells in (one, other)]
    assert np.std(told[0] - told[1]) < 0.5 * np.std(given[0] - given[1])


def test_the_shading_of_any_face_is_told_in_one_strength() -> None:
    even = np.full((1, 3, 8, 8), 0.5, np.float32)
    for strength, expected in ((0.0, 0.0), (0.6, 0.6), (3.0, 1.5), (-1.0, 0.0)):
        told = told_light(even + np.float32(strength) * shading(), _share(), _CLOSED)
        inner = np.s_[..., 2:6, 2:6]
        got = (told - even)[inner] - even_light(told - even, _share())[inner]
        wanted = shading()[2:6, 2:6] - even_light(shading()[None, None], _share())[0, 0, 2:6, 2:6]
        slope = (got[0] * wanted).sum() / (wanted**2).sum() / 3
        assert slope == pytest.approx(expected, abs=0.12), strength


def test_the_tint_of_any_face_is_as_strong_as_the_light_is_colourful() -> None:
    assert np.abs(tint().sum(axis=0)).max() < 1e-6  # no brightness
    assert tint()[0, 3, 2] < 0 < tint()[0, 4, 2]  # an eye, a cheek
    assert np.array_equal(tint(), tint()[:, :, ::-1])
    skin = np.full((1, 3, 8, 8), 0.5, np.float32) + np.float32([0.1, 0.0, -0.1])[:, None, None]
    grey = np.full((1, 3, 8, 8), 0.5, np.float32)
    assert colourfulness(skin)[0, 0, 0, 0] == pytest.approx(0.2 / 3)
    inner = np.s_[0, :, 2:6, 2:6]
    told = (told_light(skin, _share(), _CLOSED) - skin)[inner]
    assert np.allclose(told, 0.2 / 3 * tint()[:, 2:6, 2:6], atol=2e-3)
    assert np.abs(told_light(grey, _share(), _CLOSED) - grey)[inner].max() < 1e-3


def test_half_of_the_rim_passes_and_twice_is_nearly_once() -> None:
    rng = np.random.default_rng(2)
    cells = rng.uniform(0.2, 0.8, (4, 3, 8, 8)).astype(np.float32)
    share = np.repeat(_share(), 4, axis=0)
    closed = np.zeros_like(share)
    once = told_light(cells, share, closed)
    typical_moved = np.abs(told_light(once, share, closed) - once)[..., 2:6, 2:6].max()
    assert typical_moved < 0.05
    rim = cells.copy()
    rim[..., 1, 3] += 0.2
    moved = (told_light(rim, share, closed) - once)[..., 1, 3]
    assert np.all((moved > 0.08) & (moved < 0.2))
    assert told_light(cells[:0], share[:0], closed[:0]).shape == (0, 3, 8, 8)


def test_the_inside_of_an_open_mouth_passes() -> None:
    points = np.full((2, N_POINTS, 2), 64.0, np.float32)
    n = group_slice("inner_lips").stop - group_slice("inner_lips").start
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    lips = np.stack([64 + 14 * np.cos(angle), 92 + 9 * np.sin(angle)], axis=1)
    points[0, group_slice("inner_lips")] = lips
    mouth = mouth_shares(points)
    assert mouth[0].sum() * 256 == pytest.approx(np.pi * 14 * 9, rel=0.15)
    assert mouth[1].sum() < 0.02  # closed
    assert set(zip(*np.nonzero(mouth[0, 0] > 0.1), strict=True)) == {(5, 3), (5, 4), (6, 3), (6, 4)}
    teeth = np.full((2, 3, 8, 8), 0.4, np.float32)
    teeth[:, :, 5, 3:5] = 0.8
    told = told_light(teeth, np.repeat(_share(), 2, axis=0), mouth)
    assert np.allclose(told[0, :, 5, 3:5], 0.8, atol=1e-3)
    assert told[1, :, 5, 3:5].max() < 0.7
    assert mouth_shares(points[:0]).shape == (0, 1, 8, 8)
