"""How large an attack is, and what it is made against."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from deid_ops.attacks.defences import Defence, blur, mask, pixelate, uniform_noise, untouched
from deid_ops.attacks.learn import LearnOptions
from deid_ops.attacks.networks import AttackerSize
from deid_ops.attacks.parameter_noise import add_parameter_noise
from deid_ops.errors import SetupError
from deid_ops.types import F32, U8
from jobs.config import JobConfig
from jobs.evaluate_ours import OwnReplacement, redact_defence
from jobs.target_oriented import PaintAnchors, TargetOriented
from jobs.weights import resolve

OWN_DEFENCES = ("swap", "swap_noise", "swap_fgsm", "swap_parameter_noise", "swap_diffusion")


@dataclass(frozen=True)
class AttackOptions:
    """Size of the attack; every figure carries it in its parameters.

    Attributes:
        n_train: faces the attackers learn from.
        n_attacked: protected faces that are attacked and linked.
        releases: protected versions of each training face (other anchors, fresh noise).
        averaged_releases: releases under different keys whose vectors are averaged.
        reverser: image-to-image attacker.
        regressor: embedding attacker.
        fars: operating points.
        eps: strength of noise and FGSM on [-1, 1].
        parameter_eps: relative strength of the noise on weights.
        device: `cpu` or `cuda`.
        seed: of training and sampling.
    """

    n_train: int = 20_000
    n_attacked: int | None = None
    releases: int = 4
    averaged_releases: int = 8
    reverser: LearnOptions = field(
        default_factory=lambda: LearnOptions(steps=20_000, batch=32, adversarial_weight=0.02)
    )
    regressor: LearnOptions = field(default_factory=lambda: LearnOptions(steps=10_000, batch=64))
    fars: tuple[float, ...] = (1e-2, 1e-3)
    eps: float = 0.15
    parameter_eps: float = 0.10
    device: str = "cpu"
    seed: int = 1

    @classmethod
    def quick(cls) -> AttackOptions:
        """Small attackers for two cores: a lower bound of what can be reversed."""
        small = AttackerSize((24, 48, 64, 96), (24, 48, 64, 96))
        learn = LearnOptions(steps=150, batch=16, learning_rate=2e-3, size=small)
        return cls(
            n_train=600,
            n_attacked=600,
            releases=2,
            reverser=learn,
            regressor=replace(learn, steps=200),
        )

    def as_params(self) -> dict[str, float | str]:
        """Return what a reader must know to judge a figure."""
        return {
            "attacker_faces": float(self.n_train),
            "attacker_releases": float(self.releases),
            "reverser_steps": float(self.reverser.steps),
            "reverser_batch": float(self.reverser.batch),
            "regressor_steps": float(self.regressor.steps),
            "attacker_channels": "-".join(map(str, self.reverser.size.reverser)),
            "adversarial_weight": self.reverser.adversarial_weight,
        }


def defences(
    config: JobConfig,
    own: OwnReplacement | None,
    fgsm_after: Callable[[Defence], Defence],
    options: AttackOptions,
    only: tuple[str, ...],
    paint: PaintAnchors | None = None,
) -> Iterator[Defence]:
    """Yield the defences to attack, the project's own ones last.

    Args:
        config: names the generator.
        own: the replacement, None where no generator is configured.
        fgsm_after: makes the FGSM defence, which needs a trained attacker.
        options: strengths.
        only: names; empty for all.
        paint: the target-oriented swap; None leaves that defence out.

    Raises:
        SetupError: a name in `only` is unknown, or `paint` is given where no generator is
            configured.
    """
    plain = [untouched(), blur(), pixelate(), mask(), redact_defence(config)]
    if paint is not None:
        plain.append(TargetOriented(paint, own).defence())
    known = {d.name for d in plain} | set(OWN_DEFENCES if own is not None else ())
    if set(only) - known:
        raise SetupError(f"no defence {sorted(set(only) - known)}; there are {sorted(known)}")
    yield from (d for d in plain if not only or d.name in only)
    if own is None:
        return
    swap = own.defence("swap", diffuse=False)
    noise = uniform_noise(options.eps)
    makers: dict[str, Callable[[], Defence]] = {
        "swap": lambda: swap,
        "swap_noise": lambda: _after(swap, noise, "swap_noise"),
        "swap_fgsm": lambda: fgsm_after(swap),
        "swap_parameter_noise": lambda: _noisy_swap(config, own, options),
        "swap_diffusion": lambda: own.defence("swap_diffusion"),
    }
    for name, make in makers.items():
        if not only or name in only:
            yield make()


def _after(first: Defence, second: Defence, name: str) -> Defence:
    def treat(crops: U8, points: F32, rng: np.random.Generator) -> U8:
        return second.treat(first.treat(crops, points, rng), points, rng)

    return Defence(name, treat, {**first.params, **second.params})


def _noisy_swap(config: JobConfig, own: OwnReplacement, options: AttackOptions) -> Defence:
    graph = add_parameter_noise(
        resolve(str(config.replace.generator)), options.parameter_eps, options.seed
    )
    with tempfile.TemporaryDirectory(prefix="deid-attack-") as folder:
        path = Path(folder) / "generator.onnx"
        path.write_bytes(graph)
        noisy = own.painted_by(str(path))
    defence = noisy.defence("swap_parameter_noise", diffuse=False)
    return replace(defence, params={"parameter_eps": options.parameter_eps})
