"""Second looks: parts of the face seen again at full resolution, their landmarks set anew.

One look at the whole crop places an iris to about a pixel and a half, which is 15 degrees of gaze.
The second look is a patch that is cut out along two landmarks of the first one, so that the part
lies in it upright and at one size. Both eyes share a network: one of them is seen in the mirror.
Brows and nose are not looked at again: measured on strangers, a patch without the rest of the face
places them worse than the first look does.

Convention: a frame has its origin midway between two landmarks `first` and `second`, its x axis
from one to the other, y across it towards the chin, and their distance as unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import group_slice, position_of

_SHORTEST_PX = 6.0  # of a frame's unit: an eye seen from the side


@dataclass(frozen=True, slots=True)
class Part:
    """What one look is at.

    Attributes:
        first: position of the landmark where the frame begins.
        second: position of the landmark where it ends.
        points: positions of the landmarks that are set anew.
        mirrored: x runs against the image's (a right eye, seen as a left one).
    """

    first: int
    second: int
    points: tuple[int, ...]
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A patch in its frame: its four sides in units of the frame, and samples across and down."""

    left: float
    top: float
    right: float
    bottom: float
    size_wh_px: tuple[int, int]


def _group(*names: str) -> tuple[int, ...]:
    return tuple(i for n in names for i in range(group_slice(n).start, group_slice(n).stop))


LEFT_EYE = Part(position_of(33), position_of(133), _group("left_eye", "left_iris"))
RIGHT_EYE = Part(
    position_of(263),
    position_of(362),
    # The teacher numbers both irises the same way round: centre, right, top, left, bottom.
    (*_group("right_eye"), *(position_of(i) for i in (473, 476, 475, 474, 477))),
    mirrored=True,
)
MOUTH = Part(position_of(61), position_of(291), _group("outer_lips", "inner_lips"))
EYE_WINDOW = Window(-1.1, -1.3, 1.1, 0.7, (44, 40))
MOUTH_WINDOW = Window(-0.85, -0.6, 0.85, 0.75, (48, 38))


@dataclass(frozen=True, slots=True)
class LookConfig:
    """Channels of the convolutions (all but the first halve the size), width of the layer after."""

    channels: tuple[int, ...]
    hidden: int


class PartFrame:
    """The frame of a part in each of `n` crops, from landmarks [n, 136, 2] in crop pixels."""

    def __init__(self, points_px: Tensor, part: Part) -> None:
        a, b = points_px[:, part.first], points_px[:, part.second]
        self.origin = 0.5 * (a + b)  # [n, 2]
        along = b - a
        # coinciding ends have no direction: take the image's
        along = torch.stack([along[:, 0] + 1e-4, along[:, 1]], 1)
        length = along.norm(dim=1, keepdim=True)
        self.x = along / length * length.clamp(min=_SHORTEST_PX)  # [n, 2], px a unit
        across = torch.stack([-self.x[:, 1], self.x[:, 0]], 1)
        self.y = -across if part.mirrored else across

    def to_crop(self, points: Tensor) -> Tensor:
        """Map points [n or 1, k, 2] of the frame to crop pixels [n, k, 2]."""
        x, y = points[..., 0:1], points[..., 1:2]
        placed: Tensor = self.origin[:, None] + x * self.x[:, None] + y * self.y[:, None]
        return placed

    def from_crop(self, points_px: Tensor) -> Tensor:
        """Map crop pixels [n, k, 2] to points of the frame."""
        moved = points_px - self.origin[:, None]
        square = (self.x**2).sum(1).reshape(-1, 1)
        x = (moved * self.x[:, None]).sum(2) / square
        y = (moved * self.y[:, None]).sum(2) / square
        return torch.stack([x, y], 2)


class SecondLook(nn.Module):
    """Cut a part out and place its landmarks.

    `template` [1, k, 2] holds the part's mean landmarks in its frame; the network predicts what
    differs.

    Args:
        mean_points_px: [136, 2] where all landmarks lie on average, in crop pixels.
        part: what is looked at; its mirror image may be given to `forward`.
        window: the patch.
        config: size of the network.
    """

    grid: Tensor
    template: Tensor

    def __init__(
        self, mean_points_px: Tensor, part: Part, window: Window, config: LookConfig
    ) -> None:
        super().__init__()
        channels = config.channels
        width, height = window.size_wh_px
        xs = torch.linspace(window.left, window.right, width)
        ys = torch.linspace(window.top, window.bottom, height)
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        self.size_hw = (height, width)
        self.register_buffer("grid", torch.stack([x, y], 2).reshape(1, -1, 2), False)
        mean = mean_points_px.reshape(1, -1, 2).float()
        mean_frame = PartFrame(mean, part)
        self.register_buffer("template", mean_frame.from_crop(mean[:, list(part.points)]))
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip((3, *channels), channels, strict=False)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, 1 if i == 0 else 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten())
        for _ in channels[1:]:
            width, height = (width + 1) // 2, (height + 1) // 2
        self.head = nn.Sequential(
            nn.Linear(channels[-1] * width * height, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, 2 * len(part.points)),
        )
        nn.init.normal_(self.head[-1].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def forward(self, crops: Tensor, points_px: Tensor, part: Part) -> Tensor:
        """Return the part's landmarks in crop pixels [n, k, 2].

        Args:
            crops: [n, 3, 128, 128] in [-1, 1].
            points_px: [n, 136, 2] of the first look; no gradient flows into where the patch lies.
            part: the one it was made for, or its mirror image.
        """
        frame = PartFrame(points_px.detach(), part)
        places = (2.0 * frame.to_crop(self.grid) + 1.0) / CROP_SIZE_PX - 1.0
        places = places.reshape(-1, *self.size_hw, 2)
        patch = functional.grid_sample(crops, places, padding_mode="border", align_corners=False)
        delta = self.head(self.body(patch)).reshape(-1, len(part.points), 2)
        return frame.to_crop(self.template + delta)


class SecondLooks(nn.Module):
    """Eyes with their irises, and the mouth: what moves."""

    order: Tensor

    def __init__(self, mean_points_px: Tensor, config: LookConfig) -> None:
        super().__init__()
        self.eye = SecondLook(mean_points_px, LEFT_EYE, EYE_WINDOW, config)
        self.mouth = SecondLook(mean_points_px, MOUTH, MOUTH_WINDOW, config)
        n = mean_points_px.reshape(-1, 2).shape[0]
        seen = [i for part in (LEFT_EYE, RIGHT_EYE, MOUTH) for i in part.points]
        # where each landmark stands in [first look, second looks]: the second look wins
        order = torch.arange(n)
        order[seen] = n + torch.arange(len(seen))
        self.register_buffer("order", order, False)

    def forward(self, crops: Tensor, points_px: Tensor) -> Tensor:
        """Return all landmarks [n, 136, 2] in crop pixels, those of the parts set anew.

        Args:
            crops: [n, 3, 128, 128] in [-1, 1].
            points_px: [n, 136, 2] of the first look.
        """
        looks = [
            self.eye(crops, points_px, LEFT_EYE),
            self.eye(crops, points_px, RIGHT_EYE),
            self.mouth(crops, points_px, MOUTH),
        ]
        return torch.cat([points_px, *looks], 1)[:, self.order]
