"""Varied faces: deterministic, in shape, and each change does what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deid_ops.swap.crop import ENCODER_SLICE
from deid_ops.train.variations import (
    WHOLE_CROP,
    PackCrops,
    Variations,
    complete,
    cover,
    morph,
    place,
    relight,
    vary,
)
from tests.support.ball_head import ball_head

STILL = Variations(
    *(0.0, 0.0, 0.0),
    **dict.fromkeys(("rotation_deg", "scale", "stretch", "shift_px", "bend_px"), 0.0),
    **dict.fromkeys(("contrast", "brightness", "tint", "grey", "cover", "footage", "degrade"), 0.0),
)


def _faces(n: int, seed: int) -> PackCrops:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (n, 8, 8, 3)).astype(np.uint8)
    inside = np.ones((n, 128, 128), np.float32)
    inside[:, :40] = 0.0
    mesh = ball_head() + rng.normal(0, 1, (n, 478, 3)).astype(np.float32)
    return PackCrops(coarse.repeat(16, axis=1).repeat(16, axis=2), inside, mesh)


def _vary(seed: int, config: Variations) -> np.ndarray:
    first, second, whole = _faces(12, 1), _faces(12, 2), _faces(12, 3).rgb
    return vary(first, second, whole, np.random.default_rng(seed), config)


def test_varied_faces_depend_on_the_generator_alone() -> None:
    a, b, c = (_vary(seed, Variations()) for seed in (5, 5, 6))
    assert a.shape == (12, 112, 112, 3)
    assert a.dtype == np.uint8
    assert (a == b).all()
    assert (a != c).any(axis=(1, 2, 3)).all()


def test_the_window_may_be_the_whole_crop() -> None:
    new = _vary(0, replace(STILL, window=WHOLE_CROP)).astype(int)
    faces = _faces(12, 1).rgb.astype(int)
    gaps = np.stack([np.abs(new - which).max((1, 2, 3)) for which in (faces, faces[:, :, ::-1])])
    assert gaps.min(0).max() <= 1


def test_nothing_wanted_leaves_the_window_or_its_mirror_image() -> None:
    faces = _faces(12, 1).rgb
    rows, columns = ENCODER_SLICE
    plain = faces[:, rows, columns].astype(int)
    mirrored = faces[:, :, ::-1][:, rows, columns].astype(int)
    new = _vary(0, STILL).astype(int)
    gaps = np.stack([np.abs(new - which).max((1, 2, 3)) for which in (plain, mirrored)])
    assert gaps.min(0).max() <= 1
    assert set(gaps.argmin(0)) == {0, 1}


@pytest.mark.parametrize("by_region", [0.0, 1.0])
def test_a_morph_lies_between_two_faces(by_region: float) -> None:
    dark, light = np.full((128, 128, 3), 40, np.uint8), np.full((128, 128, 3), 200, np.uint8)
    rng = np.random.default_rng(0)
    mixed = morph(dark, light, rng, replace(STILL, by_region=by_region))
    assert mixed.min() >= 40
    assert mixed.max() <= 200
    assert by_region or 60 < mixed.mean() < 180  # by parts, the second takes the first's light


def test_a_morph_by_parts_shows_both() -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in range(2))
    mixed = morph(one, two, rng, replace(STILL, by_region=1.0)).astype(float)
    like_one, like_two = (np.abs(mixed - which).mean(2) for which in (one, two))
    assert (like_one < 3).mean() > 0.1
    assert (like_two < 12).mean() > 0.1


def test_completion_keeps_what_is_inside() -> None:
    faces, whole = _faces(1, 1), _faces(1, 3).rgb[0]
    done = complete(faces.rgb[0], faces.inside[0], whole)
    assert (done[52:] == faces.rgb[0, 52:]).all()
    assert np.abs(done[:36].astype(int) - faces.rgb[0, :36]).mean() > 10


def test_without_whole_crops_nothing_is_completed() -> None:
    first, second = _faces(4, 1), _faces(4, 2)
    config = replace(STILL, complete=1.0)
    same = vary(first, second, None, np.random.default_rng(0), config)
    still = vary(first, second, None, np.random.default_rng(0), STILL)
    assert same.shape == still.shape == (4, 112, 112, 3)


def test_placing_moves_by_the_given_amount() -> None:
    spot = np.zeros((128, 128, 3), np.uint8)
    spot[50, 60] = 255
    moved = replace(STILL, shift_px=4.0)
    places = []
    for seed in range(20):
        new = place(spot, np.random.default_rng(seed), moved)[..., 0].astype(float)
        y, x = (float((np.indices(new.shape)[axis] * new).sum() / new.sum()) for axis in (0, 1))
        places.append((min(abs(x - 52), abs(111 - x - 52)), abs(y - 50)))
    assert 2.5 < np.max(places) <= 4.1


def test_grey_takes_the_colour_and_cover_hides_a_part() -> None:
    face = _faces(1, 4).rgb[0][:112, :112]
    rng = np.random.default_rng(0)
    grey = relight(face, rng, replace(STILL, grey=1.0))
    assert (grey.max(2) == grey.min(2)).all()
    for _ in range(10):
        hidden = (cover(face, face[::-1], rng) != face).any(2).mean()
        assert hidden <= 0.16


def test_a_share_of_footage_is_shown_as_footage() -> None:
    assert np.array_equal(_vary(3, STILL), _vary(3, replace(STILL, footage=0.0)))
    plain, some = _vary(3, STILL), _vary(3, replace(STILL, footage=0.5))
    changed = (plain != some).any((1, 2, 3)).mean()
    assert 0.2 < changed < 0.8


def test_heads_are_turned_where_it_is_asked_for() -> None:
    turned = (_vary(3, STILL) != _vary(3, replace(STILL, turn_deg=20.0))).any((1, 2, 3)).mean()
    assert 0.2 < turned < 0.8
