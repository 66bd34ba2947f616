"""Critics that tell painted faces from photographed ones, conditioned on nothing.

`FeatureCritic` looks through frozen encoders (projected GANs, Sauer et al. 2021): small heads on
the maps after their stages. After 300 steps such a head told held-out painted pictures from real
ones in 72 to 98 of 100, by encoder and stage. A small network that looks at pixels alone stayed
blind for as long (51 to 56 of 100 patches): what gives a painter of some thousand steps away are
shapes.

`PatchDiscriminator` is the published one of the target-oriented reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class FeatureCritic(nn.Module):
    """One head a map; each place of a map gets a logit.

    Args:
        channels: of the maps that will be looked at.
        width: of the heads.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(n, width, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3, padding=1)
            )
            for n in channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits [n, 1, h, w] of maps [n, channels, h, w]."""
        return [head(_evened(m)) for head, m in zip(self.heads, maps, strict=True)]


def _evened(maps: Tensor) -> Tensor:
    """Scale each place of a map to a mean square of one over its channels."""
    return maps * torch.rsqrt(maps.square().mean(1, keepdim=True) + 1e-6)


def logistic_critic(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return mean softplus(-D(real)) + softplus(D(fake)) over the logits of every map.

    Args:
        real: of photographed faces, one [n, 1, h, w] a map.
        fake: of painted ones, [m, 1, h, w] each.
    """
    parts = [functional.softplus(-r).mean() + functional.softplus(f).mean()
             for r, f in zip(real, fake, strict=True)]  # fmt: skip
    return torch.stack(parts).mean()


def fooling_loss(fake: Sequence[Tensor]) -> Tensor:
    """Return mean softplus(-D(fake)) over logits [m, 1, h, w] a map: small for a good painter."""
    return torch.stack([functional.softplus(-f).mean() for f in fake]).mean()


class PatchDiscriminator(nn.Module):
    """Four convolutions on a 4x pixel-unshuffled image [n, 3, 128, 128] in [0, 1].

    The output is one logit per 16 px patch, [n, 1, 8, 8].
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(48, width, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 2 * width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 1, 3, 1, 1)),
        )

    def forward(self, crops_rgb01: Tensor) -> Tensor:
        """Return one logit per patch."""
        logits: Tensor = self.layers(functional.pixel_unshuffle(crops_rgb01 * 2.0 - 1.0, 4))
        return logits


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return mean relu(1 - D(real)) + relu(1 + D(fake)) of logits."""
    return (functional.relu(1.0 - real) + functional.relu(1.0 + fake)).mean()
