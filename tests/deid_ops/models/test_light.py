"""Brightness, contrast, colour and coarseness of a painted face are those of its footage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from deid_ops.diffuse import denoiser
from deid_ops.models.generator import (
    scalars_for,
)
from deid_ops.models.light import (
    as_colourful_as,
    as_smooth_as_skin,
    as_strong_as,
    cell_means,
    coarse_light,
    detail_strengths,
    look_of_footage,
    missing_colour,
    without_cell_means,
    without_chequers,
)
from deid_ops.swap import conditions
from deid_ops.swap.conditions import detail_of
from deid_ops.swap.crop import INNER_MASK
from tests.support.painter_inputs import masks_of, parts_of


def test_a_hazy_picture_gets_a_hazy_face() -> None:
    draw = torch.Generator().manual_seed(5)
    images = (
        torch.rand(2, 3, 16, 16, generator=draw).repeat_interleave(8, 2).repeat_interleave(8, 3)
    )
    mask = masks_of(2)
    looks = []
    for depth in (1.0, 0.5):
        surroundings = (images * 2 - 1) * depth
        light = functional.avg_pool2d(surroundings, 16)
        told = torch.full((2, 6), 0.2 * depth)
        looks.append(look_of_footage(surroundings, light, told, mask))
    assert looks[0].shape == (2, 10)
    # half the contrast: logarithms of a mean difference (halved) and of variances (quartered)
    fall = (looks[0] - looks[1])[:, 1:]
    assert torch.allclose(fall[:, 2], torch.full((2,), 0.3466), atol=0.02)
    assert (fall[:, :2] > 0.3).all()
    assert torch.allclose(fall[:, 3:], torch.full((2, 6), 0.6931), atol=0.01)


def test_detail_is_no_stronger_than_the_original_s() -> None:
    draw = torch.Generator().manual_seed(6)
    painted = torch.randn(3, 3, 128, 128, generator=draw)
    parts = parts_of(3)
    told = torch.tensor([[0.1] * 3 + [0.05] * 3, [0.04] * 3 + [0.2] * 3, [0.2] * 3 + [0.06] * 3])
    got = detail_strengths(as_strong_as(told, painted, parts), parts)
    assert (got <= told * 1.35 + 1e-3).all()  # the bands overlap a little
    assert (got[:, 3:] > 0.3 * told[:, 3:]).all()
    faint = as_strong_as(told, painted * 1e-3, parts)
    chin = faint[:, :, 90:110, 40:88], painted[:, :, 90:110, 40:88] * 1e-3
    gain = (told[:, 0] / 0.145).clamp(max=1.5).reshape(-1, 1, 1, 1)
    assert torch.allclose(chin[0], chin[1] * gain, atol=1e-6)


def test_a_bare_forehead_stays_bare() -> None:
    draw = torch.Generator().manual_seed(7)
    painted = torch.randn(1, 3, 128, 128, generator=draw)
    parts = parts_of(1)
    told = torch.tensor([[0.01, 0.2, 0.2, 0.01, 0.2, 0.2]])
    shown = as_strong_as(told, painted, parts)[0, :, :, 40:88]
    assert shown[:, 14:27].std() < 0.1 * shown[:, 45:70].std()


def test_a_line_is_limited_on_bare_skin_and_free_on_features() -> None:
    drawn = torch.zeros(1, 3, 128, 128)
    drawn[:, :, 20:100, 62:66] = 0.6  # down the forehead and over the nose
    bare = torch.zeros(1, 1, 128, 128)
    bare[:, :, :45] = 1.0
    told, mask = torch.tensor([[0.2, 0.2, 0.145, 0.1, 0.1, 0.1]]), masks_of(1)
    shown = as_smooth_as_skin(told, drawn, bare, mask)
    assert torch.equal(shown[:, :, 45:], drawn[:, :, 45:])
    beside = shown[0, 0, 25:40, 62:66] - shown[0, 0, 25:40, 56:58].mean()
    assert 0.0 < float(beside.min()) <= float(beside.max()) < 0.3
    hazy = as_smooth_as_skin(told * 0.1, drawn, bare, mask)[0, 0, 25:40, 62:66]
    assert float(hazy.mean()) < float(shown[0, 0, 25:40, 62:66].mean())


def test_faint_skin_keeps_its_texture() -> None:
    draw = torch.Generator().manual_seed(9)
    pores = 0.003 * torch.randn(1, 1, 128, 128, generator=draw).expand(-1, 3, -1, -1)
    everywhere = torch.ones(1, 1, 128, 128)
    told = torch.tensor([[0.2, 0.2, 0.145, 0.1, 0.1, 0.1]])
    assert torch.allclose(as_smooth_as_skin(told, pores, everywhere, everywhere), pores, atol=3e-4)


def test_strengths_are_the_same_in_training_and_in_the_job() -> None:
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(8))
    parts = parts_of(2)
    masks = np.stack([INNER_MASK, INNER_MASK])
    assert np.allclose(detail_strengths(images, parts), detail_of(images.numpy(), masks), atol=1e-5)


@pytest.mark.parametrize("ratio", [1.5, 3.0])
def test_coarse_light_sees_the_light_through_the_noise(ratio: float) -> None:
    draw = torch.Generator().manual_seed(3)
    clean = torch.rand(4, 3, 8, 8, generator=draw).repeat_interleave(16, 2).repeat_interleave(16, 3)
    masks = masks_of(4)
    noise = without_cell_means(torch.randn(clean.shape, generator=draw), masks)
    inner = INNER_MASK.copy()
    # one of 256 degrees of freedom a cell is taken away, more at the rim
    assert 0.95 < float(noise[:, :, inner].std()) < 1.0
    assert noise[:, :, ~inner].abs().max() == 0
    alpha = 1 / (1 + ratio**2) ** 0.5
    light = coarse_light(alpha * clean + alpha * ratio * noise, masks, scalars_for(4, ratio))
    assert torch.allclose(light, cell_means(clean, masks, 16), atol=1e-4)
    middle = functional.avg_pool2d(clean, 16)[..., 3:5, 3:5]
    assert torch.allclose(light[..., 3:5, 3:5], middle, atol=0.05)


def test_noise_without_cell_means_is_the_same_in_training_and_in_the_job() -> None:
    noise = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    masks = np.stack([INNER_MASK, np.roll(INNER_MASK, 5, axis=1)])
    at_run_time = denoiser.without_cell_means(noise.numpy(), masks)
    in_training = without_cell_means(noise, torch.from_numpy(masks[:, None].astype("f4")))
    assert np.allclose(at_run_time, in_training.numpy(), atol=1e-5)


@pytest.mark.parametrize("cells", [8, 32])
def test_cell_means_are_the_same_in_training_and_in_the_job(cells: int) -> None:
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(9))
    masks = np.stack([INNER_MASK, np.roll(INNER_MASK, 5, axis=1)])
    at_run_time = conditions.cell_means(images.numpy(), masks, cells)
    in_training = cell_means(images, torch.from_numpy(masks[:, None].astype("f4")), 128 // cells)
    assert np.allclose(at_run_time, in_training.numpy(), atol=1e-5)


def test_detail_is_no_more_colourful_than_the_light_allows() -> None:
    light, detail = torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 128, 128)
    light[1, 0], light[2, 0] = 0.03, 0.6
    detail[:, 0] = 0.15
    features = torch.zeros(3, 1, 128, 128)
    features[..., 64:] = 1.0
    found, vivid = as_colourful_as(light, detail, features).split(64, dim=3)
    detail = detail[..., :64]
    assert torch.allclose(found.mean(1), detail.mean(1), atol=1e-6)  # brightness stays
    grey, pale, skin = (found[:, 0] - found.mean(1)).abs().amax((1, 2)).tolist()
    assert grey < 1e-6
    assert pale < 0.01
    assert 0.05 < skin <= 0.0605  # of 0.1
    assert 0.08 < (vivid[2, 0] - vivid[2].mean(0)).min() < 0.1  # eyes and lips
    assert (vivid[0, 0] - vivid[0].mean(0)).abs().max() < 1e-6


def test_tints_are_taken_away_and_brightness_is_not() -> None:
    cells = torch.full((1, 3, 8, 8), 0.3)
    assert missing_colour(torch.zeros(1, 3, 8, 8), cells).abs().max() < 1e-6
    cells[:, 0] += 0.3
    fixed = cells + missing_colour(torch.zeros(1, 3, 8, 8), cells)
    assert torch.allclose(fixed, fixed.mean(1, keepdim=True).expand_as(fixed), atol=1e-6)
    assert fixed.mean() == pytest.approx(0.4, abs=1e-5)


def test_chequers_are_stopped_and_flat_parts_kept() -> None:
    flat = torch.full((1, 3, 16, 16), 0.7)
    assert torch.allclose(without_chequers(flat), flat)
    ramp = torch.arange(16.0)
    chequer = flat + 0.5 * (-1.0) ** (ramp[:, None] + ramp[None])
    assert torch.allclose(without_chequers(chequer)[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2])
