"""Patch discriminator for the light adversarial sharpening, conditioned on nothing.

Input [n, 3, 128, 128] RGB in [0, 1]; output one logit per 16 px patch, [n, 1, 8, 8]. Spectral
normalisation keeps it gentle on purpose: with little training a strong critic only adds artefacts.
Its learning rate makes up for part of that (`GeneratorTraining.critic_rate`).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Four convolutions on a 4x pixel-unshuffled image."""

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


def hinge_critic(real: Tensor, fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return mean relu(1 - D(real)) + relu(1 + D(fake)).

    Args:
        real: logits of real pictures.
        fake: logits of painted ones.
        weight: of each patch, of the same shape: where nothing was painted, both are alike and
            there is nothing to learn. None counts all alike.
    """
    return patch_mean(functional.relu(1.0 - real) + functional.relu(1.0 + fake), weight)


def patch_mean(logits: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean over patches, weighted where a weight is given."""
    if weight is None:
        return logits.mean()
    return (logits * weight).sum() / weight.sum().clamp(min=1e-6)
