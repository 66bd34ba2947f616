"""Train the leak-proof generator and, in the same network, the one-step denoiser.

Command: `deid train generator --data PACK --attributes DIR --out DIR`. Two phases in one run:

1. regression (`identity_from` of the steps): every face is painted back from its own conditions
   and its own identity vector;
2. identity: half of each batch gets another identity (a training face's or a mixture of two),
   is drawn to it and pushed off the original, keeps light, landmarks, pose and expression, and is
   sharpened by a light hinge critic.

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
from torch.nn import functional

from deid_ops.models.attributes import AttributeNet
from deid_ops.models.discriminator import PatchDiscriminator, hinge_critic
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder
from deid_ops.models.generator import (
    LIGHT_CELLS,
    GeneratorConfig,
    LeakProofGenerator,
    enlarge_light,
)
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import MESH_INDEX
from deid_ops.swap.retarget import FaceShape, retarget
from deid_ops.train.augment import EXPRESSION_MIRROR, mirror_points, mirror_pose
from deid_ops.train.data import Pack
from deid_ops.train.loop import (
    Average,
    Budget,
    Clock,
    Report,
    State,
    half_cosine,
    run,
    set_rate,
    to_float01,
)
from deid_ops.train.losses import (
    attribute_difference,
    identity_terms,
    light_difference,
    masked_l1,
)
from deid_ops.train.shape import pose_labels
from deid_ops.types import F32, U8

CELL_PX = CROP_SIZE_PX // LIGHT_CELLS


@dataclass(frozen=True, slots=True)
class GeneratorTraining:
    """Settings and loss weights."""

    batch: int = 16
    rate: float = 6e-4
    warmup: int = 100
    ema: float = 0.997
    seed: int = 21
    bf16: bool = False
    features_from: float = 0.12  # share of the steps before which only the L1 loss counts
    identity_from: float = 0.45  # share of the steps after which the identity phase begins
    swapped_share: float = 0.5
    mixture_share: float = 0.4  # of the swapped ones
    noised_share: float = 0.25
    noise_ratio: tuple[float, float] = (1.2, 3.5)  # sigma / alpha
    point_jitter_px: float = 0.35
    repulsion_margin: float = 0.05
    w_l1: float = 3.0
    w_features: float = 1.0
    w_identity_own: float = 0.5
    w_identity_other: float = 2.0
    w_repulsion: float = 2.0
    w_light: float = 4.0
    w_attributes: float = 0.15
    w_critic: float = 0.08
    w_stable: float = 2.0
    stable_every: int = 4
    stable_rows: int = 4


@dataclass(frozen=True, slots=True)
class PaintData:
    """One split in memory."""

    crops_rgb: U8  # [n, 128, 128, 3]
    inside_bits: U8  # [n, 2048]
    points_px: F32  # [n, 136, 2] retargeted
    pose_deg: F32
    expression: F32
    identity_unit: F32


@dataclass(frozen=True, slots=True)
class PaintBatch:
    """One batch of tensors."""

    images01: Tensor
    weight: Tensor  # [n, 1, 128, 128] 1 where the loss counts
    points_px: Tensor
    pose_deg: Tensor
    expression: Tensor
    own_unit: Tensor
    wanted_unit: Tensor
    own: Tensor  # [n] bool
    inside: Tensor
    scalars: Tensor


def load_paint_data(pack: Pack, shape: FaceShape, split: int) -> PaintData:
    """Read one split and retarget its landmarks."""
    rows = pack.rows(split)
    columns = pack.columns
    mesh, expression = np.asarray(columns["mesh_xyz_px"][rows]), columns["expression"][rows]
    pose = pose_labels(mesh, shape, expression)
    own = np.ascontiguousarray(mesh[:, list(MESH_INDEX), :2])
    return PaintData(
        np.asarray(columns["crops_rgb"][rows]),
        np.asarray(columns["inside_bits"][rows]),
        retarget(shape, own, pose, expression),
        pose,
        np.asarray(expression),
        np.asarray(columns["identity_unit"][rows]),
    )


def wanted_identities(
    data: PaintData, rows: np.ndarray, own: np.ndarray, mixture: float, rng: np.random.Generator
) -> F32:
    """Return the identity each face shall get: its own, another's, or a mixture of two others'."""
    first = data.identity_unit[rng.integers(0, len(data.identity_unit), len(rows))]
    second = data.identity_unit[rng.integers(0, len(data.identity_unit), len(rows))]
    share = rng.uniform(0.3, 0.7, (len(rows), 1)) * (rng.random((len(rows), 1)) < mixture)
    other = (1.0 - share) * first + share * second
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.where(own[:, None], data.identity_unit[rows], other).astype(np.float32)


def degraded(
    images01: Tensor, noised: np.ndarray, config: GeneratorTraining, state: State
) -> tuple[Tensor, Tensor]:
    """Return what the network may know of the inside, and its two scalars."""
    n = len(images01)
    x = images01 * 2.0 - 1.0
    light = enlarge_light(functional.avg_pool2d(x, CELL_PX))
    low, high = config.noise_ratio
    ratio = torch.from_numpy(state.rng.uniform(low, high, (n, 1, 1, 1)).astype(np.float32))
    alpha = 1.0 / torch.sqrt(1.0 + ratio**2)
    noise = torch.randn(x.shape, generator=state.torch_rng)
    chosen = torch.from_numpy(noised)[:, None, None, None]
    inside = torch.where(chosen, alpha * x + alpha * ratio * noise, light)
    scalars = torch.stack([chosen.float().flatten(), torch.log1p(ratio.flatten())], 1)
    return inside, scalars * scalars[:, :1]


def draw_batch(
    data: PaintData,
    config: GeneratorTraining,
    state: State,
    mirror: Tensor,
    mask: Tensor,
    *,
    swapping: bool,
) -> PaintBatch:
    """Draw a batch: mirrored half the time, landmarks jittered, identities chosen."""
    rng, n = state.rng, config.batch
    rows = rng.integers(0, len(data.points_px), n)
    own = ~(rng.random(n) < config.swapped_share) if swapping else np.ones(n, dtype=bool)
    images = to_float01(data.crops_rgb[rows])
    bits = np.unpackbits(data.inside_bits[rows], axis=1).reshape(n, 1, CROP_SIZE_PX, CROP_SIZE_PX)
    weight = torch.from_numpy(bits.astype(np.float32)) * mask
    points = torch.from_numpy(data.points_px[rows])
    pose = torch.from_numpy(data.pose_deg[rows])
    expression = torch.from_numpy(data.expression[rows])
    flip = torch.from_numpy(rng.random(n) < 0.5)
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    weight = torch.where(flip[:, None, None, None], weight.flip(3), weight)
    points = torch.where(flip[:, None, None], mirror_points(points, mirror), points)
    pose = torch.where(flip[:, None], mirror_pose(pose), pose)
    mirrored = expression[:, torch.from_numpy(EXPRESSION_MIRROR)]
    noise = rng.normal(0.0, config.point_jitter_px, (n, 1, 2)).astype(np.float32)
    images = images.contiguous(memory_format=torch.channels_last)
    inside, scalars = degraded(images, rng.random(n) < config.noised_share, config, state)
    wanted = wanted_identities(data, rows, own, config.mixture_share, rng)
    return PaintBatch(
        images,
        weight,
        points + torch.from_numpy(noise),
        pose,
        torch.where(flip[:, None], mirrored, expression),
        torch.from_numpy(data.identity_unit[rows]),
        torch.from_numpy(wanted),
        torch.from_numpy(own),
        inside,
        scalars,
    )


def paint_losses(
    net: LeakProofGenerator,
    batch: PaintBatch,
    encoders: Sequence[TeacherEncoder | CompactEncoder],
    attributes: AttributeNet | None,
    config: GeneratorTraining,
    rng: np.random.Generator,
    *,
    stable: bool,
    with_identity: bool = True,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the weighted losses of a batch and the output [n, 3, 128, 128]."""

    def paint(points: Tensor, rows: slice) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
            out: Tensor = net(
                batch.images01[rows],
                batch.inside[rows],
                points,
                batch.wanted_unit[rows],
                batch.scalars[rows],
            )
        return out.float()

    output = paint(batch.points_px, slice(None))
    own = batch.own
    losses = {"l1": config.w_l1 * masked_l1(output[own], batch.images01[own], batch.weight[own])}
    share_own = float(own.float().mean())
    if with_identity:
        terms = identity_terms(
            encoders,
            output,
            batch.images01,
            batch.own_unit,
            batch.wanted_unit,
            own,
            config.repulsion_margin,
            rng,
        )
        w_identity = config.w_identity_own if share_own == 1.0 else config.w_identity_other
        losses["features"] = config.w_features * terms.features
        losses["identity"] = w_identity * terms.attraction
    if with_identity and share_own < 1.0:
        other = ~own
        losses["repulsion"] = config.w_repulsion * terms.repulsion
        losses["light"] = config.w_light * light_difference(
            output[other], batch.images01[other], batch.weight[other], CELL_PX
        )
        if attributes is not None:
            losses["attributes"] = config.w_attributes * attribute_difference(
                attributes,
                output[other],
                batch.points_px[other],
                batch.pose_deg[other],
                batch.expression[other],
            )
    if stable:
        rows = slice(0, config.stable_rows)
        shake = torch.from_numpy(rng.normal(0, 0.6, (config.stable_rows, 136, 2)).astype("f4"))
        again = paint(batch.points_px[rows] + shake, rows)
        losses["stable"] = config.w_stable * (again - output[rows]).abs().mean()
    return losses, output


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
    after_report: Report | None = None,
) -> LeakProofGenerator:
    """Train and return the averaged network; arguments as in `train_attributes`.

    `encoders` are the frozen training encoders (never a judge); `attributes` the frozen attribute
    network, needed from the identity phase on. `after_report` is called as `report` is, after it.
    """
    data = load_paint_data(pack, shape, 0)
    torch.manual_seed(config.seed)
    net = start_from or LeakProofGenerator(GeneratorConfig())
    net = net.to(memory_format=torch.channels_last).train()
    critic = PatchDiscriminator().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), config.rate, betas=(0.5, 0.99), eps=1e-7)
    critic_optimiser = torch.optim.Adam(critic.parameters(), config.rate, betas=(0.0, 0.99))
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
    mirror = torch.from_numpy(shape.mirror.astype(np.int64))

    def step(number: int) -> Mapping[str, float]:
        swapping = number >= config.identity_from * budget.max_steps
        batch = draw_batch(data, config, state, mirror, net.mask, swapping=swapping)
        stable = swapping and number % config.stable_every == 0
        losses, output = paint_losses(
            net,
            batch,
            encoders,
            attributes,
            config,
            state.rng,
            stable=stable,
            with_identity=number >= config.features_from * budget.max_steps,
        )
        factor = half_cosine(number, budget.max_steps, config.warmup)
        values = {}
        if swapping:
            set_rate(critic_optimiser, config.rate * factor)
            critic_loss = hinge_critic(critic(batch.images01), critic(output.detach()))
            critic_optimiser.zero_grad(set_to_none=True)
            critic_loss.backward()
            critic_optimiser.step()
            losses["critic"] = -config.w_critic * critic(output).mean()
            values["critic_loss"] = float(critic_loss.detach())
        set_rate(optimiser, config.rate * factor)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update(net, number)
        return values | {name: float(value.detach()) for name, value in losses.items()}

    def reports(number: int, losses: Mapping[str, float]) -> None:
        report(number, losses)
        if after_report is not None:
            after_report(number, losses)

    run(state, step, budget, checkpoint, clock, reports)
    return average.net
