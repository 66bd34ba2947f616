"""The target-oriented painter: its gates, its inputs, its width."""

from __future__ import annotations

import torch
from torch import nn

from deid_ops.models.facedancer import Affa, FaceDancer, FaceDancerConfig
from tests.support.painter_inputs import inputs


def test_affa_chooses_between_its_inputs() -> None:
    fuse = Affa(16)
    e, d = torch.zeros(1, 16, 8, 8), torch.ones(1, 16, 8, 8)
    last = fuse.mask[3]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 20.0)
    assert torch.allclose(fuse(e, d), d, atol=1e-4)
    nn.init.constant_(last.bias, -20.0)
    assert torch.allclose(fuse(e, d), e, atol=1e-4)


def test_facedancer_depends_on_target_and_identity() -> None:
    net = FaceDancer(FaceDancerConfig(style=32, channels=(8, 8, 16, 16, 16)))
    images, _, _, identity = inputs()
    out = net(images, identity)
    assert out.shape == images.shape
    assert (net(images, identity.flip(0)) - out).abs().mean() > 1e-3
    assert (net(images.flip(0), identity) - out).abs().mean() > 1e-3


def test_a_facedancer_is_read_back_as_wide_as_it_was() -> None:
    assert FaceDancerConfig.of_width(32) == FaceDancerConfig()
    for config in (FaceDancerConfig.of_width(8), FaceDancerConfig(style=32, mapping_depth=2)):
        assert FaceDancerConfig.of_weights(FaceDancer(config).state_dict()) == config
