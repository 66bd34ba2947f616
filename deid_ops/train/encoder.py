"""Distil the conditioning encoder from the teacher's identity vectors.

Command: `deid train encoder --data PACK --out DIR`. Loss: 1 - cosine to the teacher's vector of
the clean crop, plus the relational term: the cosines between the faces of a batch shall be the
teacher's (Park et al. 2019). Inputs are jittered, darkened, mirrored and shrunk, labels are not:
the student learns to see through what a camera does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.models.blocks import channels_last
from deid_ops.models.encoder import CompactEncoder
from deid_ops.train.augment import Jitter, lower_resolution, photometric, random_similarity, warp
from deid_ops.train.data import Pack
from deid_ops.train.loop import (
    Average,
    Budget,
    Clock,
    Report,
    State,
    descend,
    half_cosine,
    run,
    set_rate,
    to_float01,
)
from deid_ops.train.losses import encoder_view

JITTER = Jitter(rotation_deg=6.0, scale=0.05, shift_px=2.5, low_resolution=0.3, smallest=0.25)


@dataclass(frozen=True, slots=True)
class EncoderTraining:
    """Settings of one training."""

    batch: int = 64
    rate: float = 2e-3
    warmup: int = 80
    weight_decay: float = 0.05
    ema: float = 0.998
    seed: int = 31
    w_relation: float = 3.0
    all_rows: bool = True  # no verification is done on the pack: its validation part is data too


def distillation_loss(got: Tensor, wanted_unit: Tensor) -> dict[str, Tensor]:
    """Return the cosine and the relational loss of vectors [n, d] against unit vectors [n, d].

    Example:
        >>> unit = torch.eye(4)
        >>> [round(float(v), 6) for v in distillation_loss(2 * unit, unit).values()]
        [0.0, 0.0]
    """
    unit = functional.normalize(got.float(), dim=1)
    relation = (unit @ unit.T - wanted_unit @ wanted_unit.T).abs().mean()
    return {"cosine": (1.0 - (unit * wanted_unit).sum(1)).mean(), "relation": relation}


def train_encoder(
    pack: Pack,
    config: EncoderTraining,
    budget: Budget,
    checkpoint: Path | None,
    clock: Clock,
    report: Report,
    *,
    resume: bool = False,
    start_from: CompactEncoder | None = None,
) -> CompactEncoder:
    """Train and return the averaged network; arguments as in `train_attributes`."""
    rows = np.arange(len(pack)) if config.all_rows else pack.rows(0)
    crops = np.asarray(pack.columns["crops_rgb"])
    labels = np.asarray(pack.columns["identity_unit"])
    torch.manual_seed(config.seed)
    net = channels_last(start_from or CompactEncoder()).train()
    optimiser = torch.optim.AdamW(
        net.parameters(), config.rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    average = Average(net, config.ema)
    state = State({"net": net, "average": average, "optimiser": optimiser}, config.seed)
    if resume and checkpoint is not None:
        state.load(checkpoint)

    def step(number: int) -> Mapping[str, float]:
        rng = state.rng
        chosen = rows[rng.integers(0, len(rows), config.batch)]
        images = to_float01(crops[chosen])
        flip = torch.from_numpy(rng.random(len(chosen)) < 0.5)[:, None, None, None]
        images = torch.where(flip, images.flip(3), images)
        images = warp(images, random_similarity(len(chosen), rng, JITTER))
        images = photometric(lower_resolution(images, rng, JITTER), rng, JITTER)
        view = encoder_view(images).contiguous(memory_format=torch.channels_last)
        losses = distillation_loss(net(view), torch.from_numpy(labels[chosen]))
        set_rate(optimiser, config.rate * half_cosine(number, budget.max_steps, config.warmup))
        descend([losses["cosine"], config.w_relation * losses["relation"]], optimiser)
        average.update(net, number)
        return {name: float(value.detach()) for name, value in losses.items()}

    run(state, step, budget, checkpoint, clock, report)
    return average.net
