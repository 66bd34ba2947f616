"""Batches for the painters: what a face may be known by, and whom it shall become."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.models.light import (
    cell_means,
    detail_strengths,
    enlarge_cells,
    without_cell_means,
)
from deid_ops.swap.conditions import CELL_PX, mask_planes
from deid_ops.swap.face_mask import face_masks
from deid_ops.swap.light import mouth_shares, told_light
from deid_ops.train.augment import (
    Jitter,
    lower_resolution,
    mirror_some,
    mirror_some_images,
)
from deid_ops.train.loop import State, to_float01
from deid_ops.train.paint_data import Misplacing, PaintData, PaintFaces, faces_at, placed
from deid_ops.types import F32, I64, Bool


@dataclass(frozen=True, slots=True)
class GeneratorTraining:
    """Settings and loss weights."""

    batch: int = 16
    rate: float = 6e-4
    critic_rate: float = 1e-3
    critic_rate_floor: float = 0.3  # share of it that is kept while the painter's rate falls
    warmup: int = 100
    ema: float = 0.997
    seed: int = 21
    bf16: bool = False
    features_from: float = 0.12  # share of the steps; before, while none is swapped, L1 alone
    identity_from: float = 0.45  # share of the steps after which the identity phase begins
    swapped_share: float = 0.5
    anchor_share: float = 0.5  # of the swapped ones: from the bank, where one is given
    mixture_share: float = 0.4  # of the other swapped ones: between two faces
    noised_share: float = 0.5
    noise_ratio: tuple[float, float] = (1.2, 3.5)  # sigma / alpha
    grey_share: float = 0.15
    hazy_share: float = 0.6
    coarse_share: float = 0.5
    point_jitter_px: float = 0.35
    turn_share: float = 0.4  # of the heads; of two paintings of one person the second always is
    turn_deg: float = 40.0  # of yaw, at most (`turned_head`)
    misplacing: Misplacing = field(default_factory=Misplacing)
    mask_margin_px: tuple[int, int] = (1, 7)  # the job's mask and its neighbours
    repulsion_margin: float = 0.0
    w_l1: float = 3.0
    w_features: float = 1.0
    w_identity_own: float = 0.5
    w_identity_other: float = 1.8
    w_repulsion: float = 5.0
    w_same: float = 3.0  # two paintings of one person in two poses are one identity
    w_light: float = 4.0
    w_seam: float = 3.0
    w_detail: float = 1.0  # that detail is no weaker than told
    w_habits: float = 20.0  # of what is painted into every face (`train/tone.py`)
    w_unseen: float = 2.0  # where a training picture ends within the face: nothing but its light
    w_attributes: float = 1.2
    w_critic: float = 1.5
    w_stable: float = 2.0
    stable_every: int = 4
    stable_rows: int = 4


@dataclass(frozen=True, slots=True)
class PaintBatch:
    """One batch of tensors."""

    images01: Tensor
    light01: Tensor  # [n, 3, 8, 8] what is told of it
    target01: Tensor  # [n, 3, 128, 128] the images in that light
    mask: Tensor  # [n, 1, 128, 128] 1 where to paint
    weight: Tensor  # [n, 1, 128, 128] 1 where the loss counts
    parts: Tensor  # [n, 3, 128, 128] how much of it lies in each part of the face
    points_px: Tensor
    detail_rms: Tensor
    pose_deg: Tensor
    expression: Tensor
    own_unit: Tensor
    wanted_unit: Tensor
    own: Tensor  # [n] bool
    inside: Tensor
    scalars: Tensor


def wanted_identities(
    data: PaintData,
    rows: np.ndarray,
    own: np.ndarray,
    config: GeneratorTraining,
    rng: np.random.Generator,
) -> F32:
    """Return the identity each face shall get: its own, an anchor, another's, or a mixture."""
    first = data.identity_unit[rng.integers(0, len(data.identity_unit), len(rows))]
    second = data.identity_unit[rng.integers(0, len(data.identity_unit), len(rows))]
    share = rng.uniform(0.3, 0.7, (len(rows), 1)) * (
        rng.random((len(rows), 1)) < config.mixture_share
    )
    other = (1.0 - share) * first + share * second
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    if len(data.anchors_unit):
        anchors = data.anchors_unit[rng.integers(0, len(data.anchors_unit), len(rows))]
        other = np.where(rng.random((len(rows), 1)) < config.anchor_share, anchors, other)
    return np.where(own[:, None], data.identity_unit[rows], other).astype(np.float32)


def light_and_target(
    images01: Tensor, points_px: Tensor, mask: Tensor, noised: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the light that is told of faces, [n, 3, 8, 8], and the faces in that light.

    The second is what a face painted back should look like: it cannot show what was not told.

    Args:
        images01: [n, 3, 128, 128] in [0, 1].
        points_px: [n, 136, 2] retargeted landmarks in crop pixels.
        mask: [n, 1, 128, 128] 1 where to paint.
        noised: [n] bool; such a face is shown under noise and keeps its own light.
    """
    cells = cell_means(images01, mask, CELL_PX)
    share = functional.avg_pool2d(mask, CELL_PX)
    told = torch.from_numpy(
        told_light(cells.numpy(), share.numpy(), mouth_shares(points_px.numpy()))
    )
    light = torch.where(noised[:, None, None, None], cells, told)
    return light, images01 + mask * enlarge_cells(light - cells)


def degraded(
    images01: Tensor,
    light01: Tensor,
    mask: Tensor,
    noised: Tensor,
    config: GeneratorTraining,
    state: State,
) -> tuple[Tensor, Tensor]:
    """Return what the network may know of the inside, and its two scalars.

    Args:
        images01: [n, 3, 128, 128] in [0, 1].
        light01: [n, 3, 8, 8] of `light_and_target`.
        mask: [n, 1, 128, 128] 1 where to paint.
        noised: [n] bool, which faces are shown under noise instead of as their light.
        config: the noise's range.
        state: draws the noise.

    Returns:
        `inside` [n, 3, 128, 128] in about [-1, 1], scalars [n, 2] as in the generator.
    """
    n = len(images01)
    x = images01 * 2.0 - 1.0
    light = enlarge_cells(light01 * 2.0 - 1.0)
    low, high = config.noise_ratio
    ratio = torch.from_numpy(state.rng.uniform(low, high, (n, 1, 1, 1)).astype(np.float32))
    alpha = 1.0 / torch.sqrt(1.0 + ratio**2)
    noise = without_cell_means(torch.randn(x.shape, generator=state.torch_rng), mask)
    inside = torch.where(noised[:, None, None, None], alpha * x + alpha * ratio * noise, light)
    scalars = torch.stack([noised.float(), torch.log1p(ratio.flatten())], 1)
    return inside, scalars * scalars[:, :1]


def as_filmed(images01: Tensor, config: GeneratorTraining, rng: np.random.Generator) -> Tensor:
    """Make portraits [n, 3, 128, 128] look like footage: flat, tinted, coarse.

    Portraits have full contrast and sharp eyes; a face in a drive recording lies behind glass and
    haze and has 20 px between the eyes. The painter must match what surrounds the face, and it
    only learns to if the surroundings vary.
    """
    n = len(images01)
    depth = np.where(rng.random(n) < config.hazy_share, rng.uniform(0.35, 1.0, n), 1.0)
    haze = rng.uniform(0.15, 0.75, (n, 1)) + rng.normal(0.0, 0.03, (n, 3))
    gain = 1.0 + rng.normal(0.0, 0.06, (n, 3)) * (depth < 1.0)[:, None]
    scale = torch.from_numpy((depth[:, None] * gain).astype(np.float32))[:, :, None, None]
    shift = torch.from_numpy(((1.0 - depth[:, None]) * haze).astype(np.float32))[:, :, None, None]
    filmed = (images01 * scale + shift).clamp(0.0, 1.0)
    coarse = Jitter(low_resolution=config.coarse_share, smallest=0.28)
    return lower_resolution(filmed, rng, coarse).contiguous(memory_format=torch.channels_last)


def pairs_of(own: Bool) -> tuple[I64, I64]:
    """Return the rows of both members of the pairs among those that get another identity.

    Args:
        own: [n] which rows keep their identity. An odd one of the others stays alone, the last.

    Example:
        >>> first, second = pairs_of(np.array([False, True, False, False]))
        >>> first.tolist(), second.tolist()
        ([0], [2])
    """
    swapped = np.flatnonzero(~own)
    pairs = swapped[: len(swapped) // 2 * 2].reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True, slots=True)
class _People:
    """Whose faces a batch shows, `n` of them."""

    rows: I64  # [n] of the data
    own: Bool  # [n] which keep their identity
    turned: Bool  # [n] which heads are turned
    first: I64  # [p] of `pairs_of`
    second: I64  # [p]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """How a batch shows them."""

    images01: Tensor  # [n, 3, 128, 128]
    weight: Tensor  # [n, 1, 128, 128] 1 where the training picture is
    points_px: Tensor  # [n, 136, 2]
    pose_deg: Tensor  # [n, 3]
    expression: Tensor  # [n, 52]


def draw_batch(
    data: PaintData,
    config: GeneratorTraining,
    state: State,
    part_rows: Tensor,
    *,
    swapping: bool,
) -> PaintBatch:
    """Draw a batch: some heads turned, half mirrored, landmarks jittered, identities chosen.

    Those that get another identity come in pairs, one after another: the same person, who gets the
    same identity, once more with the head turned.
    """
    rng, n = state.rng, config.batch
    people = _people(data, config, rng, swapping=swapping)
    faces = faces_at(data, people.rows, people.turned, config.turn_deg, rng)
    faces = placed(faces, config.misplacing, rng)
    shown = _pictures(faces, torch.from_numpy(data.expression[people.rows]), config, rng)
    low, high = config.mask_margin_px
    margins = rng.integers(low, high + 1, n).tolist()
    mask = torch.from_numpy(mask_planes(face_masks(shown.points_px.numpy(), margins)))
    weight = shown.weight * mask
    parts = weight * part_rows
    noised = torch.from_numpy(rng.random(n) < config.noised_share)
    light, target = light_and_target(shown.images01, shown.points_px, mask, noised)
    inside, scalars = degraded(shown.images01, light, mask, noised, config, state)
    wanted = wanted_identities(data, people.rows, people.own, config, rng)
    wanted[people.second] = wanted[people.first]
    return PaintBatch(
        images01=shown.images01,
        light01=light,
        target01=target,
        mask=mask,
        weight=weight,
        parts=parts,
        points_px=shown.points_px,
        detail_rms=detail_strengths(shown.images01, parts),
        pose_deg=shown.pose_deg,
        expression=shown.expression,
        own_unit=torch.from_numpy(data.identity_unit[people.rows]),
        wanted_unit=torch.from_numpy(wanted),
        own=torch.from_numpy(people.own),
        inside=inside,
        scalars=scalars,
    )


def _people(
    data: PaintData, config: GeneratorTraining, rng: np.random.Generator, *, swapping: bool
) -> _People:
    n = config.batch
    rows = data.draw_rows(n, rng)
    own = ~(rng.random(n) < config.swapped_share) if swapping else np.ones(n, dtype=bool)
    first, second = pairs_of(own)
    rows[second] = rows[first]
    turned = rng.random(n) < config.turn_share
    turned[second] = True
    return _People(rows, own, turned, first, second)


def _pictures(
    faces: PaintFaces, expression: Tensor, config: GeneratorTraining, rng: np.random.Generator
) -> _Pictures:
    n = len(expression)
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    images, points, pose, expression = mirror_some(
        mirrored,
        to_float01(faces.crops_rgb),
        torch.from_numpy(faces.points_px),
        torch.from_numpy(faces.pose_deg),
        expression,
    )
    grey = torch.from_numpy(rng.random(n) < config.grey_share)[:, None, None, None]
    images = torch.where(grey, images.mean(1, keepdim=True).expand_as(images), images)
    images = as_filmed(images, config, rng)
    noise = rng.normal(0.0, config.point_jitter_px, (n, 1, 2)).astype(np.float32)
    weight = mirror_some_images(mirrored, torch.from_numpy(faces.inside)[:, None])
    return _Pictures(images, weight, points + torch.from_numpy(noise), pose, expression)
