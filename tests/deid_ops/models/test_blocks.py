"""What the networks are built of, and the properties that make them learn."""

from __future__ import annotations

import torch
from torch import nn

from deid_ops.models.blocks import MappingNetwork, init_glorot, scaled_identity


def test_identity_reaches_the_style_after_glorot_but_hardly_with_defaults() -> None:
    """The trap of the PyTorch port: with default initialisation the style ignores the identity."""
    z = torch.randn(256, 128, generator=torch.Generator().manual_seed(1))
    spread = {}
    for name in ("default", "glorot"):
        torch.manual_seed(2)
        net = nn.Sequential(MappingNetwork(128, 128, 4), nn.Linear(128, 64))
        if name == "glorot":
            init_glorot(net)
        unit = torch.nn.functional.normalize(z)
        fed = scaled_identity(z) if name == "glorot" else unit
        spread[name] = float(net(fed).std(0).mean())
    assert spread["glorot"] > 0.15
    assert spread["default"] < 0.02


def test_scaled_identity_has_unit_variance() -> None:
    out = scaled_identity(torch.randn(5, 128) * 7)
    assert torch.allclose(out.norm(dim=1), torch.full((5,), 128**0.5), atol=1e-4)
