"""The leak-proof generator: it paints a face it has never seen.

The network receives what surrounds the face, a coarse picture of its light, landmarks drawn on
the mean face, and the identity to paint. Pixels inside the face's mask reach it only as an even
light on 8x8 cells (swap, `swap/light.py`) or under noise (diffuse), and as six numbers, the
strength of their detail. What an observer could recover about the person is bounded by those
conditions, whatever the weights are.

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
from deid_ops.models.light import (
    N_LOOKS,
    as_colourful_as,
    as_smooth_as_skin,
    as_strong_as,
    cell_means,
    coarse_light,
    enlarge_cells,
    look_of_footage,
    missing_brightness,
    missing_colour,
    without_chequers,
)
from deid_ops.swap.conditions import CELL_PX
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.face_mask import CHIN_FROM_Y_PX, part_rows
from deid_ops.swap.layout import GROUP_NAMES, N_GROUPS, group_slice

MAP_SIZE = 64
HEAT_SIGMA_PX = 1.6  # of a landmark's spot, in crop pixels
N_SCALARS = 2  # is_noise, noise level
_EYES_AND_LIPS = tuple(
    GROUP_NAMES.index(name)
    for name in ("left_eye", "right_eye", "left_iris", "right_iris", "outer_lips", "inner_lips")
)
_CONTOUR = GROUP_NAMES.index("contour")
_FEATURES = tuple(i for i in range(N_GROUPS) if i != _CONTOUR)
# In pixels of the heat maps:
_JAW_ROWS = slice(round(CHIN_FROM_Y_PX * MAP_SIZE / CROP_SIZE_PX), MAP_SIZE)  # no hairline there
_SPOT_REACH = 5  # what lies between a lid and an iris
_FEATURE_REACH = 7  # wings of the nose, lids
_FEATURE_RAMP = 5  # from a feature to bare skin


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


def eyes_and_lips(heat: Tensor) -> Tensor:
    """Return where eyes and lips are, [n, 1, 128, 128] in [0, 1].

    Args:
        heat: [n, groups, 64, 64] of `HeatMaps`.
    """
    spots = heat[:, _EYES_AND_LIPS].amax(1, keepdim=True)
    near = functional.max_pool2d(spots, _SPOT_REACH, 1, _SPOT_REACH // 2)
    return enlarge_cells(functional.avg_pool2d(near, 3, 1, 1))


def bare_skin(heat: Tensor) -> Tensor:
    """Return where brows, eyes, nose, lips and jaw are not, [n, 1, 64, 64] in [0, 1].

    The jaw's edge is how a head's pose is seen: with lines limited there, too, pose was 0.2 degrees
    worse (14 tracks, four anchors each).

    Args:
        heat: [n, groups, 64, 64] of `HeatMaps`.
    """
    spots = heat[:, _FEATURES].amax(1, keepdim=True)
    jaw = functional.pad(heat[:, _CONTOUR : _CONTOUR + 1, _JAW_ROWS], (0, 0, _JAW_ROWS.start, 0))
    spots = torch.maximum(spots, jaw)
    near = functional.max_pool2d(spots, _FEATURE_REACH, 1, _FEATURE_REACH // 2)
    return 1.0 - functional.avg_pool2d(near, _FEATURE_RAMP, 1, _FEATURE_RAMP // 2)


class LeakProofGenerator(nn.Module):
    """See the module's head."""

    part_rows: Tensor

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
        self.register_buffer("part_rows", torch.from_numpy(part_rows())[None, :, :, None], False)
        init_glorot(self)
        nn.init.zeros_(self.out.weight)

    def forward(
        self,
        surroundings01: Tensor,
        mask: Tensor,
        inside: Tensor,
        points_px: Tensor,
        detail_rms: Tensor,
        identity_unit: Tensor,
        scalars: Tensor,
    ) -> Tensor:
        """Paint the face.

        Args:
            surroundings01: [n, 3, 128, 128] in [0, 1]; what lies inside the mask is ignored.
            mask: [n, 1, 128, 128] 1 where to paint, 0 elsewhere.
            inside: [n, 3, 128, 128] in about [-1, 1]: the coarse light or the noised face.
            points_px: [n, 136, 2] retargeted landmarks.
            detail_rms: [n, 6] strength of the original's detail, in [0, 1].
            identity_unit: [n, 128].
            scalars: [n, 2]: 1 where `inside` is noised, and log(1 + sigma / alpha).

        Returns:
            [n, 3, 128, 128] in about [0, 1], not clipped; outside the mask the surroundings.
        """
        surroundings = surroundings01 * 2.0 - 1.0
        base = mask * inside + (1.0 - mask) * surroundings
        light = coarse_light(inside, mask, scalars)
        told = 2.0 * detail_rms  # the range here is twice as wide
        look = look_of_footage(surroundings, light, told, mask)
        style = self.mapping(torch.cat([scaled_identity(identity_unit), scalars, look], 1))
        style = functional.leaky_relu(style, 0.2)
        mask64 = functional.avg_pool2d(mask, 2)
        heat = self.heat(points_px)
        x = self.stem(torch.cat([functional.pixel_unshuffle(base, 2), mask64, heat], 1))
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
        detail = as_strong_as(told, detail, self.parts(mask))
        detail = as_smooth_as_skin(told, detail, enlarge_cells(bare_skin(heat)), mask)
        detail = as_colourful_as(light, detail, eyes_and_lips(heat))
        painted = detail + enlarge_cells(light)
        cells = cell_means(painted, mask, CELL_PX)
        missing = missing_colour(light, cells) + missing_brightness(light, cells)
        painted = painted + enlarge_cells(missing)
        return mask * (painted * 0.5 + 0.5) + (1.0 - mask) * surroundings01

    def parts(self, mask: Tensor) -> Tensor:
        """Return how much every pixel belongs to each part, [n, 3, 128, 128]; 0 outside `mask`."""
        return mask * self.part_rows


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
        self,
        surroundings_rgb: Tensor,
        mask: Tensor,
        light_rgb: Tensor,
        points_px: Tensor,
        detail_rms: Tensor,
        anchor_unit: Tensor,
    ) -> Tensor:
        """Return the crop [n, 3, 128, 128] in [0, 1]."""
        inside = enlarge_cells(light_rgb * 2.0 - 1.0)
        scalars = anchor_unit[:, :N_SCALARS] * 0.0
        crop: Tensor = self.net(
            surroundings_rgb, mask, inside, points_px, detail_rms, anchor_unit, scalars
        )
        return crop.clamp(0.0, 1.0)


class DenoiserExport(nn.Module):
    """The diffuse step as ONNX sees it: one evaluation on the noised face."""

    def __init__(self, net: LeakProofGenerator) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        surroundings_rgb: Tensor,
        mask: Tensor,
        noised: Tensor,
        points_px: Tensor,
        detail_rms: Tensor,
        anchor_unit: Tensor,
        noise_ratio: Tensor,
    ) -> Tensor:
        """Return the crop [n, 3, 128, 128] in [0, 1]; `noise_ratio` [n, 1] is sigma / alpha."""
        scalars = torch.cat([noise_ratio * 0.0 + 1.0, torch.log1p(noise_ratio)], 1)
        crop: Tensor = self.net(
            surroundings_rgb, mask, noised, points_px, detail_rms, anchor_unit, scalars
        )
        return crop.clamp(0.0, 1.0)
