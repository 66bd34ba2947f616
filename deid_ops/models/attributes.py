"""Attribute network: dense landmarks, head pose and expression from one 128 px crop.

Input [n, 3, 128, 128] RGB in [0, 1]. Output [n, 272 + 3 + 52]: landmarks in crop pixels (x, y
interleaved, order of `deid_ops/swap/layout.py`), pose in degrees (roll, pitch, yaw), expression
coefficients in [0, 1]. About 0.16 GMAC and 1.9 M parameters.

A first look at the whole crop places the face; second looks (`refine.py`) at eyes and mouth
place what moves there to a third of a pixel. Expression is read from the image and from the
refined landmarks, which is all that the teacher's expression network sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deid_ops.models.blocks import PlainBlock
from deid_ops.models.refine import LookConfig, Part, PartFrame, SecondLooks
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import N_EXPRESSION, N_POINTS, position_of

POSE_SCALE_DEG = 30.0
POINT_SCALE_PX = 32.0
_LOOKS = LookConfig((24, 40, 56, 48), 64)
_EYE_LINE = Part(position_of(33), position_of(263), ())


@dataclass(frozen=True, slots=True)
class AttributeConfig:
    """Channels at 64, 32, 16, 8 and 4 px, widths of the hidden layers, second looks."""

    channels: tuple[int, int, int, int, int] = (24, 48, 96, 128, 160)
    hidden: int = 224
    expression_hidden: int = 96
    looks: LookConfig = _LOOKS


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class AttributeNet(nn.Module):
    """See the module's head.

    `mean_points_px` [136, 2] is where the landmarks lie on average; the network predicts the
    difference, which starts near zero.
    """

    mean_points: Tensor

    def __init__(self, mean_points_px: Tensor, config: AttributeConfig | None = None) -> None:
        super().__init__()
        config = config or AttributeConfig()
        c = config.channels
        self.body = nn.Sequential(
            _down(3, c[0]),
            _down(c[0], c[1]),
            PlainBlock(c[1]),
            _down(c[1], c[2]),
            PlainBlock(c[2]),
            _down(c[2], c[3]),
            PlainBlock(c[3]),
            _down(c[3], c[4]),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(c[4] * (CROP_SIZE_PX // 32) ** 2, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, 2 * N_POINTS + 3 + N_EXPRESSION),
        )
        self.register_buffer("mean_points", mean_points_px.reshape(1, 2 * N_POINTS).float())
        self.looks = SecondLooks(mean_points_px, config.looks)
        self.expression = nn.Sequential(
            nn.Linear(2 * N_POINTS, config.expression_hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.expression_hidden, N_EXPRESSION),
        )
        nn.init.zeros_(self.expression[-1].weight)  # type: ignore[arg-type]

    def forward(self, crops_rgb01: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return landmarks [n, 136, 2] px, pose [n, 3] degrees, expression logits [n, 52]."""
        return self.with_first_look(crops_rgb01)[:3]

    def with_first_look(self, crops_rgb01: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return also the landmarks of the first look [n, 136, 2], for training."""
        crops = crops_rgb01 * 2.0 - 1.0
        raw = self.head(self.body(crops)).float()
        first = self.mean_points + POINT_SCALE_PX * raw[:, : 2 * N_POINTS]
        first = first.reshape(-1, N_POINTS, 2)
        pose = POSE_SCALE_DEG * raw[:, 2 * N_POINTS : 2 * N_POINTS + 3]
        points = self.looks(crops, first)
        upright = PartFrame(points, _EYE_LINE).from_crop(points).flatten(1)
        logits = raw[:, 2 * N_POINTS + 3 :] + self.expression(upright)
        return points, pose, logits, first


class AttributeExport(nn.Module):
    """The network as ONNX sees it: expression after the sigmoid."""

    def __init__(self, net: AttributeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops_rgb01: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return landmarks [n, 136, 2], pose [n, 3], expression [n, 52] in [0, 1]."""
        points, pose, logits = self.net(crops_rgb01)
        return points, pose, torch.sigmoid(logits)
