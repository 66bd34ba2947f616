"""The face crop: alignment, anti-aliasing, masks."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.compose.mask import warp_to_frame
from deid_ops.errors import InvariantError
from deid_ops.swap.crop import (
    ARCFACE_TEMPLATE_112,
    CROP_SIZE_PX,
    ENCODER_SIZE_PX,
    ENCODER_SLICE,
    INNER_MASK,
    TEMPLATE_PX,
    apply_matrices,
    as_shown,
    blend_mask,
    crop_matrices,
    invert_matrices,
    warp_crop,
)


def _posed(angle_deg: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    a = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) * scale
    return (TEMPLATE_PX @ turn.T + shift).astype(np.float32)


@pytest.mark.parametrize("angle", [-170.0, -30.0, 0.0, 45.0])
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_similarity_is_recovered(angle: float, scale: float) -> None:
    points = _posed(angle, scale, (310.0, -20.0))[None]
    matrices = crop_matrices(points)
    assert np.allclose(apply_matrices(matrices, points)[0], TEMPLATE_PX, atol=2e-3)
    back = apply_matrices(invert_matrices(matrices), TEMPLATE_PX[None])
    assert np.allclose(back, points, atol=0.02 * scale)


def test_least_squares_beats_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    points = _posed(10, 2, (40, 50)) + rng.normal(0, 3, (5, 2)).astype(np.float32)
    matrix = crop_matrices(points[None])[0]

    def cost(m: np.ndarray) -> float:
        return float(((apply_matrices(m[None], points[None])[0] - TEMPLATE_PX) ** 2).sum())

    best = cost(matrix)
    for _ in range(50):
        d = rng.normal(0, 0.01, 4)
        moved = matrix + np.array([[d[0], -d[1], 10 * d[2]], [d[1], d[0], 10 * d[3]]], np.float32)
        assert cost(moved) >= best - 1e-3


def test_coinciding_points_are_refused() -> None:
    with pytest.raises(InvariantError, match="coincide"):
        crop_matrices(np.full((1, 5, 2), 9.0, np.float32))


def test_encoder_slice_is_the_arcface_template() -> None:
    rows, columns = ENCODER_SLICE
    assert rows.stop - rows.start == columns.stop - columns.start == ENCODER_SIZE_PX
    shifted = TEMPLATE_PX - (columns.start, rows.start)
    assert np.allclose(shifted, ARCFACE_TEMPLATE_112)


def test_large_faces_are_averaged_not_sampled() -> None:
    frame = np.zeros((1024, 1024, 3), np.uint8)
    frame[::2] = 255  # lines of one pixel: plain sampling at 1/4 keeps some of them
    points = (TEMPLATE_PX * 4.0 + 200.0)[None]
    crop = warp_crop(frame, crop_matrices(points)[0])
    assert crop.std() < 20
    assert abs(float(crop.mean()) - 127.5) < 8


def test_identity_warp_keeps_pixels() -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
    assert np.array_equal(warp_crop(frame, crop_matrices(TEMPLATE_PX[None])[0]), frame)


def test_a_crop_is_shown_as_large_as_its_face_in_the_picture() -> None:
    """Stripes of 2 px survive at the face's own size and half of it, but not at a quarter."""
    stripes = np.zeros((4, 128, 128, 3), np.uint8)
    stripes[:, :, np.arange(128) // 2 % 2 == 1] = 200
    matrices = np.tile(np.eye(2, 3, dtype=np.float32), (4, 1, 1))
    matrices *= np.float32([0.5, 1.0, 2.0, 4.0])[:, None, None]
    shown = as_shown(stripes, matrices)
    assert np.array_equal(shown[:2], stripes[:2])
    assert shown[2].std() > 0.5 * stripes[2].std()
    assert shown[3].std() < 2.0
    assert shown.shape == stripes.shape
    assert shown[3].mean() == pytest.approx(100, abs=1.0)
    turned = np.float32([[[0.0, -4.0, 9.0], [4.0, 0.0, 0.0]]])
    assert np.array_equal(as_shown(stripes[3:], turned), shown[3:])
    # and a composed frame agrees with it
    there = warp_to_frame(stripes[3], matrices[3], (0, 0, 32, 32), repeat_border=True)
    assert there.std() < 2.0


def test_masks() -> None:
    blend = blend_mask()
    assert blend[~INNER_MASK].max() == 0.0
    assert blend.max() == 1.0
    for x, y in TEMPLATE_PX:  # eyes, nose and mouth corners are replaced completely
        assert blend[round(float(y)), round(float(x))] == 1.0
    assert not INNER_MASK[0].any()
    assert 0.45 < INNER_MASK.mean() < 0.6
