"""The leak-proof generator: what it may see, and what it paints by construction."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from deid_ops.models.generator import (
    GeneratorConfig,
    HeatMaps,
    LeakProofGenerator,
    bare_skin,
    eyes_and_lips,
    scalars_for,
)
from deid_ops.models.light import (
    enlarge_cells,
)
from deid_ops.swap.crop import INNER_MASK
from deid_ops.swap.layout import GROUP_NAMES, N_POINTS, group_slice
from tests.support.painter_inputs import inputs, masks_of

SMALL = GeneratorConfig(style=16, channels=(8, 8, 16, 16), blocks=(0, 1, 1, 1))


def _random_biases(net: nn.Module) -> None:
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)


def test_heat_maps_peak_at_the_point() -> None:
    points = torch.full((1, N_POINTS, 2), -500.0)
    points[0, group_slice("nose").start] = torch.tensor([80.5, 30.5])
    maps = HeatMaps()(points)
    row, column = divmod(int(maps[0, GROUP_NAMES.index("nose")].argmax()), 64)
    assert (column, row) == (40, 15)  # crop pixel 80.5 is the centre of map pixel 40
    assert maps[0, GROUP_NAMES.index("left_eye")].max() == 0


def test_skin_is_bare_away_from_features_and_at_the_hairline() -> None:
    points = torch.full((1, N_POINTS, 2), -500.0)
    points[0, group_slice("nose").start] = torch.tensor([64.5, 64.5])
    points[0, group_slice("contour").start] = torch.tensor([20.5, 20.5])
    points[0, group_slice("contour").start + 1] = torch.tensor([64.5, 120.5])
    bare = bare_skin(HeatMaps()(points))[0, 0]
    assert bare.shape == (64, 64)
    assert bare[32, 32] < 0.01  # 2 px of the crop a pixel
    assert bare[10, 10] == 1  # the contour on the forehead
    assert bare[60, 32] < 0.01  # the same at the jaw
    assert bare[32, 45] == 1


def test_eyes_and_lips_are_not_the_nose() -> None:
    points = torch.full((1, N_POINTS, 2), -500.0)
    points[0, group_slice("nose").start] = torch.tensor([64.5, 64.5])
    points[0, group_slice("left_iris").start] = torch.tensor([40.5, 40.5])
    found = eyes_and_lips(HeatMaps()(points))[0, 0]
    assert found.shape == (128, 128)
    assert found[40, 40] > 0.9
    assert found[64, 64] == 0


def test_generator_ignores_surroundings_input_inside_the_mask() -> None:
    net = LeakProofGenerator(SMALL)
    _random_biases(net)
    nn.init.normal_(net.out.weight, std=0.1)
    images, inside, points, identity = inputs()
    masks = masks_of(2).clone()
    masks[1, :, :50] = 0.0  # faces have masks of their own
    hidden = torch.where(masks > 0, torch.rand_like(images), images)
    scalars, told = scalars_for(2, None), torch.full((2, 6), 0.1)
    a, b = (net(x, masks, inside, points, told, identity, scalars) for x in (images, hidden))
    assert torch.equal(a, b)
    assert torch.equal(a * (1 - masks), images * (1 - masks))
    other = net(images, masks, inside, points, told, identity.flip(0), scalars)
    inner = INNER_MASK[50:].copy()
    assert (other - a)[:, :, 50:][:, :, inner].abs().mean() > 1e-4  # the identity decides
    noised = net(images, masks, inside, points, told, identity, scalars_for(2, 2.0))
    assert not torch.allclose(noised, a)


def test_untrained_generator_paints_the_light() -> None:
    net = LeakProofGenerator(SMALL)
    _, _, points, identity = inputs()
    ramp = torch.linspace(0.2, 0.7, 128)[None, None, None] * torch.ones(2, 3, 128, 1)
    light = functional.avg_pool2d(ramp, 16)
    told, scalars = torch.full((2, 6), 0.1), scalars_for(2, None)
    out = net(ramp, masks_of(2), enlarge_cells(light * 2 - 1), points, told, identity, scalars)
    assert torch.allclose(functional.avg_pool2d(out, 16)[..., 1:-1], light[..., 1:-1], atol=0.01)


def test_monochrome_footage_stays_monochrome() -> None:
    torch.manual_seed(0)
    net = LeakProofGenerator(GeneratorConfig(channels=(8, 8, 8, 8), blocks=(0, 0, 0, 1))).eval()
    torch.nn.init.normal_(net.out.weight, std=0.3)
    images, light, points, identity = inputs()
    grey, grey_light = (v.mean(1, keepdim=True).expand_as(v) for v in (images, light))
    with torch.no_grad():
        told, scalars = torch.full((len(images), 6), 0.1), scalars_for(len(images), None)
        masks = masks_of(len(images))
        out = net(grey, masks, grey_light, points, told, identity, scalars)
        tinted = net(images, masks, light, points, told, identity, scalars)
    assert (out - out.mean(1, keepdim=True)).abs().max() < 1e-5
    assert (out - grey).abs().max() > 0.1  # something was painted
    assert (tinted - tinted.mean(1, keepdim=True)).abs().max() > 0.01
