"""The mask of a face: what it covers, and what it must never depend on."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from deid_ops.swap.crop import INNER_MASK, TEMPLATE_PX
from deid_ops.swap.face_mask import (
    MARGIN_PX,
    blended,
    drawn_weights,
    face_masks,
    part_rows,
)
from deid_ops.swap.layout import N_POINTS


def _oval(centre_xy: tuple[float, float], half_xy: tuple[float, float]) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, N_POINTS, endpoint=False)
    points = np.stack([np.cos(turn), np.sin(turn)], -1) * half_xy + centre_xy
    return points.astype(np.float32)[None]


def test_the_mask_follows_the_landmarks_and_nothing_else() -> None:
    assert set(inspect.signature(face_masks).parameters) == {"points_px", "margins_px"}
    points = _oval((63.5, 66.0), (34.0, 42.0))
    (mask,) = face_masks(points)
    inside = np.argwhere(mask[:32])[:, ::-1]  # above what is always covered
    reach = np.array([34.0, 42.0]) + MARGIN_PX + 1
    assert (((inside - (63.5, 66.0)) / reach) ** 2).sum(1).max() <= 1.0
    rim = round(63.5 - 34.0 - MARGIN_PX)
    assert mask[66, rim + 1]
    assert not mask[66, rim - 2]
    (moved,) = face_masks(points + np.float32([4.0, 0.0]))
    assert np.array_equal(moved[64:, 100:], mask[64:, 96:-4])


def test_a_margin_widens_and_the_limit_stays() -> None:
    points = np.repeat(_oval((63.5, 66.0), (38.0, 44.0)), 3, axis=0)
    narrow, wide, huge = face_masks(points, [1, 7, 60])
    assert narrow.sum() < wide.sum() < huge.sum()
    assert not (narrow & ~wide).any()
    assert np.array_equal(huge, INNER_MASK)


@pytest.mark.parametrize("where", [(0.0, 0.0), (300.0, -4000.0), (63.0, 20.0)])
def test_a_misread_face_stays_covered(where: tuple[float, float]) -> None:
    """Eyes, nose and mouth lie where the crop was aligned to, whatever the network reads."""
    (mask,) = face_masks(_oval(where, (2.0, 2.0)))
    weight = drawn_weights(mask[None])[0]
    for x, y in TEMPLATE_PX:
        assert weight[round(float(y)), round(float(x))] == 255


def test_weights_are_soft_inside_and_zero_outside() -> None:
    masks = face_masks(np.repeat(_oval((63.5, 66.0), (34.0, 44.0)), 2, axis=0), [2, 6])
    weights = drawn_weights(masks)
    assert weights.dtype == np.uint8
    assert not weights[~masks].any()
    assert (weights[:, 66, 63] == 255).all()
    rim = weights[0, 66, :64][masks[0, 66, :64]]
    assert (np.diff(rim[:12].astype(int)) >= 0).all()
    assert rim[0] < 60
    assert drawn_weights(masks[:0]).shape == (0, 128, 128)
    assert face_masks(np.zeros((0, N_POINTS, 2), np.float32)).shape == (0, 128, 128)


def test_blended_crops_are_the_original_outside_and_the_painted_one_inside() -> None:
    rng = np.random.default_rng(0)
    originals, painted = rng.integers(0, 256, (2, 1, 128, 128, 3), dtype=np.uint8)
    weights = np.zeros((1, 128, 128), np.uint8)
    weights[:, 40:80] = 255
    weights[:, 80:90] = 51
    out = blended(originals, painted, weights)
    assert np.array_equal(out[:, :40], originals[:, :40])
    assert np.array_equal(out[:, 40:80], painted[:, 40:80])
    mixed = originals[:, 80:90] * 0.8 + painted[:, 80:90] * 0.2
    assert np.abs(out[:, 80:90] - mixed).max() <= 0.51


def test_parts_share_every_row() -> None:
    rows = part_rows()
    assert rows.shape == (3, 128)
    assert np.allclose(rows.sum(0), 1.0)
    eyes, mouth = TEMPLATE_PX[0, 1], TEMPLATE_PX[3, 1]
    assert rows[0, 20] == 1.0
    assert rows[1, round(float(eyes))] == 1.0
    assert rows[2, round(float(mouth))] == 1.0
