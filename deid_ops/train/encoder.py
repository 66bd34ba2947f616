"""Distil the conditioning encoder from the teacher's identity vectors.

Command: `deid train encoder --data PACK --teachers DIR --out DIR`. The teacher sees the very
pictures the student sees, so these are varied without end and people are mixed (`variations.py`):
labels of a fixed set can be learnt by heart, a function cannot (Beyer et al. 2022). Loss: 1 -
cosine to the teacher's vector, the relations within the batch, and the teacher's maps, which show
the way at first and fade to nothing (`distil.py`).

Without a teacher the pack's labels of the clean crops are fitted. Inputs are then jittered,
darkened, mirrored and shrunk, labels are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deid_ops.models.blocks import channels_last
from deid_ops.models.encoder import CompactEncoder
from deid_ops.train.augment import Jitter, lower_resolution, photometric, random_similarity, warp
from deid_ops.train.data import Pack, evenly
from deid_ops.train.distil import FeatureMatch, OnlineTeacher, agreement, distillation_loss
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
from deid_ops.train.variations import Variations, varied_pictures

JITTER = Jitter(rotation_deg=6.0, scale=0.05, shift_px=2.5, low_resolution=0.3, smallest=0.25)


@dataclass(frozen=True, slots=True)
class EncoderTraining:
    """Settings of one training."""

    batch: int = 64
    rate: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.05
    ema: float = 0.998
    seed: int = 31
    w_relation: float = 2.0
    w_features: float = 12.0  # at the first step; falls to 0 at the last
    variations: Variations = field(default_factory=Variations)
    validate_every: int = 250  # steps
    validation_rows: int = 512  # at most


@dataclass(frozen=True, slots=True)
class Lesson:
    """A batch of pictures and what the teacher says about them."""

    view: Tensor  # [n, 3, 112, 112]
    wanted_unit: Tensor  # [n, 128]
    maps: list[Tensor]  # of the teacher's stages; empty where only labels are known


Lessons = Callable[[np.random.Generator], Lesson]


def stored_lessons(pack: Pack, batch: int) -> Lessons:
    """Return a source of lessons from the pack's own labels."""
    rows = pack.rows(0)

    def lesson(rng: np.random.Generator) -> Lesson:
        chosen = rows[rng.integers(0, len(rows), batch)]
        images = to_float01(pack.columns["crops_rgb"][chosen])
        flip = torch.from_numpy(rng.random(batch) < 0.5)[:, None, None, None]
        images = torch.where(flip, images.flip(3), images)
        images = warp(images, random_similarity(batch, rng, JITTER))
        images = photometric(lower_resolution(images, rng, JITTER), rng, JITTER)
        labels = torch.from_numpy(pack.columns["identity_unit"][chosen])
        return Lesson(_window(images), labels, [])

    return lesson


def online_lessons(
    pack: Pack, batch: int, variations: Variations, teacher: OnlineTeacher
) -> Lessons:
    """Return a source of lessons that the teacher gives on varied pictures."""
    draw = varied_pictures(pack, batch, variations)

    def lesson(rng: np.random.Generator) -> Lesson:
        view = to_float01(draw(rng))
        return Lesson(view, *teacher(view))

    return lesson


def validation(pack: Pack, most: int) -> tuple[Tensor, Tensor] | None:
    """Return held-out pictures and the teacher's vectors of them; None where too few are held out.

    They are taken evenly over the pack's sources.
    """
    rows = pack.rows(1)
    if len(rows) < 3:
        return None
    rows = evenly(rows, most)
    labels = torch.from_numpy(pack.columns["identity_unit"][rows])
    return _window(to_float01(pack.columns["crops_rgb"][rows])), labels


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
    teacher: OnlineTeacher | None = None,
) -> CompactEncoder:
    """Train and return the averaged network; arguments as in `train_attributes`.

    With a `teacher` it labels what the student sees; without one the pack's labels are fitted.
    """
    torch.manual_seed(config.seed)
    net = channels_last(start_from or CompactEncoder()).train()
    modules: dict[str, nn.Module] = {"net": net}
    if teacher is None:
        match, lessons = None, stored_lessons(pack, config.batch)
    else:
        lessons = online_lessons(pack, config.batch, config.variations, teacher)
        modules["match"] = match = FeatureMatch(net.channels, teacher.channels)
    optimiser = torch.optim.AdamW(
        [parameter for module in modules.values() for parameter in module.parameters()],
        config.rate,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
    )
    average = Average(net, config.ema)
    state = State({**modules, "average": average, "optimiser": optimiser}, config.seed)
    if resume and checkpoint is not None:
        state.load(checkpoint)
    held = validation(pack, config.validation_rows)

    def step(number: int) -> Mapping[str, float]:
        lesson = lessons(state.rng)
        got, maps = net.with_features(lesson.view)
        losses = distillation_loss(got, lesson.wanted_unit)
        terms = [losses["cosine"], config.w_relation * losses["relation"]]
        if match is not None:
            losses["features"] = match(maps, lesson.maps)
            fade = max(0.0, 1.0 - number / budget.max_steps)
            terms.append(config.w_features * fade * losses["features"])
        set_rate(optimiser, config.rate * half_cosine(number, budget.max_steps, config.warmup))
        descend(terms, optimiser)
        average.update(net, number)
        if held and (number + 1) % config.validate_every == 0:
            report(number + 1, agreement(_embed(average.net, held[0]), held[1]))
        return {name: float(value.detach()) for name, value in losses.items()}

    run(state, step, budget, checkpoint, clock, report)
    return average.net


@torch.no_grad()
def _embed(net: CompactEncoder, views01: Tensor, batch: int = 64) -> Tensor:
    return torch.cat([net(views) for views in torch.split(views01, batch)])


def _window(crops01: Tensor) -> Tensor:
    return encoder_view(crops01).contiguous(memory_format=torch.channels_last)
