"""Train the target-oriented generator (FaceDancer kind); the thesis' losses in small.

Command: `deid train facedancer ...`. Every `same_every`-th batch pairs each face with its own
identity (reconstruction counts there), the others with another face's. Losses: identity 10,
reconstruction 5 (same pairs), cycle 1, interpreted feature similarity 1 (without margins, as the
licentiate thesis allows; over the encoder's three stages), hinge adversarial 1.

Source: Rosberg et al. 2023 and the licentiate thesis of 2023, sections on FaceDancer and FIVA.
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
from deid_ops.models.discriminator import PatchDiscriminator, hinge_critic
from deid_ops.models.encoder import TeacherEncoder
from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig
from deid_ops.train.data import Pack
from deid_ops.train.loop import Average, Budget, Clock, Report, State, descend, run, to_float01
from deid_ops.train.losses import encoder_view


@dataclass(frozen=True, slots=True)
class FaceDancerTraining:
    """Settings and loss weights."""

    batch: int = 10
    rate: float = 1e-4
    ema: float = 0.999
    seed: int = 51
    same_every: int = 5
    w_identity: float = 10.0
    w_reconstruction: float = 5.0
    w_cycle: float = 1.0
    w_features: float = 1.0
    w_critic: float = 1.0


def facedancer_losses(
    net: FaceDancer,
    encoder: TeacherEncoder,
    images01: Tensor,
    own_unit: Tensor,
    wanted_unit: Tensor,
    config: FaceDancerTraining,
    *,
    same: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the weighted losses and the output [n, 3, 128, 128]."""
    output = net(images01, wanted_unit)
    got, maps = encoder.with_features(encoder_view(output))
    unit = functional.normalize(got, dim=1)
    with torch.no_grad():
        true_maps = encoder.with_features(encoder_view(images01))[1]
    features = sum(
        (
            (1.0 - functional.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)).mean()
            for a, b in zip(maps, true_maps, strict=True)
        ),
        start=output.new_zeros(()),
    )
    losses = {
        "identity": config.w_identity * (1.0 - (unit * wanted_unit).sum(1)).mean(),
        "features": config.w_features * features / len(maps),
        "cycle": config.w_cycle * (net(output, own_unit) - images01).abs().mean(),
    }
    if same:
        losses["reconstruction"] = config.w_reconstruction * (output - images01).abs().mean()
    return losses, output


def train_facedancer(
    pack: Pack,
    encoder: TeacherEncoder,
    config: FaceDancerTraining,
    budget: Budget,
    checkpoint: Path | None,
    clock: Clock,
    report: Report,
    *,
    resume: bool = False,
    net_config: FaceDancerConfig | None = None,
    start_from: FaceDancer | None = None,
) -> FaceDancer:
    """Train and return the averaged network; arguments as in `train_attributes`.

    `net_config` is of a network that begins with nothing; `start_from` brings its own.
    """
    rows = pack.rows(0)
    crops = np.asarray(pack.columns["crops_rgb"][rows])
    identities = np.asarray(pack.columns["identity_unit"][rows])
    torch.manual_seed(config.seed)
    net = channels_last(start_from or FaceDancer(net_config))
    critic = channels_last(PatchDiscriminator())
    optimiser = torch.optim.Adam(net.parameters(), config.rate, betas=(0.0, 0.99), eps=1e-7)
    critic_optimiser = torch.optim.Adam(
        critic.parameters(), config.rate, betas=(0.0, 0.99), eps=1e-7
    )
    average = Average(net, config.ema)
    parts = {
        "net": net,
        "average": average,
        "optimiser": optimiser,
        "critic": critic,
        "critic_optimiser": critic_optimiser,
    }
    state = State(parts, config.seed)
    if resume and checkpoint is not None:
        state.load(checkpoint)

    def step(number: int) -> Mapping[str, float]:
        same = number % config.same_every == 0
        chosen = state.rng.integers(0, len(rows), config.batch)
        other = chosen if same else state.rng.integers(0, len(rows), config.batch)
        images, sources = to_float01(crops[chosen]), to_float01(crops[other])
        own, wanted = (torch.from_numpy(identities[i]) for i in (chosen, other))
        losses, output = facedancer_losses(net, encoder, images, own, wanted, config, same=same)
        critic_loss = hinge_critic(critic(sources), critic(output.detach()))
        descend([critic_loss], critic_optimiser, clip=None)
        losses["critic"] = -config.w_critic * critic(output).mean()
        descend(list(losses.values()), optimiser)
        average.update(net, number)
        values = {name: float(value.detach()) for name, value in losses.items()}
        return values | {"critic_loss": float(critic_loss.detach())}

    run(state, step, budget, checkpoint, clock, report)
    return average.net
