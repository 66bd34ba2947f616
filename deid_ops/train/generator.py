"""Train the leak-proof generator and, in the same network, the one-step denoiser.

Command: `deid train generator --data PACK --attributes DIR --out DIR`. Two phases in one run:

1. regression (`identity_from` of the steps): every face is painted back from its own conditions
   and its own identity vector;
2. identity: half of each batch gets another identity (a training face's or a mixture of two),
   is drawn to it and pushed off the original, is one and the same in two poses of a person, keeps
   light, landmarks, pose and expression, and is made to pass for a photograph with a critic that
   looks through the same encoders.

A share of the batch sees the face under heavy noise instead of its 8x8 light: the denoiser. The
two tasks share everything but two scalars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deid_ops.models.attributes import AttributeNet
from deid_ops.models.blocks import channels_last
from deid_ops.models.discriminator import FeatureCritic, fooling_loss, logistic_critic
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder
from deid_ops.models.generator import GeneratorConfig, LeakProofGenerator
from deid_ops.models.light import enlarge_cells
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.retarget import FaceShape
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
)
from deid_ops.train.losses import (
    attribute_difference,
    identity_terms,
    light_difference,
    masked_l1,
    missing_detail,
    real_maps,
    seam,
)
from deid_ops.train.paint_data import load_paint_data
from deid_ops.train.painting import (
    GeneratorTraining,
    PaintBatch,
    draw_batch,
)
from deid_ops.train.tone import PaintersHabits
from deid_ops.types import F32


def paint_losses(
    net: LeakProofGenerator,
    batch: PaintBatch,
    encoders: Sequence[TeacherEncoder | CompactEncoder],
    attributes: AttributeNet | None,
    config: GeneratorTraining,
    rng: np.random.Generator,
    *,
    habits: PaintersHabits,
    stable: bool,
    with_identity: bool = True,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the weighted losses of a batch, scalars, and `IdentityTerms.swapped_maps` of it."""
    output, own = _painted(net, batch, config, batch.points_px, slice(None)), batch.own
    losses = {"l1": config.w_l1 * masked_l1(output[own], batch.target01[own], batch.weight[own])}
    losses["unseen"] = config.w_unseen * masked_l1(
        output, enlarge_cells(batch.light01), batch.mask * (1.0 - batch.weight)
    )
    swapped_maps: list[Tensor] = []
    if with_identity:
        units, margin = (batch.own_unit, batch.wanted_unit), config.repulsion_margin
        terms = identity_terms(encoders, output, batch.images01, *units, own, margin, rng)
        swapped_maps = terms.swapped_maps
        losses["features"] = config.w_features * terms.features
        if bool(own.all()):
            losses["identity"] = config.w_identity_own * terms.attraction
        else:
            losses["identity"] = config.w_identity_other * terms.attraction
            losses["repulsion"] = config.w_repulsion * terms.repulsion
            losses["same"] = config.w_same * terms.same
            losses |= _fit_losses(output, batch, attributes, config)
            other = (v[~own] for v in (output, batch.images01, batch.weight))
            pull = habits(*other, net.heat(batch.points_px[~own]), batch.pose_deg[~own])
            losses["habits"] = config.w_habits * pull
    if stable:
        rows = slice(0, config.stable_rows)
        shake = torch.from_numpy(rng.normal(0, 0.6, (config.stable_rows, 136, 2)).astype("f4"))
        again = _painted(net, batch, config, batch.points_px[rows] + shake, rows)
        losses["stable"] = config.w_stable * (again - output[rows]).abs().mean()
    return losses, swapped_maps


def _painted(
    net: LeakProofGenerator,
    batch: PaintBatch,
    config: GeneratorTraining,
    points_px: Tensor,
    rows: slice,
) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
        out: Tensor = net(
            batch.images01[rows],
            batch.mask[rows],
            batch.inside[rows],
            points_px,
            batch.detail_rms[rows],
            batch.wanted_unit[rows],
            batch.scalars[rows],
        )
    return out.float()


def _fit_losses(
    output01: Tensor,
    batch: PaintBatch,
    attributes: AttributeNet | None,
    config: GeneratorTraining,
) -> dict[str, Tensor]:
    """Return how badly faces of another identity fit their place, and all what they were told."""
    other = ~batch.own
    light = light_difference(output01[other], batch.light01[other], batch.mask[other])
    rim = batch.weight[other] * seam(batch.mask[other])
    lacking = missing_detail(output01[other], batch.detail_rms[other], batch.parts[other])
    losses = {
        "light": config.w_light * light,
        "detail": config.w_detail * lacking,
        "seam": config.w_seam * masked_l1(output01[other], batch.images01[other], rim),
    }
    if attributes is not None:
        losses["attributes"] = config.w_attributes * attribute_difference(
            attributes, output01, batch.points_px, batch.pose_deg, batch.expression
        )
    return losses


@dataclass(frozen=True, slots=True)
class _Critic:
    """The critic of painted faces with its optimiser."""

    net: FeatureCritic
    optimiser: torch.optim.Optimizer
    encoders: Sequence[TeacherEncoder | CompactEncoder]

    @classmethod
    def of(
        cls, encoders: Sequence[TeacherEncoder | CompactEncoder], config: GeneratorTraining
    ) -> _Critic:
        """Begin with a new one for these encoders' maps."""
        blank = torch.zeros(1, 3, CROP_SIZE_PX, CROP_SIZE_PX)
        net = FeatureCritic([m.shape[1] for m in real_maps(encoders, blank, None)])
        adam = torch.optim.Adam(net.parameters(), config.critic_rate, betas=(0.0, 0.99))
        return cls(net, adam, encoders)

    def learn(
        self, images01: Tensor, painted_maps: list[Tensor], rate: float, rng: np.random.Generator
    ) -> Tensor:
        """Take one step; returns the loss before it.

        Args:
            images01: [n, 3, 128, 128] photographed crops.
            painted_maps: one [m, c, h, w] an encoder and stage, see `IdentityTerms.swapped_maps`.
            rate: learning rate.
            rng: jitter of the photographs' view.
        """
        set_rate(self.optimiser, rate)
        photographed = self.net(real_maps(self.encoders, images01, rng))
        loss = logistic_critic(photographed, self.net([m.detach() for m in painted_maps]))
        descend([loss], self.optimiser)
        return loss.detach()


def train_generator(
    pack: Pack,
    shape: FaceShape,
    encoders: Sequence[TeacherEncoder | CompactEncoder],
    attributes: AttributeNet | None,
    config: GeneratorTraining,
    budget: Budget,
    checkpoint: Path | None,
    clock: Clock,
    report: Report,
    *,
    resume: bool = False,
    start_from: LeakProofGenerator | None = None,
    anchors_unit: F32 | None = None,
) -> LeakProofGenerator:
    """Train and return the averaged network; arguments as in `train_attributes`.

    `encoders` are the frozen training encoders, one at least and never a judge; `attributes` the
    frozen attribute network, needed from the identity phase on; `anchors_unit` [m, 128] the bank
    that will be used.
    """
    data = load_paint_data(pack, shape, 0, anchors_unit)
    torch.manual_seed(config.seed)
    net = start_from or LeakProofGenerator(GeneratorConfig())
    channels_last(net).train()
    critic = _Critic.of(encoders, config)
    optimiser = torch.optim.Adam(net.parameters(), config.rate, betas=(0.5, 0.99), eps=1e-7)
    average, habits = Average(net, config.ema), PaintersHabits()
    parts = {
        "net": net,
        "average": average,
        "optimiser": optimiser,
        "critic": critic.net,
        "critic_optimiser": critic.optimiser,
        "habits": habits,
    }
    state = State(parts, config.seed)
    if resume and checkpoint is not None:
        state.load(checkpoint)

    def step(number: int) -> Mapping[str, float]:
        swapping = number >= config.identity_from * budget.max_steps
        batch = draw_batch(data, config, state, net.part_rows, swapping=swapping)
        stable = swapping and number % config.stable_every == 0
        losses, painted_maps = paint_losses(
            net,
            batch,
            encoders,
            attributes,
            config,
            state.rng,
            habits=habits,
            stable=stable,
            with_identity=swapping or number >= config.features_from * budget.max_steps,
        )
        factor = half_cosine(number, budget.max_steps, config.warmup)
        values = {}
        if painted_maps:
            rate = config.critic_rate * max(factor, config.critic_rate_floor)
            critic_loss = critic.learn(batch.images01, painted_maps, rate, state.rng)
            losses["critic"] = config.w_critic * fooling_loss(critic.net(painted_maps))
            values["critic_loss"] = float(critic_loss)
        set_rate(optimiser, config.rate * factor)
        descend(list(losses.values()), optimiser)
        average.update(net, number)
        values["habit"] = habits.strength()
        return values | {name: float(value.detach()) for name, value in losses.items()}

    run(state, step, budget, checkpoint, clock, report)
    return average.net
