"""What every trainer shares: averaged weights, checkpoints, exact resume.

A checkpoint holds the networks, their averages, the optimisers, the random states and the step.
Stopping after step k and resuming gives the same weights as not stopping (tested), because every
random number comes from the two generators below and both are saved.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from deid_ops.errors import SetupError

Clock = Callable[[], float]  # seconds, monotonic; passed in because ops know no clock
Report = Callable[[int, Mapping[str, float]], None]


NetT = TypeVar("NetT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Budget:
    """When a training stops and how often it saves."""

    max_steps: int
    max_seconds: float = float("inf")
    checkpoint_seconds: float = 180.0
    report_every: int = 50
    stop: Callable[[], bool] = bool  # asked after each step; `bool()` is False: never


class Average(Generic[NetT]):
    """Exponential moving average of a network's weights; buffers are copied."""

    def __init__(self, net: NetT, decay: float) -> None:
        self.decay = decay
        self.net = copy.deepcopy(net).eval()
        for parameter in self.net.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move towards `net`; early steps average over fewer of them."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        pairs = zip(self.net.parameters(), net.parameters(), strict=True)
        for mine, theirs in pairs:
            mine.lerp_(theirs, 1.0 - decay)
        for kept, current in zip(self.net.buffers(), net.buffers(), strict=True):
            kept.copy_(current)


@dataclass(slots=True)
class State:
    """Everything a checkpoint holds. `parts` maps a name to a module, optimiser or average."""

    parts: dict[str, Any]
    seed: int
    step: int = 0
    seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    rng: np.random.Generator = field(init=False)
    torch_rng: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        """Seed both generators."""
        self.rng = np.random.default_rng(self.seed)
        self.torch_rng = torch.Generator().manual_seed(self.seed)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash while writing leaves the previous one."""
        payload = {
            "step": self.step,
            "seconds": self.seconds,
            "extra": self.extra,
            "rng": json.dumps(self.rng.bit_generator.state),
            "torch_rng": self.torch_rng.get_state(),
            "parts": {name: _state_of(part) for name, part in self.parts.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        torch.save(payload, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            SetupError: there is none, or it belongs to another network.
        """
        if not path.is_file():
            raise SetupError(f"{path}: no checkpoint to resume from; train without --resume first")
        payload = torch.load(path, map_location="cpu", weights_only=True)
        if set(payload["parts"]) != set(self.parts):
            raise SetupError(f"{path}: holds {sorted(payload['parts'])}, not {sorted(self.parts)}")
        for name, part in self.parts.items():
            try:
                (part.net if isinstance(part, Average) else part).load_state_dict(
                    payload["parts"][name]
                )
            except (RuntimeError, ValueError) as error:
                raise SetupError(f"{path}: {name} does not fit this network: {error}") from error
        self.step, self.seconds = payload["step"], payload["seconds"]
        self.extra = payload["extra"]
        self.rng.bit_generator.state = json.loads(payload["rng"])
        self.torch_rng.set_state(payload["torch_rng"])


def _state_of(part: Any) -> Any:
    return part.net.state_dict() if isinstance(part, Average) else part.state_dict()


def run(
    state: State,
    step: Callable[[int], Mapping[str, float]],
    budget: Budget,
    checkpoint: Path | None,
    clock: Clock,
    report: Report,
) -> None:
    """Call `step(number)` until the budget is spent; save on the way and at the end.

    Args:
        state: counts the steps and the seconds over all resumed runs.
        step: one optimisation step; returns its losses.
        budget: limits. `max_seconds` counts this run only.
        checkpoint: where to save, or None.
        clock: monotonic seconds.
        report: called with the step and the mean losses since the last call.

    Raises:
        FloatingPointError: a loss is not finite; the last checkpoint stays good.
    """
    begun = saved = clock()
    before = state.seconds
    sums: dict[str, float] = {}
    count = 0
    while state.step < budget.max_steps and clock() - begun < budget.max_seconds:
        losses = step(state.step)
        bad = [name for name, value in losses.items() if not np.isfinite(value)]
        if bad:
            raise FloatingPointError(f"step {state.step}: {', '.join(bad)} not finite")
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        state.step += 1
        state.seconds = before + clock() - begun
        if budget.stop():
            break
        if state.step % budget.report_every == 0:
            report(state.step, {name: value / count for name, value in sums.items()})
            sums, count = {}, 0
        if checkpoint is not None and clock() - saved > budget.checkpoint_seconds:
            state.save(checkpoint)
            saved = clock()
    if checkpoint is not None:
        state.save(checkpoint)


def half_cosine(step: int, total: int, warmup: int, floor: float = 0.02) -> float:
    """Learning rate factor: linear rise over `warmup` steps, then half a cosine to `floor`.

    Example:
        >>> half_cosine(0, 100, 10), round(half_cosine(100, 100, 10), 3)
        (0.1, 0.02)
    """
    if step < warmup:
        return (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + float(np.cos(np.pi * share)))


def descend(
    losses: Sequence[Tensor], optimiser: torch.optim.Optimizer, clip: float | None = 5.0
) -> None:
    """Take one step down the sum of the losses, the gradient's norm limited to `clip`."""
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(losses)).sum().backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        for group in optimiser.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], clip)
    optimiser.step()


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def to_float01(crops: np.ndarray[Any, Any]) -> Tensor:
    """Turn [n, h, w, 3] uint8 into [n, 3, h, w] float in [0, 1], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float().div_(255.0)
