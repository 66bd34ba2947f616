"""What the generator is told does not depend on the face beyond its coarse light."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.swap.conditions import (
    CELL_PX,
    FaceConditions,
    cell_means,
    detail_of,
    generator_feeds,
    light_of,
    surroundings_of,
    to_bgr,
    to_planes,
)
from deid_ops.swap.crop import CROP_SIZE_PX, INNER_MASK
from deid_ops.swap.face_mask import face_masks
from deid_ops.swap.layout import N_POINTS


def _swap_pixels_inside(
    planes: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Permute, within every 16x16 cell, the pixels that lie inside the mask."""
    out = planes.copy()
    for y in range(0, CROP_SIZE_PX, CELL_PX):
        for x in range(0, CROP_SIZE_PX, CELL_PX):
            cell = (slice(y, y + CELL_PX), slice(x, x + CELL_PX))
            inside = np.argwhere(mask[cell]) + np.array([y, x])
            order = rng.permutation(len(inside))
            source, target = inside[order], inside
            out[:, :, target[:, 0], target[:, 1]] = planes[:, :, source[:, 0], source[:, 1]]
    return out


def test_inner_pixels_do_not_reach_the_network() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
    planes = to_planes(crops)
    points = rng.uniform(40, 100, (2, N_POINTS, 2)).astype(np.float32)
    points[1] -= 15.0
    masks = face_masks(points)
    other = np.concatenate(
        [_swap_pixels_inside(planes[i : i + 1], masks[i], rng) for i in range(2)]
    )
    # the faces are other ones
    assert all(np.abs(other - planes)[i][:, masks[i]].mean() > 0.2 for i in range(2))
    anchors = rng.normal(size=(2, 128)).astype(np.float32)
    first, second = (
        generator_feeds(p, FaceConditions(points, detail_of(p, masks)), anchors)
        for p in (planes, other)
    )
    assert np.array_equal(first["mask"][:, 0] > 0, masks)
    assert first["detail_rms"].shape == (2, 6)  # the only thing that may differ
    for name in first.keys() - {"detail_rms"}:
        assert np.allclose(first[name], second[name], atol=1e-6), name


def test_detail_tells_contrast_and_sharpness_and_nothing_of_the_light() -> None:
    rng = np.random.default_rng(5)
    crops = np.kron(rng.random((2, 3, 32, 32)), np.ones((4, 4))).astype(np.float32)
    grain = rng.normal(0, 0.05, (2, 1, 128, 128)).astype(np.float32)
    masks = np.stack([INNER_MASK, INNER_MASK])
    plain, grainy = detail_of(crops, masks), detail_of(crops + grain, masks)
    assert np.allclose(detail_of(0.5 * crops, masks), 0.5 * plain, atol=1e-5)
    assert np.allclose(detail_of(crops + 0.3, masks), plain, atol=1e-5)
    # cell averages of 16 samples keep a quarter of the grain
    assert np.allclose(grainy[:, 3:] ** 2 - plain[:, 3:] ** 2, 0.05**2, rtol=0.15)
    assert np.allclose(grainy[:, :3], plain[:, :3], rtol=0.05)
    assert detail_of(crops[:0], masks[:0]).shape == (0, 6)
    spot = np.full((1, 3, 128, 128), 0.5, np.float32)
    spot[:, :, 18:22, 60:66] = 0.9  # on the forehead
    told = detail_of(spot, INNER_MASK[None])[0]
    assert told[0] > 0.01
    assert (told[[1, 2, 4, 5]] < 0.06 * told[0]).all()


def test_conditions_are_taken_joined_and_checked() -> None:
    points = np.arange(3 * N_POINTS * 2, dtype=np.float32).reshape(3, N_POINTS, 2)
    all_three = FaceConditions(points, np.arange(18, dtype=np.float32).reshape(3, 6))
    first, rest = all_three.take(np.array([0])), all_three.take(np.array([1, 2]))
    joined = FaceConditions.join([first, rest])
    assert np.array_equal(joined.points_px, points)
    assert joined.detail_rms[:, 1].tolist() == [1, 7, 13]
    assert len(FaceConditions.join([])) == 0
    with pytest.raises(InvariantError, match="detail"):
        FaceConditions(points, np.zeros((2, 2), np.float32))


def test_a_change_of_light_does_reach_it() -> None:
    planes = np.full((1, 3, CROP_SIZE_PX, CROP_SIZE_PX), 0.5, np.float32)
    brighter = planes.copy()
    masks = INNER_MASK[None]
    brighter[0, :, :, :64] += 0.3 * INNER_MASK[:, :64]  # from one side
    points = np.full((1, N_POINTS, 2), 64.0, np.float32)
    told = [light_of(p, points, masks) for p in (planes, brighter)]
    assert np.abs(told[0] - told[1]).max() > 0.05
    assert np.array_equal(surroundings_of(planes, masks), surroundings_of(brighter, masks))


def test_cell_means_are_the_face_s_own() -> None:
    """Neither hair nor background colours the skin beside it; no pixel at the rim stands out."""
    masks = np.zeros((1, CROP_SIZE_PX, CROP_SIZE_PX), np.bool_)
    masks[:, 24:100, 30:97] = True  # ends within cells; one column of pixels lies in cell 6
    planes = np.where(masks[:, None], np.float32(0.7), np.float32(0.1)).repeat(3, axis=1)
    light = cell_means(planes, masks, 8)[0, 0]
    assert np.allclose(light[1:7, 1:7], 0.7, atol=5e-3)
    assert light[0, 0] > 0.6  # beside the face its colour goes on
    assert light[3, 0] == pytest.approx(0.7, abs=0.02)
    planes[0, :, 40, 96] = 0.0
    assert cell_means(planes, masks, 8)[0, 0, 2, 6] == pytest.approx(0.7, abs=0.03)
    far = np.zeros_like(masks)
    far[:, 60:70, 60:70] = True
    assert cell_means(planes, far, 8)[0, 0, 0, 0] == pytest.approx(0.1)


def test_planes_round_trip_and_order() -> None:
    rng = np.random.default_rng(2)
    crops = rng.integers(0, 256, (3, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
    assert np.array_equal(to_bgr(to_planes(crops)), crops)
    red = np.zeros((1, CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8)
    red[..., 2] = 255
    assert to_planes(red)[0, 0].min() == 1.0
