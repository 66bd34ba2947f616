"""Target-oriented generator of the FaceDancer kind, the thesis' reference.

It sees the face it changes: an encoder of the crop, and a decoder that at each scale decides per
pixel and channel how much to take from the target and how much from the identity-conditioned path
(adaptive feature fusion attention, AFFA). It needs long adversarial training on large data; with
little it learns to copy (see the project's training notes), so it is not the default.

Architecture after Rosberg et al. 2023 (WACV): mapping network, residual blocks with instance
normalisation on the way down, adaptive instance normalisation on the way up. Kept from what is
known to break in PyTorch: Glorot initialisation with zero bias, identities at norm sqrt(d),
scale + 1 in the modulation, eps 1e-3.

Convention: images RGB in [0, 1] at the border, [-1, 1] inside; no tanh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deid_ops.models.blocks import MappingNetwork, conv3, init_glorot, scaled_identity


@dataclass(frozen=True, slots=True)
class FaceDancerConfig:
    """Widths at 128, 64, 32, 16 and 8 px (half of the published network's, at half its size)."""

    identity: int = 128
    style: int = 256
    mapping_depth: int = 4
    channels: tuple[int, ...] = (32, 64, 128, 256, 256)
    affa_from: int = 2  # decoder stages before this one take no skip (8 and 16 px)

    @classmethod
    def of_width(cls, width: int) -> FaceDancerConfig:
        """Return the network with `width` channels at 128 px; the work grows with its square.

        Example:
            >>> FaceDancerConfig.of_width(32) == FaceDancerConfig()
            True
        """
        return cls(channels=(width, 2 * width, 4 * width, 8 * width, 8 * width))

    @classmethod
    def of_weights(cls, state: Mapping[str, Tensor]) -> FaceDancerConfig:
        """Return the widths of a network by its weights."""
        dense = sorted(name for name in state if name.startswith("mapping.layers.")
                       and name.endswith(".weight"))  # fmt: skip
        levels = sum(name.startswith("down.") and name.endswith("conv.weight") for name in state)
        down = (state[f"down.{i}.conv.weight"] for i in range(levels))
        style, identity = state[dense[0]].shape
        channels = (len(state["stem.weight"]), *map(len, down))
        return cls(identity, style, len(dense), channels)


class Affa(nn.Module):
    """Fuse encoder and decoder features: m d + (1 - m) e with a learnt mask m."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 4)
        self.mask = nn.Sequential(
            conv3(2 * channels, hidden),
            nn.LeakyReLU(0.2),
            nn.InstanceNorm2d(hidden, eps=1e-3, affine=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        """Return the fused features; both inputs are [n, channels, h, w]."""
        mask: Tensor = self.mask(torch.cat([encoded, decoded], 1))
        return (1.0 - mask) * encoded + mask * decoded


class DownBlock(nn.Module):
    """Residual block that halves the size (or keeps it)."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool = True) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(inputs, eps=1e-3, affine=True)
        self.conv, self.skip = conv3(inputs, outputs), nn.Conv2d(inputs, outputs, 1)
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / 2, w / 2]."""
        main = self.conv(functional.leaky_relu(self.norm(x), 0.2))
        out: Tensor = self.skip(x) + main
        return functional.avg_pool2d(out, 2) if self.halve else out


class UpBlock(nn.Module):
    """Residual block with adaptive instance normalisation that doubles the size (or keeps it)."""

    def __init__(self, inputs: int, outputs: int, style: int, *, double: bool = True) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(inputs, eps=1e-3)
        self.style = nn.Linear(style, 2 * inputs)
        self.conv, self.skip = conv3(inputs, outputs), nn.Conv2d(inputs, outputs, 1)
        self.doubles = double

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, 2 h, 2 w]."""
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        main = self.conv(functional.leaky_relu(self.norm(x) * (1.0 + scale) + shift, 0.2))
        out: Tensor = self.skip(x) + main
        if not self.doubles:
            return out
        return functional.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=False)


class FaceDancer(nn.Module):
    """(crop, identity) -> crop; configuration C of the paper in small."""

    def __init__(self, config: FaceDancerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FaceDancerConfig()
        c, last = config.channels, len(config.channels) - 1
        self.mapping = MappingNetwork(config.identity, config.style, config.mapping_depth)
        self.stem = conv3(3, c[0])
        self.down = nn.ModuleList(DownBlock(c[i], c[i + 1]) for i in range(last))
        self.bottom = nn.ModuleList([DownBlock(c[-1], c[-1], halve=False)])
        self.start = UpBlock(c[-1], c[-1], config.style, double=False)
        self.affa, self.up = nn.ModuleList(), nn.ModuleList()
        for stage, level in enumerate(range(last, 0, -1)):
            self.affa.append(Affa(c[level]) if stage >= config.affa_from else nn.Identity())
            self.up.append(UpBlock(c[level], c[level - 1], config.style))
        self.merge = nn.Conv2d(2 * c[0], c[0], 1)  # the last skip is a concatenation
        self.final = UpBlock(c[0], 3, config.style, double=False)
        init_glorot(self)

    def forward(self, crops_rgb01: Tensor, identity_unit: Tensor) -> Tensor:
        """Return crops [n, 3, 128, 128] in about [0, 1], not clipped."""
        w = self.mapping(scaled_identity(identity_unit))
        x = self.stem(crops_rgb01 * 2.0 - 1.0)
        skips = [x]
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block in self.bottom:
            x = block(x)
        x = self.start(x, w)
        for fuse, up in zip(self.affa, self.up, strict=True):
            skip = skips.pop()
            x = fuse(skip, x) if isinstance(fuse, Affa) else x
            x = up(x, w)
        x = self.final(self.merge(torch.cat([x, skips.pop()], 1)), w)
        out: Tensor = x * 0.5 + 0.5
        return out


class FaceDancerExport(nn.Module):
    """The target-oriented swap as ONNX sees it."""

    def __init__(self, net: FaceDancer) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops_rgb: Tensor, anchor_unit: Tensor) -> Tensor:
        """Return crops [n, 3, 128, 128] in [0, 1]."""
        crop: Tensor = self.net(crops_rgb, anchor_unit)
        return crop.clamp(0.0, 1.0)
