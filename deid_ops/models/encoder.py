"""Identity encoders: the teacher's MobileFaceNet as a module, and this project's own.

Input [n, 3, 112, 112] RGB in [0, 1], the slice `ENCODER_SLICE` of a crop. Output [n, 128], not
normalised. Both speak the same 128-d space: the own encoder is distilled from the teacher, so
anchors, tracking and the generator's condition agree.

Source: Chen et al. 2018 (MobileFaceNet). `TeacherEncoder` follows the layer names of the
published state dict, and serves training only.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deid_ops.errors import SetupError
from deid_ops.models.blocks import PlainBlock, channels_last

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
EncoderT = TypeVar("EncoderT", bound=nn.Module)
COMPACT_WIDE = 512
COMPACT_STAGE_ENDS = (4, 9, 14)  # layers of the own encoder's body that end at 28, 14 and 7 px
# expansion, channels, repeats, first stride
TEACHER_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class _ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, where wanted, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class _Bottleneck(nn.Module):
    """Inverted residual: 1x1 up, depthwise 3x3, 1x1 down without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _ConvNorm(inputs, hidden, 1),
            _ConvNorm(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x) if self.residual else self.conv(x)
        return out


class _DepthwisePointwise(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.depthwise(x)))
        out: Tensor = self.relu(self.bn2(self.pointwise(x)))
        return out


class _GlobalDepthwise(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.depthwise(x))
        return out


class TeacherEncoder(nn.Module):
    """MobileFaceNet of 112 px, as published: the teacher."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, stages: tuple[tuple[int, int, int, int], ...] = TEACHER_STAGES, last: int = 512
    ) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(3, 64, 3, 2)
        self.dw_conv = _DepthwisePointwise(64)
        blocks: list[nn.Module] = []
        channels = 64
        for expansion, outputs, repeats, first_stride in stages:
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                blocks.append(_Bottleneck(channels, outputs, stride, expansion))
                channels = outputs
        self.features = nn.Sequential(*blocks)
        self.conv2 = _ConvNorm(channels, last, 1)
        self.gdconv = _GlobalDepthwise(last, 7)
        self.conv3 = nn.Conv2d(last, 128, 1)
        self.bn = nn.BatchNorm1d(128)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).reshape(1, 3, 1, 1), False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).reshape(1, 3, 1, 1), False)

    def forward(self, faces_rgb01: Tensor) -> Tensor:
        """Map [n, 3, 112, 112] RGB in [0, 1] to [n, 128], not normalised."""
        return self.with_features(faces_rgb01)[0]

    def with_features(self, faces_rgb01: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Also return the maps after the stages at 28, 14 and 7 px (for feature losses)."""
        x = self.dw_conv(self.conv1((faces_rgb01 - self.mean) / self.std))
        features: list[Tensor] = []
        for index, block in enumerate(self.features):
            after = self.features[index + 1] if index + 1 < len(self.features) else None
            x = block(x)
            if after is None or not getattr(after, "residual", True):
                features.append(x)
        x = self.gdconv(self.conv2(x))
        return self.bn(self.conv3(x).flatten(1)), features


def load_teacher(path: Path) -> TeacherEncoder:
    """Load the published MobileFaceNet (foamliu, MS1M) as a frozen module.

    Raises:
        SetupError: the file is missing or holds other layers.
    """
    if not path.is_file():
        raise SetupError(f"{path}: no such teacher encoder")
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = TeacherEncoder()
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise SetupError(f"{path}: not the expected MobileFaceNet: {error}") from error
    return freeze(net)


def freeze(net: EncoderT) -> EncoderT:
    """Stop a network's gradients and fold its normalisation into the convolutions (faster)."""
    net.eval()
    _fold(net)
    channels_last(net)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net


def _fold(module: nn.Module) -> None:
    """Merge each batch normalisation into the convolution that feeds it, in evaluation mode."""
    pairs: list[tuple[str, str]] = []
    if isinstance(module, _DepthwisePointwise):
        pairs = [("depthwise", "bn1"), ("pointwise", "bn2")]
    elif isinstance(module, _GlobalDepthwise):
        pairs = [("depthwise", "bn")]
    elif isinstance(module, nn.Sequential):
        names = list(module._modules)
        pairs = [
            (a, b)
            for a, b in itertools.pairwise(names)
            if isinstance(module._modules[a], nn.Conv2d)
            and isinstance(module._modules[b], nn.BatchNorm2d)
        ]
    for conv, norm in pairs:
        first, second = module._modules[conv], module._modules[norm]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            module._modules[conv] = fuse_conv_bn_eval(first, second)
            module._modules[norm] = nn.Identity()
    for child in module.children():
        _fold(child)


class CompactEncoder(nn.Module):
    """This project's own encoder: a residual network on a 4x pixel-unshuffled face.

    The same size class as MobileFaceNet (about 2 M parameters, 0.24 GMAC), but of dense
    convolutions at 28, 14 and 7 px: on CPUs they run at full speed forward and backward, where
    depthwise ones wait for memory. It is also another architecture than the teacher's, so that a
    generator trained against both cannot exploit one of them.

    The vector is the sum of two readings of the last map: a plain one, and one of `wide` channels
    weighed place by place. The second costs 2 % of the work and learns faster.

    Args:
        channels: at 28, 14 and 7 px.
        dim: of the vector.
        wide: channels of the second reading; 0 leaves it out (the first weights that shipped).
    """

    def __init__(
        self,
        channels: tuple[int, int, int] = (64, 112, 160),
        dim: int = 128,
        wide: int = COMPACT_WIDE,
    ) -> None:
        super().__init__()
        self.channels = a, b, c = channels
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, a, 3, 1, 1, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU(inplace=True),
            PlainBlock(a),
            *_halve(a, b),
            PlainBlock(b),
            PlainBlock(b),
            *_halve(b, c),
            PlainBlock(c),
            PlainBlock(c),
        )
        self.place = _GlobalDepthwise(c, 7)
        self.mix = nn.Linear(c, c)
        self.head = nn.Linear(2 * c, dim)
        self.wide = _wide_head(c, wide, dim) if wide else None

    def forward(self, faces_rgb01: Tensor) -> Tensor:
        """Map [n, 3, 112, 112] RGB in [0, 1] to [n, 128], not normalised."""
        return self.with_features(faces_rgb01)[0]

    def with_features(self, faces_rgb01: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Also return the maps after the stages at 28, 14 and 7 px."""
        x, features = faces_rgb01 * 2.0 - 1.0, []
        for index, layer in enumerate(self.body):
            x = layer(x)
            if index in COMPACT_STAGE_ENDS:
                features.append(x)
        placed = functional.relu(self.mix(self.place(x).flatten(1)))
        out: Tensor = self.head(torch.cat([placed, x.mean((2, 3))], 1))
        return out if self.wide is None else out + self.wide(x), features


def _wide_head(inputs: int, wide: int, dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
        _GlobalDepthwise(wide, 7),
        nn.Flatten(),
        nn.Linear(wide, dim),
    )


def _halve(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class EncoderExport(nn.Module):
    """The encoder as ONNX sees it: RGB in [-1, 1] in, unit vectors out."""

    def __init__(self, net: CompactEncoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces_rgb: Tensor) -> Tensor:
        """Return [n, 128] of unit length."""
        return functional.normalize(self.net(faces_rgb * 0.5 + 0.5), dim=1)
