"""Train the attribute network on the teacher's labels.

Command: `deid train attributes --data PACK --out DIR`. Loss: smooth L1 of the landmarks, after
either look, in eye distances (eyes, irises and lips count double: gaze and expression live there),
place of lids and irises within their eyes, smooth L1 of the pose, binary cross-entropy of the
expression coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.models.attributes import AttributeNet
from deid_ops.models.blocks import channels_last
from deid_ops.swap.crop import EYE_DISTANCE_PX
from deid_ops.swap.layout import MESH_INDEX, N_POINTS, group_slice
from deid_ops.swap.retarget import FaceShape
from deid_ops.train.augment import (
    EXPRESSION_MIRROR,
    Jitter,
    lower_resolution,
    mirror_points,
    mirror_pose,
    move_points,
    photometric,
    random_similarity,
    warp,
)
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
from deid_ops.train.losses import eye_difference
from deid_ops.train.shape import fit_shape, pose_labels
from deid_ops.types import F32, U8


@dataclass(frozen=True, slots=True)
class AttributeTraining:
    """Settings of one training."""

    batch: int = 48
    rate: float = 2e-3
    warmup: int = 60
    weight_decay: float = 0.02
    ema: float = 0.998
    seed: int = 11


@dataclass(frozen=True, slots=True)
class AttributeLabels:
    """Crops and labels of the chosen rows, in memory."""

    crops_rgb: U8  # [n, 128, 128, 3]
    points_px: F32  # [n, 136, 2]
    pose_deg: F32  # [n, 3]
    expression: F32  # [n, 52]


def load_labels(pack: Pack, shape: FaceShape, split: int) -> AttributeLabels:
    """Read one split of a pack."""
    rows = pack.rows(split)
    mesh = np.asarray(pack.columns["mesh_xyz_px"][rows])
    expression = np.asarray(pack.columns["expression"][rows])
    return AttributeLabels(
        np.asarray(pack.columns["crops_rgb"][rows]),
        np.ascontiguousarray(mesh[:, list(MESH_INDEX), :2]),
        pose_labels(mesh, shape, expression),
        expression,
    )


def shape_of_pack(pack: Pack) -> FaceShape:
    """Fit the mean face to the training split."""
    rows = pack.rows(0)
    return fit_shape(
        np.asarray(pack.columns["mesh_xyz_px"][rows]), np.asarray(pack.columns["expression"][rows])
    )


def point_weights() -> Tensor:
    """Return [136] weights: eyes, irises and lips double, contour half."""
    weights = torch.ones(N_POINTS)
    for name in ("left_eye", "right_eye", "left_iris", "right_iris", "outer_lips", "inner_lips"):
        weights[group_slice(name)] = 2.0
    weights[group_slice("contour")] = 0.5
    return weights / weights.mean()


def attribute_loss(
    net: AttributeNet, images: Tensor, points: Tensor, pose: Tensor, expression: Tensor
) -> dict[str, Tensor]:
    """Return the losses of a batch, unweighted sums are the total."""
    # Full precision: at these widths batch normalisation makes bf16 slower, not faster.
    got_points, got_pose, logits, first = net.with_first_look(images)
    return {
        "points": _points_loss(got_points, points) * 0.3,
        "first": _points_loss(first, points) * 0.2,
        "eyes": eye_difference(got_points, points) * 0.2,
        "pose": functional.smooth_l1_loss(got_pose / 2.0, pose / 2.0) * 0.3,
        "expression": functional.binary_cross_entropy_with_logits(logits, expression) * 4.0,
    }


def _points_loss(got_px: Tensor, wanted_px: Tensor) -> Tensor:
    scaled = (got_px - wanted_px) / (0.02 * EYE_DISTANCE_PX)
    per_point = functional.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="none")
    return (per_point.mean(-1) * point_weights()).mean()


def augmented_batch(
    labels: AttributeLabels, rows: np.ndarray, mirror: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a jittered batch: images, landmarks, pose, expression."""
    jitter = Jitter()
    images = to_float01(labels.crops_rgb[rows])
    points = torch.from_numpy(labels.points_px[rows])
    pose = torch.from_numpy(labels.pose_deg[rows])
    expression = torch.from_numpy(labels.expression[rows])
    flip = torch.from_numpy(rng.random(len(rows)) < 0.5)
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    points = torch.where(flip[:, None, None], mirror_points(points, mirror), points)
    pose = torch.where(flip[:, None], mirror_pose(pose), pose)
    mirrored = expression[:, torch.from_numpy(EXPRESSION_MIRROR)]
    expression = torch.where(flip[:, None], mirrored, expression)
    matrix = random_similarity(len(rows), rng, jitter)
    roll = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    pose = pose + torch.stack([roll, torch.zeros_like(roll), torch.zeros_like(roll)], 1)
    images = photometric(lower_resolution(warp(images, matrix), rng, jitter), rng, jitter)
    return images, move_points(points, matrix), pose, expression


def train_attributes(
    pack: Pack,
    shape: FaceShape,
    config: AttributeTraining,
    budget: Budget,
    checkpoint: Path | None,
    clock: Clock,
    report: Report,
    *,
    resume: bool = False,
    start_from: AttributeNet | None = None,
) -> AttributeNet:
    """Train and return the averaged network.

    Args:
        pack: training data.
        shape: the mean face (its poses are the labels).
        config: settings.
        budget: when to stop.
        checkpoint: where to save.
        clock: monotonic seconds.
        report: progress.
        resume: continue from `checkpoint`.
        start_from: begin with these weights (for example read from a shipped ONNX file).
    """
    labels = load_labels(pack, shape, 0)
    torch.manual_seed(config.seed)
    net = start_from or AttributeNet(torch.from_numpy(labels.points_px.mean(0)))
    channels_last(net).train()
    optimiser = torch.optim.AdamW(
        net.parameters(), config.rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    average = Average(net, config.ema)
    state = State({"net": net, "average": average, "optimiser": optimiser}, config.seed)
    if resume and checkpoint is not None:
        state.load(checkpoint)
    mirror = torch.from_numpy(shape.mirror.astype(np.int64))

    def step(number: int) -> Mapping[str, float]:
        rows = state.rng.integers(0, len(labels.points_px), config.batch)
        images, points, pose, expression = augmented_batch(labels, rows, mirror, state.rng)
        images = images.contiguous(memory_format=torch.channels_last)
        losses = attribute_loss(net, images, points, pose, expression)
        set_rate(optimiser, config.rate * half_cosine(number, budget.max_steps, config.warmup))
        descend(list(losses.values()), optimiser)
        average.update(net, number)
        return {name: float(value.detach()) for name, value in losses.items()}

    run(state, step, budget, checkpoint, clock, report)
    return average.net
