from __future__ import annotations

import math

import numpy as np
import pytest

from deid_ops.errors import SetupError
from deid_ops.redact.fill import (
    CodeRange,
    Extent,
    RedactParams,
    bits_left,
    cells_of,
    draw_noise,
    fill_chroma,
    fill_luma,
    fill_packed,
)
from deid_ops.redact.noise import noise_generator, noise_seed

KEY = b"k" * 32
LUMA8, FULL10 = CodeRange(16, 235, 256), CodeRange(0, 1023, 1024)


def noise(key: bytes = KEY, track: int = 3, frame: int | None = None) -> np.ndarray:
    return draw_noise(noise_generator(noise_seed(key, "rec", track, frame)))


def whole(width: int, height: int) -> Extent:
    return Extent((0.0, 0.0, float(width), float(height)), (0, 0, width, height))


def face(width: int, height: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(16, 236, (height, width)).astype(np.uint8)


def test_number_of_values_does_not_grow_with_the_resolution():
    params = RedactParams()
    for width in (31, 60, 300, 900):
        height = width * 5 // 4
        cols, rows = cells_of(params, width, height)
        out = fill_luma(face(width, height), noise(), whole(width, height), LUMA8, params)
        # blocks of equal values: borders between different cells along the middle row and column
        changes_x = np.count_nonzero(np.any(np.diff(out.astype(int), axis=1) != 0, axis=0))
        changes_y = np.count_nonzero(np.any(np.diff(out.astype(int), axis=0) != 0, axis=1))
        assert (cols, rows) == (5, 6)
        assert changes_x <= cols - 1
        assert changes_y <= rows - 1
        assert len(np.unique(out)) <= params.levels


@pytest.mark.parametrize(("width", "columns"), [(8, 2), (12, 2), (18, 3), (25, 4), (30, 5)])
def test_no_cell_of_a_small_head_is_narrower_than_allowed(width, columns):
    params = RedactParams(min_cell_px=6.0)
    height = width * 5 // 4
    assert cells_of(params, width, height)[0] == columns
    out = fill_luma(face(width, height), noise(), whole(width, height), LUMA8, params)
    changes_x = np.count_nonzero(np.any(np.diff(out.astype(int), axis=1) != 0, axis=0))
    assert changes_x <= columns - 1
    assert bits_left(params, width, height, color=False) < math.log2(16 * columns * (columns + 2))


def test_bits_left_bounds_what_is_published():
    params = RedactParams(cells_across=4, levels=8)
    bits = math.log2(16 * 7 + 1)
    assert bits_left(params, 100, 100, color=False) == bits
    assert bits_left(params, 9999, 9999, color=True) == bits + 3 * 4
    values = [
        fill_luma(np.full((64, 64), v, np.uint8), noise(), whole(64, 64), LUMA8, params)
        for v in range(16, 236)
    ]
    distinct = {v[8::16, 8::16].tobytes() for v in values}
    assert 2**5 < len(distinct) <= 2**bits
    assert len(np.unique(np.stack(values))) <= 8


def test_the_brightness_cannot_be_derived_without_the_key():
    """Over many keys the published mean is that of the head only up to the noise."""
    plain = np.full((50, 60), 120, np.uint8)
    params = RedactParams(noise_sigma=0.08, levels=32)
    published = np.array([
        fill_luma(plain, noise(i.to_bytes(16, "big")), whole(60, 50), LUMA8, params).mean()
        for i in range(400)
    ])  # fmt: skip
    assert abs(published.mean() - 120) < 5
    # 0.08 * 256 = 20.5, and the mean of a pattern of 20 cells, 0.14 * 256 / sqrt(20) = 8
    assert 18 < published.std() < 26


@pytest.mark.parametrize("key", [KEY, b"j" * 32])
def test_two_heads_of_one_brightness_give_one_mosaic(key):
    """Light, hair and features lie differently; nothing of it passes."""
    one = face(50, 60)
    other = np.sort(one.ravel()).reshape(one.shape)
    params = RedactParams()
    shown = [fill_luma(a, noise(key), whole(50, 60), LUMA8, params) for a in (one, other)]
    assert np.array_equal(*shown)
    assert len(np.unique(shown[0])) > 3
    brighter = np.clip(one.astype(int) + 40, 16, 235).astype(np.uint8)
    third = fill_luma(brighter, noise(key), whole(50, 60), LUMA8, params)
    assert third.mean() > shown[0].mean() + 20


def test_noise_is_keyed_and_repeatable():
    assert np.array_equal(noise(), noise())
    for other in (noise(b"j" * 32), noise(track=4), noise(frame=0)):
        assert not np.array_equal(noise(), other)
    assert not np.array_equal(noise(frame=0), noise(frame=1))
    assert noise_seed(KEY, "a", 11, None) != noise_seed(KEY, "a1", 1, None)


def test_short_keys_are_refused():
    with pytest.raises(SetupError, match="at least 16"):
        noise_seed(b"short", "rec", 0, None)


def test_steady_noise_keeps_its_cells_when_the_box_changes_its_proportions():
    params = RedactParams()
    plain = CodeRange(0, 255, 256)
    five = fill_luma(np.full((50, 50), 128, np.uint8), noise(), whole(50, 50), plain, params)
    six = fill_luma(np.full((60, 50), 128, np.uint8), noise(), whole(50, 60), plain, params)
    assert np.array_equal(five, six[:50])


def test_a_head_cut_by_the_border_shows_no_finer_cells():
    params = RedactParams()
    extent = Extent((-60.0, 0.0, 40.0, 120.0), (0, 0, 40, 120))
    out = fill_luma(face(40, 120), noise(), extent, LUMA8, params)
    changes = np.count_nonzero(np.any(np.diff(out.astype(int), axis=1) != 0, axis=0))
    assert changes <= 1  # 40 of 100 px: 2 of 5 cells
    uncut = fill_luma(np.full((120, 100), 128, np.uint8), noise(), whole(100, 120), LUMA8, params)
    cut = fill_luma(np.full((120, 40), 128, np.uint8), noise(), extent, LUMA8, params)
    assert np.array_equal(uncut[:, 60:], cut)


def test_a_chroma_plane_becomes_one_coarse_value():
    seen = np.random.default_rng(0).integers(0, 1024, (40, 30)).astype(np.uint16)
    out = fill_chroma(seen, 1, noise(), FULL10, RedactParams())
    assert out.dtype == np.uint16
    assert out.shape == seen.shape
    (value,) = np.unique(out)
    assert (int(value) - 512) % 64 == 0
    means = {
        int(fill_chroma(np.full((4, 4), v, np.uint16), 2, noise(), FULL10, RedactParams())[0, 0])
        for v in range(1024)
    }
    assert len(means) <= 2 * RedactParams().levels


def test_packed_samples_get_the_brightness_cells_and_one_tint():
    packed = np.random.default_rng(0).integers(60, 190, (40, 30, 3)).astype(np.uint8)
    full = CodeRange(0, 255, 256)
    out = fill_packed(packed, noise(), whole(30, 40), full, RedactParams()).astype(int)
    assert out.shape == packed.shape
    gray = fill_luma(
        packed.mean(axis=2).round().astype(np.uint8), noise(), whole(30, 40), full, RedactParams()
    )
    offsets = (out - gray[..., None].astype(int)).reshape(-1, 3)
    inside = ((out > 0) & (out < 255)).reshape(-1, 3)
    for channel in range(3):
        assert len(np.unique(offsets[inside[:, channel], channel])) == 1


def test_solid_does_not_depend_on_the_pixels():
    params = RedactParams(method="solid")
    a = fill_luma(face(50, 60, 1), noise(), whole(50, 60), LUMA8, params)
    b = fill_luma(face(50, 60, 2), noise(), whole(50, 60), LUMA8, params)
    assert np.array_equal(a, b)
    assert len(np.unique(a)) == 1
    chroma = fill_chroma(face(50, 60), 1, noise(), LUMA8, params)
    assert np.unique(chroma).tolist() == [128]


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "blur"},
        {"cells_across": 20},
        {"noise_sigma": 0.0},
        {"pattern_sigma": 0.0},
        {"min_cell_px": 0.5},
        {"levels": 256},
    ],
)
def test_invertible_settings_are_refused(wrong):
    with pytest.raises(SetupError, match="redact"):
        RedactParams(**wrong)
