"""Losses of the face generators; every one returns a mean over the batch it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.models.attributes import AttributeNet
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder
from deid_ops.models.light import cell_means, detail_strengths
from deid_ops.swap.conditions import CELL_PX
from deid_ops.swap.crop import (
    BLEND_RAMP_PX,
    CROP_OFFSET_XY_PX,
    CROP_SIZE_PX,
    ENCODER_SIZE_PX,
    EYE_DISTANCE_PX,
)
from deid_ops.swap.layout import group_slice, position_of
from deid_ops.swap.retarget import EYES

_EYES_WEIGHT = 2.5  # beside landmarks, pose and expression; at 1 the gaze was not followed
_FAINT_RMS = 0.004  # weaker detail than this, of blurred or hazy faces, is not missed much


def encoder_view(crops01: Tensor, rng: np.random.Generator | None = None) -> Tensor:
    """Cut the 112 px recogniser input out of crops [n, 3, 128, 128].

    With a generator of random numbers the window moves by up to 2 px, the light changes by a few
    per cent, and the resolution is lowered, so that the painter cannot satisfy the encoder with a
    pattern that only works at one place. Returns [n, 3, 112, 112].
    """
    x, y = CROP_OFFSET_XY_PX
    if rng is None:
        return crops01[:, :, y : y + ENCODER_SIZE_PX, x : x + ENCODER_SIZE_PX]
    dx, dy = (int(v) for v in rng.integers(-2, 3, 2))
    y = max(0, min(CROP_SIZE_PX - ENCODER_SIZE_PX, y + dy))
    view = crops01[:, :, y : y + ENCODER_SIZE_PX, x + dx : x + dx + ENCODER_SIZE_PX]
    if rng.random() < 0.6:  # a coarser look: identity has to sit in shapes, not in fine patterns
        size = int(rng.integers(44, 96))
        small = functional.interpolate(view, (size, size), mode="bilinear", antialias=True)
        view = functional.interpolate(small, (ENCODER_SIZE_PX, ENCODER_SIZE_PX), mode="bilinear")
    return (view * float(rng.uniform(0.92, 1.08)) + float(rng.uniform(-0.03, 0.03))).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class IdentityTerms:
    """What the training encoders say about a batch of outputs, averaged over the encoders."""

    attraction: Tensor  # mean 1 - cos(output, wanted)
    repulsion: Tensor  # mean relu(cos(output, original) - margin)
    features: Tensor  # mean feature distance to the original, where that was asked for
    same: Tensor  # mean 1 - cos between the two paintings of one person in two poses
    # After each encoder's stages, [m, c, h, w], of the m rows that get another identity; none: [].
    swapped_maps: list[Tensor]


def identity_terms(
    encoders: Sequence[TeacherEncoder | CompactEncoder],
    output01: Tensor,
    original01: Tensor,
    own_unit: Tensor,
    wanted_unit: Tensor,
    own: Tensor,
    margin: float,
    rng: np.random.Generator,
    feature_rows: int = 6,
) -> IdentityTerms:
    """Compute the identity losses.

    Args:
        encoders: frozen training encoders of one common space.
        output01: [n, 3, 128, 128] generated crops.
        original01: [n, 3, 128, 128] the crops they replace.
        own_unit: [n, 128] identity of the original (the teacher's label).
        wanted_unit: [n, 128] identity to paint.
        own: [n] true where the wanted identity is the crop's own: no repulsion, but features. The
            others are pairs, one after another: a person and an identity, painted in two poses.
        margin: cosine to the original below which nothing repels.
        rng: jitter.
        feature_rows: at most this many rows are compared in features (that costs a second pass
            over the originals), with the first encoder only.
    """
    attraction = repulsion = features = same = output01.new_zeros(())
    swapped_maps: list[Tensor] = []
    swapped = torch.nonzero(~own).flatten()
    # Own faces that are looked at: those compared in features. The rest cost time for little.
    compared = torch.nonzero(own).flatten()[: feature_rows if len(swapped) == 0 else 2]
    looked = torch.cat([compared, swapped])
    view, n_own = encoder_view(output01[looked], rng), len(compared)
    for index, encoder in enumerate(encoders):
        got, maps = encoder.with_features(view)
        unit = functional.normalize(got.float(), dim=1)
        attraction = attraction + (1.0 - (unit * wanted_unit[looked]).sum(1)).mean()
        if len(swapped):
            close = (unit * own_unit[looked]).sum(1)[n_own:]
            repulsion = repulsion + functional.relu(close - margin).mean()
            same = same + apart_in_pairs(unit[n_own:])
            swapped_maps += [m[n_own:] for m in maps]
        if index == 0 and n_own:
            with torch.no_grad():
                true_maps = encoder.with_features(encoder_view(original01[compared]))[1]
            for mine, true in zip(maps, true_maps, strict=True):
                cosine = functional.cosine_similarity(mine[:n_own].float(), true.float(), dim=1)
                features = features + (1.0 - cosine).mean() / len(maps)
    n = len(encoders)
    return IdentityTerms(attraction / n, repulsion / n, features, same / n, swapped_maps)


def apart_in_pairs(unit: Tensor) -> Tensor:
    """Mean 1 - cos between neighbours: rows 0 and 1, 2 and 3, ... of [n, d]; a last one is alone.

    Example:
        >>> float(apart_in_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])))
        1.0
    """
    n_pairs = len(unit) // 2
    if n_pairs == 0:
        return unit.new_zeros(())
    first, second = unit[0 : 2 * n_pairs : 2], unit[1 : 2 * n_pairs : 2]
    return (1.0 - (first * second).sum(1)).mean()


@torch.no_grad()
def real_maps(
    encoders: Sequence[TeacherEncoder | CompactEncoder],
    images01: Tensor,
    rng: np.random.Generator | None,
) -> list[Tensor]:
    """Return the maps of photographed crops, seen as painted ones are.

    Args:
        encoders: frozen training encoders.
        images01: [n, 3, 128, 128].
        rng: jitter, see `encoder_view`.

    Returns:
        One [n, c, h, w] an encoder and stage, in the order of `IdentityTerms.swapped_maps`.
    """
    view = encoder_view(images01, rng)
    return [m for encoder in encoders for m in encoder.with_features(view)[1]]


def masked_l1(output01: Tensor, target01: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference where `weight` [n, 1, h, w] says so."""
    total = weight.sum() * output01.shape[1] + 1e-6
    return ((output01 - target01).abs() * weight).sum() / total


def seam(mask: Tensor) -> Tensor:
    """Return the rim of masks [n, 1, h, w], over which the crop is blended into the frame.

    What is painted there has to go on where the surroundings end, whoever is painted.
    """
    width_px = int(BLEND_RAMP_PX)
    reached = functional.max_pool2d(1.0 - mask, 2 * width_px + 1, 1, width_px)
    return mask * reached


def light_difference(output01: Tensor, light01: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of cell averages: the light is as told, the texture is free.

    Args:
        output01: [n, 3, 128, 128] painted crops.
        light01: [n, 3, 8, 8] what was told.
        mask: [n, 1, 128, 128] 1 where was painted.
    """
    share = functional.avg_pool2d(mask, CELL_PX)
    apart = (cell_means(output01, mask, CELL_PX) - light01).abs() * share
    return apart.sum() / (share.sum() * output01.shape[1] + 1e-6)


def missing_detail(output01: Tensor, told_rms: Tensor, parts: Tensor) -> Tensor:
    """How much weaker the painted detail is than what was told, as a mean logarithm.

    Encoders and their critics forgive smooth skin, and the painter only ever weakens what is too
    strong (`models/light.py: as_strong_as`), so without this faces come out soft.

    Args:
        output01: [n, 3, 128, 128] painted crops.
        told_rms: [n, 6] of `detail_strengths`.
        parts: [n, 3, 128, 128] how much every pixel belongs to each part.
    """
    painted_rms = detail_strengths(output01, parts)
    lacking = torch.log(told_rms + _FAINT_RMS) - torch.log(painted_rms + _FAINT_RMS)
    return functional.relu(lacking).mean()


def attribute_difference(
    net: AttributeNet, output01: Tensor, points_px: Tensor, pose_deg: Tensor, expression: Tensor
) -> Tensor:
    """How far the output's landmarks, pose and expression are from those that were asked for.

    The measuring network is this project's own attribute network, frozen.
    """
    points, pose, logits = net(output01)
    scaled = (points - points_px).abs().mean() / (0.03 * EYE_DISTANCE_PX)
    turned = (pose - pose_deg).abs().mean() / 4.0
    bent = (torch.sigmoid(logits) - expression).abs().mean() * 4.0
    eyes = _EYES_WEIGHT * eye_difference(points, points_px)
    total: Tensor = scaled + turned + bent + eyes
    return total


def eye_difference(points_px: Tensor, wanted_px: Tensor) -> Tensor:
    """How far lids and irises [n, 136, 2] are from where they should be within their eyes.

    The eye loss of face swapping (GHOST, Groshev et al. 2022) on landmarks instead of heat maps:
    gaze and opening are rewarded, the texture of an iris, which identifies, is not. Points are
    taken from the middle of their eye's corners, so that the place of the eye does not count.
    """
    parts = []
    for outer, inner, iris in EYES:
        corners = [position_of(outer), position_of(inner)]
        mine, wanted = (p - p[:, corners].mean(1, keepdim=True) for p in (points_px, wanted_px))
        parts += [
            (mine[:, group_slice(group)] - wanted[:, group_slice(group)]).abs().mean()
            for group in (iris, iris.replace("iris", "eye"))  # left_iris lies in left_eye
        ]
    return torch.stack(parts).mean() / (0.02 * EYE_DISTANCE_PX)
