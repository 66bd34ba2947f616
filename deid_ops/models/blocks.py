"""Layers shared by the networks: initialisation, adaptive normalisation, residual blocks.

Convention: images and features are [n, channels, height, width]; identity vectors are fed at
norm sqrt(d), so that every entry has unit variance.

Source: Karras et al. 2019 (style modulation), Rosberg et al. 2023 (mapping network); the
initialisation matters more than the architecture: with PyTorch's default bias terms the style
hardly depends on the identity and the swap is never learnt.
"""

from __future__ import annotations

import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def init_glorot(module: nn.Module) -> None:
    """Set every convolution and dense layer to Glorot-uniform weights and zero bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size (or divides it by `stride`)."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


class AdaptiveNorm(nn.Module):
    """Group normalisation whose scale and shift come from a style vector: (1 + g(w)) x + b(w)."""

    def __init__(self, channels: int, style: int, groups: int = 8) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, affine=False, eps=1e-3)
        self.scale_shift = nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Normalise x [n, c, h, w] and modulate it with style [n, s]."""
        scale, shift = self.scale_shift(style)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), scale + 1.0)


class StyledBlock(nn.Module):
    """Pre-activation residual block with two modulated 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = AdaptiveNorm(inputs, style), conv3(inputs, outputs)
        self.norm2, self.conv2 = AdaptiveNorm(outputs, style), conv3(outputs, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map x [n, inputs, h, w] to [n, outputs, h, w]."""
        h = self.conv1(functional.silu(self.norm1(x, style)))
        h = self.conv2(functional.silu(self.norm2(h, style)))
        out: Tensor = self.skip(x) + h
        return out


class PlainBlock(nn.Module):
    """Residual block with batch normalisation, for the networks that measure."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape of x [n, c, h, w]."""
        out: Tensor = functional.relu(x + self.body(x))
        return out


class MappingNetwork(nn.Module):
    """Dense layers from the conditioning vector to the style vector."""

    def __init__(self, inputs: int, style: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs] + [style] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, z: Tensor) -> Tensor:
        """Map z [n, inputs] to [n, style]; no activation after the last layer."""
        for layer in self.layers[:-1]:
            z = functional.leaky_relu(layer(z), 0.2)
        out: Tensor = self.layers[-1](z)
        return out


def scaled_identity(identity_unit: Tensor) -> Tensor:
    """Scale unit vectors [n, d] to norm sqrt(d)."""
    scaled: Tensor = functional.normalize(identity_unit, dim=1) * identity_unit.shape[1] ** 0.5
    return scaled


def channels_last(module: ModuleT) -> ModuleT:
    """Store a network's weights with channels last, which CPUs convolve faster; in place."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def count_parameters(module: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(p.numel() for p in module.parameters())
