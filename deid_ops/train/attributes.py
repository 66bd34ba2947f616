"""Train the attribute network on its teachers' labels.

Command: `deid train attributes --data PACK --teachers DIR --out DIR`. Loss: smooth L1 of the
landmarks, after either look, in eye distances (eyes, irises and lips count double: gaze and
expression live there), place of lids and irises within their eyes, smooth L1 of the pose, binary
cross-entropy of the expression coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.metrics.attributes import (
    landmark_shift_percent,
    rotation_angle_deg,
    rotation_from_euler,
)
from deid_ops.models.attributes import AttributeNet
from deid_ops.models.blocks import channels_last
from deid_ops.swap.crop import EYE_DISTANCE_PX
from deid_ops.swap.layout import N_POINTS, group_slice
from deid_ops.swap.retarget import FaceShape
from deid_ops.train.attribute_lessons import (
    AttributeLabels,
    AttributeLesson,
    Lessons,
    load_labels,
    stored_lessons,
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
from deid_ops.train.shape import fit_shape


@dataclass(frozen=True, slots=True)
class AttributeTraining:
    """Settings of one training."""

    batch: int = 48
    rate: float = 2e-3
    warmup: int = 60
    weight_decay: float = 0.02
    ema: float = 0.998
    seed: int = 11
    validate_every: int = 250  # steps
    validation_rows: int = 512  # at most


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


def attribute_loss(net: AttributeNet, lesson: AttributeLesson) -> dict[str, Tensor]:
    """Return the losses of a batch, unweighted sums are the total."""
    # Full precision: at these widths batch normalisation makes bf16 slower, not faster.
    got_points, got_pose, logits, first = net.with_first_look(lesson.images01)
    points, pose, expression = lesson.points_px, lesson.pose_deg, lesson.expression
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
    lessons: Lessons | None = None,
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
        lessons: of `online_lessons`; without them the pack's labels are fitted.
    """
    labels = load_labels(pack, shape, 0)
    lessons = lessons or stored_lessons(labels, config.batch)
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
    held = load_labels(pack, shape, 1, config.validation_rows)

    def step(number: int) -> Mapping[str, float]:
        losses = attribute_loss(net, lessons(state.rng))
        set_rate(optimiser, config.rate * half_cosine(number, budget.max_steps, config.warmup))
        descend(list(losses.values()), optimiser)
        average.update(net, number)
        if len(held.points_px) and (number + 1) % config.validate_every == 0:
            report(number + 1, held_out_errors(average.net, held))
        return {name: float(value.detach()) for name, value in losses.items()}

    run(state, step, budget, checkpoint, clock, report)
    return average.net


@torch.no_grad()
def held_out_errors(net: AttributeNet, held: AttributeLabels, batch: int = 64) -> dict[str, float]:
    """Compare what a network reads with the labels of held-out faces.

    Returns:
        `held_landmark_shift_percent` of the eye distance, `held_pose_error_deg`.
    """
    shifts, angles = [], []
    for i in range(0, len(held.points_px), batch):
        part = slice(i, i + batch)
        points, pose, _ = (v.numpy() for v in net(to_float01(held.crops_rgb[part])))
        eyes_px = np.full(len(points), EYE_DISTANCE_PX, dtype=np.float32)
        shifts.append(landmark_shift_percent(held.points_px[part], points, eyes_px))
        turned = (rotation_from_euler(p) for p in (held.pose_deg[part], pose))
        angles.append(rotation_angle_deg(*turned))
    return {
        "held_landmark_shift_percent": float(np.concatenate(shifts).mean()),
        "held_pose_error_deg": float(np.concatenate(angles).mean()),
    }
