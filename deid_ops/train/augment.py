"""Changes to training crops: placement, light, resolution, mirror; labels follow.

All random numbers come from the generator that is passed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import EXPRESSION_MIRROR, POINT_MIRROR
from deid_ops.swap.retarget import POSE_MIRROR


@dataclass(frozen=True, slots=True)
class Jitter:
    """Strength of the changes; angles in degrees, shifts in crop pixels."""

    rotation_deg: float = 12.0
    scale: float = 0.12
    shift_px: float = 5.0
    brightness: float = 0.15
    contrast: float = 0.25
    low_resolution: float = 0.4  # share of crops that are shrunk and enlarged again
    smallest: float = 0.22  # smallest shrink factor


def random_similarity(n: int, rng: np.random.Generator, jitter: Jitter) -> Tensor:
    """Return [n, 2, 3] matrices that map old crop pixels to new ones, about the crop's centre."""
    angle = np.deg2rad(rng.uniform(-1, 1, n) * jitter.rotation_deg)
    scale = np.exp(rng.uniform(-1, 1, n) * jitter.scale)
    shift = rng.uniform(-1, 1, (n, 2)) * jitter.shift_px
    cos, sin, centre = np.cos(angle) * scale, np.sin(angle) * scale, (CROP_SIZE_PX - 1) / 2
    matrix = np.stack([cos, -sin, sin, cos], -1).reshape(n, 2, 2)
    offset = shift + centre - matrix.sum(-1) * centre
    return torch.from_numpy(np.concatenate([matrix, offset[..., None]], -1).astype(np.float32))


def warp(images: Tensor, new_from_old: Tensor) -> Tensor:
    """Resample images [n, c, s, s] by matrices [n, 2, 3] in pixels; borders repeat."""
    size = images.shape[-1]
    full = torch.eye(3).repeat(len(images), 1, 1)
    full[:, :2] = new_from_old
    old_from_new = torch.linalg.inv(full)
    # grid_sample counts from -1 (left edge) to 1 (right edge): x = (2 p + 1) / s - 1
    to_px = torch.tensor([[size / 2, 0, size / 2 - 0.5], [0, size / 2, size / 2 - 0.5], [0, 0, 1]])
    theta = torch.linalg.inv(to_px) @ old_from_new @ to_px
    grid = functional.affine_grid(theta[:, :2], list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def move_points(points_px: Tensor, new_from_old: Tensor) -> Tensor:
    """Map points [n, k, 2] by matrices [n, 2, 3]."""
    turned = torch.einsum("nij,nkj->nki", new_from_old[:, :, :2], points_px)
    return turned + new_from_old[:, None, :, 2]


def photometric(images: Tensor, rng: np.random.Generator, jitter: Jitter) -> Tensor:
    """Change brightness, contrast and, for some, take the colour away; stays in [0, 1]."""
    n = len(images)
    gain = torch.from_numpy(np.exp(rng.uniform(-1, 1, (n, 1, 1, 1)) * jitter.contrast)).float()
    bias = torch.from_numpy(rng.uniform(-1, 1, (n, 3, 1, 1)) * 0.03).float()
    bias = bias + torch.from_numpy(rng.uniform(-1, 1, (n, 1, 1, 1)) * jitter.brightness).float()
    mean = images.mean((2, 3), keepdim=True)
    out = (images - mean) * gain + mean + bias
    grey = torch.from_numpy(rng.random((n, 1, 1, 1)) < 0.12)
    out = torch.where(grey, out.mean(1, keepdim=True).expand_as(out), out)
    return out.clamp(0.0, 1.0)


def lower_resolution(images: Tensor, rng: np.random.Generator, jitter: Jitter) -> Tensor:
    """Shrink some images and enlarge them again, as faces far from the camera are."""
    size = images.shape[-1]
    out = images.clone()
    chosen = np.flatnonzero(rng.random(len(images)) < jitter.low_resolution)
    for index in chosen:
        small = max(8, int(size * rng.uniform(jitter.smallest, 0.8)))
        shrunk = functional.interpolate(images[index : index + 1], (small, small), mode="area")
        out[index : index + 1] = functional.interpolate(
            shrunk, (size, size), mode="bilinear", align_corners=False
        )
    return out


def mirror_points(points_px: Tensor) -> Tensor:
    """Mirror landmarks [n, 136, 2] left to right."""
    out = points_px[:, torch.from_numpy(POINT_MIRROR)].clone()
    out[..., 0] = CROP_SIZE_PX - 1 - out[..., 0]
    return out


def mirror_pose(pose_deg: Tensor) -> Tensor:
    """Mirror (roll, pitch, yaw) [n, 3]: roll and yaw change sign."""
    return pose_deg * torch.from_numpy(POSE_MIRROR)


def mirror_expression(expression: Tensor) -> Tensor:
    """Mirror coefficients [n, 52]: those of the left and of the right change places."""
    return expression[:, torch.from_numpy(EXPRESSION_MIRROR)]


def mirror_some(
    chosen: Tensor, images01: Tensor, points_px: Tensor, pose_deg: Tensor, expression: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror some faces and what is known of them.

    Args:
        chosen: [n] bool, which.
        images01: [n, c, 128, 128].
        points_px: [n, 136, 2].
        pose_deg: [n, 3] roll, pitch, yaw.
        expression: [n, 52].

    Returns:
        Images, points, pose and expression, all `n` rows.
    """
    row = chosen[:, None]
    return (
        mirror_some_images(chosen, images01),
        torch.where(row[..., None], mirror_points(points_px), points_px),
        torch.where(row, mirror_pose(pose_deg), pose_deg),
        torch.where(row, mirror_expression(expression), expression),
    )


def mirror_some_images(chosen: Tensor, images: Tensor) -> Tensor:
    """Mirror the images [n, c, s, s] where `chosen` [n] is true."""
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
