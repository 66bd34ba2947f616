"""The critics and their losses."""

from __future__ import annotations

import math

import pytest
import torch

from deid_ops.models.discriminator import (
    FeatureCritic,
    PatchDiscriminator,
    fooling_loss,
    hinge_critic,
    logistic_critic,
)


def test_critic_prefers_what_it_is_told_is_real() -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(16)
    assert critic(torch.rand(2, 3, 128, 128)).shape == (2, 1, 8, 8)
    real, fake = torch.full((2, 1), 3.0), torch.full((2, 1), -3.0)
    assert float(hinge_critic(real, fake)) == 0.0
    assert float(hinge_critic(fake, real)) == 8.0


def test_feature_critic_learns_what_tells_two_kinds_apart() -> None:
    """Kinds that differ in one of two maps only, and in strength, which does not count."""
    torch.manual_seed(0)
    critic = FeatureCritic((3, 5))
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3)

    def kinds(n: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        real, fake = ([torch.randn(n, 3, 8, 8), torch.randn(n, 5, 4, 4)] for _ in range(2))
        fake[1][:, 0] += 1.5
        return real, [10.0 * m for m in fake]

    for _ in range(150):
        real, fake = kinds(16)
        loss = logistic_critic(critic(real), critic(fake))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    real, fake = kinds(64)
    seen_real, seen_fake = critic(real), critic(fake)
    assert [tuple(v.shape[1:]) for v in seen_fake] == [(1, 8, 8), (1, 4, 4)]
    right = [((r > 0).float().mean() + (f < 0).float().mean()) / 2
             for r, f in zip(seen_real, seen_fake, strict=True)]  # fmt: skip
    assert right[1] > 0.7
    assert right[0] < 0.55
    assert fooling_loss(seen_fake) > fooling_loss(seen_real)


def test_logistic_critic_without_an_opinion() -> None:
    none = [torch.zeros(2, 1, 3, 3)]
    assert float(logistic_critic(none, none)) == pytest.approx(2 * math.log(2))
    assert float(fooling_loss(none)) == pytest.approx(math.log(2))
    sure = [torch.full((2, 1, 3, 3), 20.0)]
    assert float(logistic_critic(sure, [-sure[0]])) < 1e-6
