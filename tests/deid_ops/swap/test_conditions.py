"""What the generator is told does not depend on the face beyond its coarse light."""

from __future__ import annotations

import numpy as np

from deid_ops.swap.conditions import (
    CELL_PX,
    light_of,
    prepare_conditions,
    surroundings_of,
    to_bgr,
    to_planes,
)
from deid_ops.swap.crop import CROP_SIZE_PX, INNER_MASK
from deid_ops.swap.layout import N_POINTS
from deid_ops.swap.retarget import FaceShape


def _shape() -> FaceShape:
    rng = np.random.default_rng(3)
    mean = rng.normal(0, 1, (N_POINTS, 3)).astype(np.float32)
    return FaceShape(mean, np.zeros((52, N_POINTS, 3), np.float32), np.zeros(N_POINTS, np.float32))


def _swap_pixels_inside(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Permute, within every 16x16 cell, the pixels that lie inside the mask."""
    out = planes.copy()
    for y in range(0, CROP_SIZE_PX, CELL_PX):
        for x in range(0, CROP_SIZE_PX, CELL_PX):
            cell = (slice(y, y + CELL_PX), slice(x, x + CELL_PX))
            inside = np.argwhere(INNER_MASK[cell]) + np.array([y, x])
            order = rng.permutation(len(inside))
            source, target = inside[order], inside
            out[:, :, target[:, 0], target[:, 1]] = planes[:, :, source[:, 0], source[:, 1]]
    return out


def test_inner_pixels_do_not_reach_the_network() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
    planes = to_planes(crops)
    other = _swap_pixels_inside(planes, rng)
    assert np.abs(other - planes)[:, :, INNER_MASK].mean() > 0.2  # the face is another one
    points = rng.uniform(0, 128, (2, N_POINTS, 2)).astype(np.float32)
    pose, expression = np.zeros((2, 3), np.float32), rng.random((2, 52)).astype(np.float32)
    anchors = rng.normal(size=(2, 128)).astype(np.float32)
    first, second = (
        prepare_conditions(p, _shape(), points, pose, expression, anchors) for p in (planes, other)
    )
    for name, value in first.items():
        assert np.allclose(value, second[name], atol=1e-6), name


def test_a_change_of_light_does_reach_it() -> None:
    planes = np.full((1, 3, CROP_SIZE_PX, CROP_SIZE_PX), 0.5, np.float32)
    brighter = planes.copy()
    brighter[:, :, 60:70, 60:70] = 1.0
    assert np.abs(light_of(planes) - light_of(brighter)).max() > 0.05
    assert np.array_equal(surroundings_of(planes), surroundings_of(brighter))


def test_planes_round_trip_and_order() -> None:
    rng = np.random.default_rng(2)
    crops = rng.integers(0, 256, (3, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)
    assert np.array_equal(to_bgr(to_planes(crops)), crops)
    red = np.zeros((1, CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8)
    red[..., 2] = 255
    assert to_planes(red)[0, 0].min() == 1.0
