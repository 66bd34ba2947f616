from __future__ import annotations

import numpy as np
import pytest

from deid_ops.errors import SetupError
from deid_ops.redact.fill import (
    CodeRange,
    Extent,
    RedactParams,
    cells_of,
    draw_pattern,
    fill_chroma,
    fill_luma,
    fill_packed,
)
from deid_ops.redact.keyed import pattern_seed, seeded_generator

KEY = b"k" * 32
LUMA8, FULL10 = CodeRange(16, 235, 256), CodeRange(0, 1023, 1024)


def pattern(key: bytes = KEY, track: int = 3, frame: int | None = None) -> np.ndarray:
    return draw_pattern(seeded_generator(pattern_seed(key, "rec", track, frame)))


def whole(width: int, height: int) -> Extent:
    return Extent((0.0, 0.0, float(width), float(height)), (0, 0, width, height))


def test_number_of_values_does_not_grow_with_the_resolution():
    params = RedactParams()
    for width in (31, 60, 300, 900):
        height = width * 5 // 4
        cols, rows = cells_of(params, width, height)
        out = fill_luma(120.0, pattern(), whole(width, height), LUMA8, params)
        # blocks of equal values: borders between different cells along the middle row and column
        changes_x = np.count_nonzero(np.any(np.diff(out, axis=1) != 0, axis=0))
        changes_y = np.count_nonzero(np.any(np.diff(out, axis=0) != 0, axis=1))
        assert out.shape == (height, width)
        assert (cols, rows) == (5, 6)
        assert (changes_x, changes_y) == (cols - 1, rows - 1)
        assert len(np.unique(out)) <= cols * rows
        assert ((out >= 16) & (out <= 235) & (out == np.rint(out))).all()


@pytest.mark.parametrize(("width", "columns"), [(8, 2), (12, 2), (18, 3), (25, 4), (30, 5)])
def test_no_cell_of_a_small_head_is_narrower_than_allowed(width, columns):
    params = RedactParams(min_cell_px=6.0)
    height = width * 5 // 4
    assert cells_of(params, width, height)[0] == columns
    out = fill_luma(120.0, pattern(), whole(width, height), LUMA8, params)
    changes_x = np.count_nonzero(np.any(np.diff(out, axis=1) != 0, axis=0))
    assert changes_x == columns - 1


def test_cells_lie_around_the_tone_as_far_as_asked_for():
    """Over many keys: mean the tone, standard deviation `pattern_sigma` of full scale."""
    params = RedactParams(pattern_sigma=0.08)
    cells = np.concatenate([
        np.unique(fill_luma(120.0, pattern(i.to_bytes(16, "big")), whole(60, 50), LUMA8, params))
        for i in range(200)
    ])  # fmt: skip
    assert abs(cells.mean() - 120) < 2
    assert 18.5 < cells.std() < 22.5  # 0.08 * 256 = 20.5


def test_a_pattern_is_keyed_and_repeatable():
    assert np.array_equal(pattern(), pattern())
    for other in (pattern(b"j" * 32), pattern(track=4), pattern(frame=0)):
        assert not np.array_equal(pattern(), other)
    assert not np.array_equal(pattern(frame=0), pattern(frame=1))
    assert pattern_seed(KEY, "a", 11, None) != pattern_seed(KEY, "a1", 1, None)


def test_short_keys_are_refused():
    with pytest.raises(SetupError, match="at least 16"):
        pattern_seed(b"short", "rec", 0, None)


def test_a_steady_pattern_keeps_its_cells_when_the_box_changes_its_proportions():
    params = RedactParams()
    plain = CodeRange(0, 255, 256)
    five = fill_luma(128.0, pattern(), whole(50, 50), plain, params)
    six = fill_luma(128.0, pattern(), whole(50, 60), plain, params)
    assert np.array_equal(five, six[:50])


def test_a_head_cut_by_the_border_shows_no_finer_cells():
    params = RedactParams()
    extent = Extent((-60.0, 0.0, 40.0, 120.0), (0, 0, 40, 120))
    cut = fill_luma(128.0, pattern(), extent, LUMA8, params)
    changes = np.count_nonzero(np.any(np.diff(cut, axis=1) != 0, axis=0))
    assert changes <= 1  # 40 of 100 px: 2 of 5 cells
    uncut = fill_luma(128.0, pattern(), whole(100, 120), LUMA8, params)
    assert np.array_equal(uncut[:, 60:], cut)


def test_a_chroma_plane_becomes_the_rounded_tone_or_neutral():
    assert fill_chroma(530.4, FULL10, RedactParams()) == 530
    assert fill_chroma(None, FULL10, RedactParams()) == 512
    assert fill_chroma(530.4, FULL10, RedactParams(method="solid")) == 512


def test_packed_samples_get_the_brightness_cells_and_one_tint():
    full, params = CodeRange(0, 255, 256), RedactParams(pattern_sigma=0.05)
    tone = np.array([100.0, 120.0, 140.0], np.float32)
    out = fill_packed(tone, pattern(), whole(30, 40), full, params)
    gray = fill_luma(120.0, pattern(), whole(30, 40), full, params)
    assert out.shape == (40, 30, 3)
    for channel, offset in enumerate((-20, 0, 20)):
        assert np.array_equal(out[..., channel], gray + offset)
    bright = fill_packed(tone + 110, pattern(), whole(30, 40), full, params)
    assert bright.max() == 255
    keyed = fill_packed(None, pattern(), whole(30, 40), full, params)
    assert np.array_equal(keyed[..., 0], keyed[..., 2])


def test_solid_is_one_grey_of_the_key_whatever_lies_around():
    params = RedactParams(method="solid")
    tones = [fill_luma(t, pattern(), whole(50, 60), LUMA8, params) for t in (30.0, 220.0, None)]
    assert len(np.unique(np.stack(tones))) == 1
    assert tones[0].shape == (60, 50)
    other = fill_luma(30.0, pattern(b"j" * 32), whole(50, 60), LUMA8, params)
    assert other[0, 0] != tones[0][0, 0]
    packed = fill_packed(np.array([9, 9, 250], np.float32), pattern(), whole(5, 6), LUMA8, params)
    assert len(np.unique(packed)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "blur"},
        {"cells_across": 20},
        {"pattern_sigma": 0.0},
        {"min_cell_px": 0.5},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(SetupError, match="redact"):
        RedactParams(**wrong)
