"""The leak-proof generator: it paints a face it has never seen.

The network receives what surrounds the face, a coarse picture of its light, landmarks drawn on
the mean face, and the identity to paint. Pixels inside `INNER_MASK` reach it only as averages
over 8x8 cells (swap) or under noise (diffuse), so what an observer could recover about the person
is bounded by those conditions, whatever the weights are.

Architecture: U-Net on a 2x pixel-unshuffled image (64 px inside), residual blocks whose group
norms are modulated by the identity (scale + 1), output added to the coarse picture.

Convention: images are RGB. Inside the network [-1, 1], at its border [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deid_ops.models.blocks import (
    AdaptiveNorm,
    MappingNetwork,
    StyledBlock,
    conv3,
    init_glorot,
    scaled_identity,
)
from deid_ops.swap.crop import CROP_SIZE_PX, INNER_MASK
from deid_ops.swap.layout import GROUP_NAMES, N_GROUPS, group_slice

LIGHT_CELLS = 8
CELL_PX = CROP_SIZE_PX // LIGHT_CELLS
_SKIN_CELLS = slice(2, 6)  # rows and columns of the light without hair, hats and background
MAP_SIZE = 64
HEAT_SIGMA_PX = 1.6  # of a landmark's spot, in crop pixels
N_SCALARS = 2  # is_noise, noise level
_PORTRAIT_LOG_CONTRAST = 1.98  # minus the mean over 400 portraits: their gain is 1
N_LOOKS = 4  # what `look_of_footage` returns


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """Width and depth. `channels` at 64, 32, 16 and 8 px."""

    identity: int = 128
    style: int = 192
    mapping_depth: int = 2
    channels: tuple[int, int, int, int] = (24, 48, 96, 144)
    blocks: tuple[int, int, int, int] = (0, 1, 1, 2)


class HeatMaps(nn.Module):
    """Draw landmarks as one channel per group: the largest spot wins, differentiable."""

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        step = CROP_SIZE_PX / MAP_SIZE
        centres = (torch.arange(MAP_SIZE, dtype=torch.float32) + 0.5) * step - 0.5
        self.register_buffer("grid", centres.reshape(1, 1, MAP_SIZE), False)

    def forward(self, points_px: Tensor) -> Tensor:
        """Map [n, 136, 2] crop pixels to [n, groups, 64, 64] in [0, 1]."""
        factor = -0.5 / HEAT_SIGMA_PX**2
        gx = torch.exp(factor * (self.grid - points_px[:, :, 0:1]) ** 2)
        gy = torch.exp(factor * (self.grid - points_px[:, :, 1:2]) ** 2)
        maps = []
        for name in GROUP_NAMES:
            part = group_slice(name)
            # A sum of separable spots is one matrix product; it is capped, not normalised.
            maps.append(gy[:, part].transpose(1, 2) @ gx[:, part])
        return torch.stack(maps, 1).clamp(max=1.0)


class LeakProofGenerator(nn.Module):
    """See the module's head."""

    mask: Tensor

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        c, style = config.channels, config.style
        self.heat = HeatMaps()
        self.mapping = MappingNetwork(
            config.identity + N_SCALARS + N_LOOKS, style, config.mapping_depth
        )
        self.stem = conv3(12 + 1 + N_GROUPS, c[0])
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(c):
            if level:
                self.down.append(conv3(c[level - 1], width, 2))
            count = config.blocks[level]
            self.encoder.append(
                nn.ModuleList(StyledBlock(width, width, style) for _ in range(count))
            )
        for level in range(len(c) - 2, -1, -1):
            self.up.append(nn.Conv2d(c[level + 1], c[level], 1))
            self.decoder.append(StyledBlock(2 * c[level], c[level], style))
        # Without this the residual stream grows and the last layer, not the net, does the learning.
        self.out_norm = AdaptiveNorm(c[0], style)
        self.out = conv3(c[0], 12)
        mask = torch.from_numpy(np.asarray(INNER_MASK, dtype=np.float32))[None, None]
        self.register_buffer("mask", mask, False)
        init_glorot(self)
        nn.init.zeros_(self.out.weight)

    def forward(
        self,
        surroundings01: Tensor,
        inside: Tensor,
        points_px: Tensor,
        identity_unit: Tensor,
        scalars: Tensor,
    ) -> Tensor:
        """Paint the face.

        Args:
            surroundings01: [n, 3, 128, 128] in [0, 1]; what lies inside the mask is ignored.
            inside: [n, 3, 128, 128] in about [-1, 1]: the coarse light or the noised face.
            points_px: [n, 136, 2] retargeted landmarks.
            identity_unit: [n, 128].
            scalars: [n, 2]: 1 where `inside` is noised, and log(1 + sigma / alpha).

        Returns:
            [n, 3, 128, 128] in about [0, 1], not clipped; outside the mask the surroundings.
        """
        surroundings = surroundings01 * 2.0 - 1.0
        base = self.mask * inside + (1.0 - self.mask) * surroundings
        light = coarse_light(inside, scalars)
        look = look_of_footage(surroundings, light, self.mask)
        style = self.mapping(torch.cat([scaled_identity(identity_unit), scalars, look], 1))
        style = functional.leaky_relu(style, 0.2)
        mask64 = functional.avg_pool2d(self.mask + 0.0 * base[:, :1], 2)
        x = self.stem(
            torch.cat([functional.pixel_unshuffle(base, 2), mask64, self.heat(points_px)], 1)
        )
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = self.down[level - 1](x)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, style)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = functional.interpolate(up(x), scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], 1), style)
        x = functional.silu(self.out_norm(x, style))
        detail = without_chequers(functional.pixel_shuffle(self.out(x), 2).float())
        painted = contrast_gain(look) * detail + enlarge_light(light)
        whole = self.mask * painted + (1.0 - self.mask) * surroundings
        cells = functional.avg_pool2d(whole, CELL_PX)
        missing = missing_colour(light, cells) + missing_brightness(light, cells)
        painted = painted + enlarge_light(missing)
        return self.mask * (painted * 0.5 + 0.5) + (1.0 - self.mask) * surroundings01


def coarse_light(inside: Tensor, scalars: Tensor) -> Tensor:
    """Return the 8x8 light of `inside` [n, 3, 8, 8].

    The noise has no mean over a cell (`without_cell_means`), so a noised face shows its light
    exactly, scaled by alpha = 1 / sqrt(1 + ratio^2).
    """
    ratio = (torch.exp(scalars[:, 1]) - 1.0).reshape(-1, 1, 1, 1)
    light = functional.avg_pool2d(inside, CELL_PX) * torch.sqrt(1.0 + ratio**2)
    return light.clamp(-1.0, 1.0)


def look_of_footage(surroundings: Tensor, light: Tensor, mask: Tensor) -> Tensor:
    """Return how flat, dark and coarse the picture is, [n, 4].

    The norms inside the network take the contrast away from what it sees, so it has to be told:
    footage is behind glass and haze, a portrait is not.

    Args:
        surroundings: [n, 3, 128, 128] in [-1, 1]; what lies inside the mask is ignored.
        light: [n, 3, 8, 8] of the face.
        mask: [1, 1, 128, 128].
    """
    grey = surroundings.mean(1, keepdim=True)
    inner = light.mean(1, keepdim=True)[:, :, _SKIN_CELLS, _SKIN_CELLS]
    brightness = inner.mean((2, 3), keepdim=True)
    contrast = inner.var((2, 3), correction=0, keepdim=True)
    outside = 1.0 - mask
    spread = _mean_where((grey - _mean_where(grey, outside)) ** 2, outside)
    both = outside[:, :, :, 1:] * outside[:, :, :, :-1]
    detail = _mean_where((grey[:, :, :, 1:] - grey[:, :, :, :-1]).abs(), both)
    logs = [torch.log(v + 1e-3) / 2.0 for v in (contrast, spread, detail)]
    return torch.cat([brightness, *logs], 1).flatten(1)


def contrast_gain(look: Tensor) -> Tensor:
    """Return how strong a face's detail is beside a portrait's, [n, 1, 1, 1], from its look.

    A mean of the three contrasts, weighted by how well each of them predicts the detail of real
    faces (correlation 0.9 over portraits behind random haze). It is proportional to the contrast:
    behind haze that leaves half of it, the painted detail is halved too. Without it the painter,
    drawn to a vector that is clearest at full contrast, paints masks into dull footage.
    """
    log_gain = 0.5 * look[:, 1] + 0.25 * look[:, 2] + 0.5 * look[:, 3] + _PORTRAIT_LOG_CONTRAST
    return torch.exp(log_gain).clamp(0.1, 1.2).reshape(-1, 1, 1, 1)


def _mean_where(image: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of each image, [n, 1, 1, 1]."""
    return (image * weight).sum((2, 3), keepdim=True) / weight.sum()


def without_cell_means(noise: Tensor) -> Tensor:
    """Take from noise [n, 3, 128, 128] its mean over each cell of 16x16 px.

    What a cell averages to is a condition that the swap has been given anyway; noise in it hides
    nothing and would be painted as a coloured cloud.
    """
    means = functional.avg_pool2d(noise, CELL_PX)
    return noise - functional.interpolate(means, scale_factor=float(CELL_PX), mode="nearest")


def without_chequers(image: Tensor) -> Tensor:
    """Filter with the binomial 3x3 kernel, which stops patterns of a period of two pixels.

    Pixel shuffling makes them easily, and a painter that is drawn to an encoder's vector uses them.
    """
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(functional.avg_pool2d(padded, 2, 1), 2, 1)


def missing_colour(wanted: Tensor, cells: Tensor) -> Tensor:
    """Return the colour (not the brightness) that `cells` lack against `wanted`, per cell.

    Added to the crop it takes away tints, for example on grey pictures.
    """
    difference = wanted - cells
    return difference - difference.mean(1, keepdim=True)


def missing_brightness(wanted: Tensor, cells: Tensor) -> Tensor:
    """Return the brightness that `cells` lack against `wanted`, over 2x2 cells.

    Coarser than the colour: within a quarter of the face's width another person may have darker
    brows or a lighter nose.
    """
    difference = (wanted - cells).mean(1, keepdim=True)
    coarse = functional.avg_pool2d(difference, 2)
    return functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)


def enlarge_light(light: Tensor) -> Tensor:
    """Enlarge [n, 3, 8, 8] to [n, 3, 128, 128], bilinearly."""
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    return functional.interpolate(light, size, mode="bilinear", align_corners=False)


def scalars_for(n: int, ratio: float | None) -> Tensor:
    """Return the two scalars [n, 2]: None for the swap, sigma / alpha for the denoiser."""
    row = [0.0, 0.0] if ratio is None else [1.0, float(np.log1p(ratio))]
    return torch.tensor([row], dtype=torch.float32).repeat(n, 1)


class GeneratorExport(nn.Module):
    """The swap as ONNX sees it: the light comes as 8x8 cells, nothing else of the face."""

    def __init__(self, net: LeakProofGenerator) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, surroundings_rgb: Tensor, light_rgb: Tensor, points_px: Tensor, anchor_unit: Tensor
    ) -> Tensor:
        """Return the crop [n, 3, 128, 128] in [0, 1]."""
        inside = enlarge_light(light_rgb * 2.0 - 1.0)
        scalars = anchor_unit[:, :N_SCALARS] * 0.0
        crop: Tensor = self.net(surroundings_rgb, inside, points_px, anchor_unit, scalars)
        return crop.clamp(0.0, 1.0)


class DenoiserExport(nn.Module):
    """The diffuse step as ONNX sees it: one evaluation on the noised face."""

    def __init__(self, net: LeakProofGenerator) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        surroundings_rgb: Tensor,
        noised: Tensor,
        points_px: Tensor,
        anchor_unit: Tensor,
        noise_ratio: Tensor,
    ) -> Tensor:
        """Return the crop [n, 3, 128, 128] in [0, 1]; `noise_ratio` [n, 1] is sigma / alpha."""
        scalars = torch.cat([noise_ratio * 0.0 + 1.0, torch.log1p(noise_ratio)], 1)
        crop: Tensor = self.net(surroundings_rgb, noised, points_px, anchor_unit, scalars)
        return crop.clamp(0.0, 1.0)
