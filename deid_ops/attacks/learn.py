"""Training of the attackers on pairs of protected and original crops.

The adaptive attacker of the literature: it knows the defence, runs it on faces of its own, and
learns the way back (Rosberg 2023, section 5.4; Todt et al.). Nothing here sees the people that are
attacked later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deid_ops.attacks.networks import AttackerSize, EmbeddingRegressor, PatchCritic, ReversalUNet
from deid_ops.errors import InvariantError
from deid_ops.types import F32, U8

#: (step, steps, loss) after every tenth step
Progress = Callable[[int, int, float], None]

_RIDGE_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """How long and how large.

    Attributes:
        steps: optimiser steps.
        batch: pairs per step.
        learning_rate: of Adam; falls to zero along a half cosine.
        adversarial_weight: of the patch critic; 0 trains on pixels alone.
        size: channels of the networks.
        seed: of initialisation and of the draw of pairs.
    """

    steps: int = 20_000
    batch: int = 32
    learning_rate: float = 1e-3
    adversarial_weight: float = 0.0
    size: AttackerSize = field(default_factory=AttackerSize)
    seed: int = 1


def as_input(crops_bgr: U8) -> Tensor:
    """Return `[n, 3, 128, 128]` in [-1, 1] of uint8 `[n, 128, 128, 3]`."""
    planes = torch.from_numpy(np.ascontiguousarray(crops_bgr.transpose(0, 3, 1, 2)))
    return planes.float() / 127.5 - 1.0


def as_crops(images: Tensor) -> U8:
    """Return uint8 `[n, 128, 128, 3]` of images in [-1, 1]."""
    levels = ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def learn_reverser(
    protected: U8,
    original: U8,
    options: LearnOptions,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ReversalUNet:
    """Train an image-to-image attacker.

    Loss: L1 on pixels and on their horizontal and vertical differences (which keeps edges), plus a
    hinge critic where `adversarial_weight` is above 0.

    Args:
        protected: `[r, n, 128, 128, 3]`, `r` releases of each face (several anchors, fresh noise).
        original: `[n, 128, 128, 3]`.
        options: size and length.
        device: `cpu` or `cuda`.
        progress: told now and then.
    """
    _same_faces(protected, original)
    torch.manual_seed(options.seed)
    net = ReversalUNet(options.size).to(device)
    critic = PatchCritic().to(device) if options.adversarial_weight > 0 else None
    optimiser, schedule = _optimiser(net, options)
    critic_optimiser = None
    if critic is not None:
        critic_optimiser = torch.optim.Adam(critic.parameters(), 2e-4, betas=(0.0, 0.99))
    for step, (faces, rows) in enumerate(_draws(protected.shape[:2], options)):
        x = as_input(protected[faces, rows]).to(device, memory_format=torch.channels_last)
        y = as_input(original[rows]).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            guess = net(x)
        loss = functional.l1_loss(guess, y) + functional.l1_loss(_edges(guess), _edges(y))
        if critic is not None and critic_optimiser is not None:
            _critic_step(critic, critic_optimiser, x, y, guess.detach())
            loss = loss - options.adversarial_weight * critic(x, guess).mean()
        _step(optimiser, schedule, loss)
        _tell(progress, step, options, loss)
    net.eval()
    return net


def learn_regressor(
    protected: U8,
    seen: F32,
    vectors: F32,
    options: LearnOptions,
    device: str = "cpu",
    progress: Progress | None = None,
) -> EmbeddingRegressor:
    """Train a regressor from protected crops to the originals' identity vectors.

    Loss: cosine distance to the true vector, plus a softmax over the batch (the true vector among
    those of the others, temperature 0.1), which is what retrieval asks for.

    Args:
        protected: `[r, n, 128, 128, 3]`.
        seen: `[r, n, d]` unit vectors of the protected faces by the attacker's encoder.
        vectors: `[n, d]` unit vectors of the originals by the same encoder, which never judges.
        options: size and length.
        device: `cpu` or `cuda`.
        progress: told now and then.
    """
    _same_faces(protected, vectors)
    if seen.shape != (*protected.shape[:2], vectors.shape[1]):
        raise InvariantError(f"attack: protected {protected.shape}, their vectors {seen.shape}")
    torch.manual_seed(options.seed)
    net = EmbeddingRegressor(vectors.shape[1], options.size).to(device)
    optimiser, schedule = _optimiser(net, options)
    targets = functional.normalize(torch.from_numpy(np.array(vectors, np.float32)), dim=1)
    with torch.no_grad():
        net.correct.weight.copy_(torch.from_numpy(_ridge(seen, targets.numpy())))
    for step, (faces, rows) in enumerate(_draws(protected.shape[:2], options)):
        x = as_input(protected[faces, rows]).to(device, memory_format=torch.channels_last)
        z = torch.from_numpy(np.asarray(seen[faces, rows], np.float32)).to(device)
        y = targets[torch.from_numpy(rows)].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            guess = net(x, z)
        alike = guess.float() @ y.T
        truth = torch.arange(len(rows), device=device)
        loss = 1.0 - alike.diagonal().mean() + 0.5 * functional.cross_entropy(alike / 0.1, truth)
        _step(optimiser, schedule, loss)
        _tell(progress, step, options, loss)
    net.eval()
    return net


def _ridge(seen: F32, targets: F32) -> F32:
    """Return `W` [d, d] with `W @ seen` near the targets, and near the identity without data.

    `min |X W' - Y|^2 + k |W' - I|^2`, `X` the vectors of all releases; `k` is a share of their mean
    energy along an axis. A few steps of descent could not get from the identity to its negative.
    """
    x = seen.reshape(-1, seen.shape[-1]).astype(np.float64)
    y = np.tile(targets, (len(seen), 1)).astype(np.float64)
    k = _RIDGE_SHARE * np.square(x).sum() / x.shape[1]
    identity = np.eye(x.shape[1])
    solution = np.linalg.solve(x.T @ x + k * identity, x.T @ y + k * identity)
    return np.asarray(solution.T, dtype=np.float32)


@torch.inference_mode()
def reverse(net: ReversalUNet, protected: U8, batch: int = 32) -> U8:
    """Return the attacker's guesses `[n, 128, 128, 3]` of the originals."""
    device = next(net.parameters()).device
    parts = [
        as_crops(net(as_input(protected[i : i + batch]).to(device)))
        for i in range(0, len(protected), batch)
    ]
    return np.concatenate(parts) if parts else protected.copy()


@torch.inference_mode()
def regress(net: EmbeddingRegressor, protected: U8, seen: F32, batch: int = 32) -> F32:
    """Return the attacker's guesses `[n, d]` of the originals' vectors; `seen` as in learning."""
    device = next(net.parameters()).device
    parts = []
    for i in range(0, len(protected), batch):
        z = torch.from_numpy(np.asarray(seen[i : i + batch], np.float32)).to(device)
        parts.append(net(as_input(protected[i : i + batch]).to(device), z).cpu().numpy())
    return np.concatenate(parts).astype(np.float32)


def fgsm(net: ReversalUNet, crops_bgr: U8, eps: float, batch: int = 16) -> U8:
    """Return crops moved one step against a reverser (the thesis' FGSM defence, Table 5.8).

    `clip(x + eps * sign(grad_x mean |R(x) - x|), -1, 1)`: the defender makes the attacker's output
    differ from the protected picture, knowing that attacker. One trained afterwards is not fooled.
    """
    device = next(net.parameters()).device
    parts = []
    for i in range(0, len(crops_bgr), batch):
        x = as_input(crops_bgr[i : i + batch]).to(device).requires_grad_()
        difference = (net(x) - x.detach()).abs().mean()
        (gradient,) = torch.autograd.grad(difference, x)
        parts.append(as_crops((x + eps * gradient.sign()).clamp(-1, 1).detach()))
    return np.concatenate(parts)


def _same_faces(protected: U8, other: U8 | F32) -> None:
    if protected.ndim != 5 or protected.shape[1] != len(other):
        raise InvariantError(f"attack: protected {protected.shape}, originals {other.shape}")


def _draws(
    shape: tuple[int, ...], options: LearnOptions
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (release, face) numbers of each step's pairs; every face once per epoch."""
    rng = np.random.default_rng(options.seed)
    releases, n = shape
    order: np.ndarray = rng.permutation(n)
    for _ in range(options.steps):
        while len(order) < options.batch:
            order = np.concatenate([order, rng.permutation(n)])
        rows, order = order[: options.batch], order[options.batch :]
        yield rng.integers(releases, size=len(rows)), rows


def _optimiser(
    net: nn.Module, options: LearnOptions
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(net.parameters(), options.learning_rate, weight_decay=1e-4)
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)


def _step(
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: Tensor,
) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    schedule.step()


def _critic_step(
    critic: PatchCritic, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, guess: Tensor
) -> None:
    loss = (
        functional.relu(1.0 - critic(x, y)).mean() + functional.relu(1.0 + critic(x, guess)).mean()
    )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _edges(images: Tensor) -> Tensor:
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    return torch.cat([across, down], dim=1)


def _tell(progress: Progress | None, step: int, options: LearnOptions, loss: Tensor) -> None:
    if progress is not None and (step % 10 == 9 or step + 1 == options.steps):
        progress(step + 1, options.steps, float(loss.detach()))
