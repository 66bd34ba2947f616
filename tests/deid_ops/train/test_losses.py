"""What the losses of the generators count, and what they leave alone."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from deid_ops.models.encoder import CompactEncoder
from deid_ops.models.light import detail_strengths
from deid_ops.swap.crop import EYE_DISTANCE_PX
from deid_ops.swap.layout import N_POINTS, group_slice
from deid_ops.train import losses
from deid_ops.train.losses import (
    apart_in_pairs,
    eye_difference,
    identity_terms,
    light_difference,
    masked_l1,
    missing_detail,
    seam,
)


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(3, N_POINTS, 2, generator=torch.Generator().manual_seed(1)) * 100


def test_an_eye_that_moves_as_a_whole_costs_nothing(points: torch.Tensor) -> None:
    moved = points.clone()
    for group in ("left_eye", "left_iris"):
        moved[:, group_slice(group)] += torch.tensor([2.0, -1.0])
    assert float(eye_difference(moved, points)) == pytest.approx(0.0, abs=1e-5)


def test_an_iris_that_moves_costs_its_way(points: torch.Tensor) -> None:
    moved = points.clone()
    moved[:, group_slice("left_iris")] += torch.tensor([1.0, 1.0])
    # one of the four groups is one pixel off
    assert float(eye_difference(moved, points)) == pytest.approx(0.25 / (0.02 * EYE_DISTANCE_PX))


def test_light_counts_averages_and_not_texture() -> None:
    texture = torch.zeros(1, 3, 128, 128)
    texture[..., ::2], mask = 0.2, torch.ones(1, 1, 128, 128)
    told = torch.full((1, 3, 8, 8), 0.1)
    assert float(light_difference(texture, told, mask)) == pytest.approx(0.0, abs=1e-6)
    assert float(light_difference(texture + 0.1, told, mask)) == pytest.approx(0.1, abs=1e-5)
    flat = torch.full_like(texture, 0.1)
    assert float(masked_l1(texture, flat, mask)) == pytest.approx(0.1, abs=1e-5)


def test_detail_that_is_weaker_than_told_costs_and_stronger_does_not() -> None:
    rng = torch.Generator().manual_seed(2)
    face = 0.5 + 0.1 * torch.randn(1, 3, 128, 128, generator=rng)
    parts = torch.zeros(1, 3, 128, 128)
    for part in range(3):
        parts[:, part, 30 * part + 20 : 30 * part + 50, 20:108] = 1.0
    told = detail_strengths(face, parts)
    assert float(missing_detail(face, told, parts)) == pytest.approx(0.0, abs=1e-6)
    half = 0.5 + 0.5 * (face - 0.5)
    assert 0.4 < float(missing_detail(half, told, parts)) < np.log(2)
    assert float(missing_detail(0.5 + 2.0 * (face - 0.5), told, parts)) == 0.0
    flat = torch.full_like(face, 0.5, requires_grad=True)
    missing_detail(flat, told, parts).backward()  # type: ignore[no-untyped-call]
    assert flat.grad is not None
    assert bool(torch.isfinite(flat.grad).all())


def test_the_seam_is_the_rim_of_the_mask() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 8:56, 8:56] = 1.0
    rim = seam(mask)
    assert rim[..., 8, 30] == 1.0
    assert rim[..., 32, 32] == 0.0
    assert float((rim * (1 - mask)).sum()) == 0.0


def test_pairs_are_neighbours_and_an_odd_one_is_alone() -> None:
    unit = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [9.0, -9.0]]), dim=1
    )
    assert float(apart_in_pairs(unit)) == pytest.approx((1.0 - 0.5**0.5) / 2, abs=1e-6)
    assert float(apart_in_pairs(unit[:1])) == 0.0


def test_one_identity_in_two_poses_is_asked_of_those_that_get_another() -> None:
    torch.manual_seed(0)
    encoder = CompactEncoder((8, 16, 16)).eval()
    output = torch.rand((4, 3, 4, 4)).repeat_interleave(32, 2).repeat_interleave(32, 3)
    output[3] = output[1]
    own_unit = torch.nn.functional.normalize(torch.rand((4, 128)), dim=1)
    own = torch.tensor([True, False, True, False])
    terms = [
        identity_terms(
            [encoder], images, output, own_unit, own_unit, own, 0.0, np.random.default_rng(0)
        ).same
        for images in (output, output[[0, 1, 3, 2]])
    ]
    alike, unlike = (float(term.detach()) for term in terms)
    assert alike == pytest.approx(0.0, abs=1e-5)
    assert unlike > 1e-4


def test_examples() -> None:
    assert doctest.testmod(losses).failed == 0
