"""What is painted into every face is found and pulled off; what differs between faces is not."""

from __future__ import annotations

import torch

from deid_ops.models.generator import HeatMaps
from deid_ops.swap.layout import GROUP_NAMES, N_POINTS
from deid_ops.train.tone import PaintersHabits

N, SEEN = 8, 60
FRONTAL = torch.zeros(N, 3)


def _heat() -> torch.Tensor:
    """All features lie in the upper left quarter; the contour's do not count."""
    points = torch.full((N, N_POINTS, 2), 30.0)
    heat = HeatMaps()(points)
    heat[:, GROUP_NAMES.index("contour")] = 1.0
    return heat


def _pulled(habits: PaintersHabits, planted: torch.Tensor, noise: float = 0.0) -> torch.Tensor:
    """Show faces with something planted; return the gradient at the last of them."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(SEEN):
        faces = torch.rand(N, 3, 128, 128, generator=generator) * 0.1 + 0.4
        other = planted + noise * torch.randn(N, 3, 1, 1, generator=generator)
        painted = (faces + other).requires_grad_()
        loss = habits(painted, faces, torch.ones(N, 1, 128, 128), _heat(), FRONTAL)
    (gradient,) = torch.autograd.grad(loss, painted)
    return gradient.mean(0)


def test_a_stripe_on_bare_skin_is_pulled_off() -> None:
    planted = torch.zeros(1, 3, 128, 128)
    planted[:, :, 90:94, 80:110] = 0.1
    habits = PaintersHabits()
    gradient = _pulled(habits, planted)
    assert gradient[0, 91, 95] > 3 * gradient[0].abs().mean()
    assert gradient[0, 20, 100].abs() < 1e-8
    assert 0 < habits.strength() < 0.02


def test_pale_lips_are_pulled_darker_and_sharp_features_stay() -> None:
    pale, sharp = torch.zeros(2, 1, 3, 128, 128)
    pale[:, :, 24:36, 24:36] = 0.1
    sharp[:, :, 28:30, 10:50:4], sharp[:, :, 28:30, 12:50:4] = 0.1, -0.1
    assert _pulled(PaintersHabits(), pale)[:, 30, 30].min() > 1e-8
    stayed = PaintersHabits()
    _pulled(stayed, sharp)
    assert stayed.sharp[:, 14, 14:17].abs().max() < 0.02  # of 0.1
    assert stayed.smooth[:, 14, 14:17].abs().max() < 0.02


def test_what_differs_from_face_to_face_is_no_habit() -> None:
    same = PaintersHabits()
    _pulled(same, torch.zeros(1, 3, 128, 128), noise=0.1)
    planted = PaintersHabits()
    _pulled(planted, torch.full((1, 3, 128, 128), 0.1))
    assert same.strength() < 0.15 * planted.strength()


def test_turned_heads_do_not_count() -> None:
    habits = PaintersHabits()
    faces = torch.rand(N, 3, 128, 128, requires_grad=True)
    turned = FRONTAL + torch.tensor([0.0, 3.0, 25.0])
    weight = torch.ones(N, 1, 128, 128)
    assert float(habits(faces + 0.2, faces, weight, _heat(), turned)) == 0.0
    assert habits.strength() == 0.0
