"""The attackers' networks: an image-to-image reverser, its critic, and an embedding regressor.

Convention: images are BGR in [-1, 1], `[n, 3, 128, 128]`. The reverser works on the image folded
2 x 2 into channels (64 px inside), which keeps it small enough for a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class AttackerSize:
    """Channels of the reverser at 64, 32, 16 and 8 px, and of the regressor."""

    reverser: tuple[int, int, int, int] = (48, 96, 192, 256)
    regressor: tuple[int, int, int, int] = (48, 96, 192, 256)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, 1, 1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(inplace=True),
    )


class ReversalUNet(nn.Module):
    """U-Net that maps a protected crop to the original; its output is a change of the input.

    Isola et al. 2017 ("pix2pix") in small: four scales, skip connections, no dropout.
    """

    def __init__(self, size: AttackerSize | None = None) -> None:
        super().__init__()
        c = (size or AttackerSize()).reverser
        self.stem = _block(12, c[0])
        self.down = nn.ModuleList(_block(c[i], c[i + 1], 2) for i in range(3))
        self.middle = _block(c[3], c[3])
        self.up = nn.ModuleList(_block(c[i + 1] + c[i], c[i]) for i in reversed(range(3)))
        self.head = nn.Conv2d(c[0], 12, 1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, protected: Tensor) -> Tensor:
        """Return the guessed original, `[n, 3, 128, 128]`; starts as the identity."""
        x = self.stem(functional.pixel_unshuffle(protected, 2))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up in self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, skips.pop()], dim=1))
        guess: Tensor = protected + functional.pixel_shuffle(self.head(x).float(), 2)
        return guess


class PatchCritic(nn.Module):
    """Patch discriminator on (protected, candidate) pairs, spectrally normalised."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 24
        for factor in (1, 2, 4):
            layers += [
                nn.utils.parametrizations.spectral_norm(
                    nn.Conv2d(inputs, channels * factor, 4, 2, 1)
                ),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inputs = channels * factor
        layers.append(nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, 1, 3, 1, 1)))
        self.body = nn.Sequential(*layers)

    def forward(self, protected: Tensor, candidate: Tensor) -> Tensor:
        """Return one logit per patch."""
        pair = torch.cat([protected, candidate], dim=1)
        out: Tensor = self.body(functional.pixel_unshuffle(pair, 2))
        return out


class EmbeddingRegressor(nn.Module):
    """Guesses the original's identity vector from a protected crop: no picture in between.

    The cheapest leak test. It is given what a ready-made encoder says of the protected face and
    starts by believing it (a naive search); what it learns is a linear correction of that vector,
    which undoes a negation for example, and what the pixels add to it.
    """

    def __init__(self, dim: int, size: AttackerSize | None = None) -> None:
        super().__init__()
        c = (size or AttackerSize()).regressor
        self.body = nn.Sequential(
            _block(12, c[0]), *(_block(c[i], c[i + 1], 2) for i in range(3)), _block(c[3], c[3], 2)
        )
        self.head = nn.Linear(c[3] * 16, dim)
        self.correct = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        nn.init.eye_(self.correct.weight)

    def forward(self, protected: Tensor, seen_unit: Tensor) -> Tensor:
        """Return `[n, dim]` unit vectors; `seen_unit` [n, dim] are those of the protected faces."""
        x = self.body(functional.pixel_unshuffle(protected, 2)).float()
        guess = self.correct(seen_unit) + self.head(x.flatten(1))
        out: Tensor = functional.normalize(guess.float(), dim=1)
        return out
