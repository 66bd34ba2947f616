"""Second looks: frames, mirrors, patches."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from deid_ops.models.refine import (
    EYE_WINDOW,
    LEFT_EYE,
    MOUTH,
    RIGHT_EYE,
    LookConfig,
    PartFrame,
    SecondLook,
    SecondLooks,
)
from deid_ops.swap.layout import N_POINTS, group_slice, position_of

SMALL = LookConfig((4, 4), 8)


def _points(n: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    points = torch.rand(n, N_POINTS, 2, generator=draw) * 60 + 30
    for left, right, y in ((33, 133, 50.0), (362, 263, 51.0), (61, 291, 92.0)):
        x = 35.0 if left == 33 else 75.0 if left == 362 else 48.0
        points[:, position_of(left)] = torch.tensor([x, y])
        points[:, position_of(right)] = torch.tensor([x + 16, y + 2])
    return points


@pytest.mark.parametrize("part", [LEFT_EYE, RIGHT_EYE, MOUTH])
def test_frame_there_and_back(part) -> None:
    points = _points()
    frame = PartFrame(points, part)
    assert torch.allclose(frame.to_crop(frame.from_crop(points)), points, atol=1e-3)
    ends = frame.from_crop(points[:, [part.first, part.second]])
    assert torch.allclose(ends, torch.tensor([[-0.5, 0.0], [0.5, 0.0]]).expand(2, 2, 2), atol=1e-5)
    below = frame.to_crop(torch.tensor([[[0.0, 1.0]]]))[:, 0]
    assert (below[:, 1] > frame.origin[:, 1]).all()  # y runs towards the chin, in the mirror too


def test_an_eye_seen_from_the_side_keeps_a_frame() -> None:
    points = _points(1)
    points[0, LEFT_EYE.second] = points[0, LEFT_EYE.first]
    frame = PartFrame(points, LEFT_EYE)
    assert torch.isfinite(frame.from_crop(points)).all()


def test_both_eyes_are_the_same_eye_in_the_mirror() -> None:
    """A mirrored face gives mirrored landmarks: one network serves both eyes."""
    torch.manual_seed(1)
    image, points = torch.rand(1, 3, 128, 128), _points(1)
    look = SecondLook(points[0], LEFT_EYE, EYE_WINDOW, SMALL).eval()
    torch.nn.init.normal_(look.head[-1].weight, std=0.3)  # type: ignore[arg-type]
    left = look(image, points, LEFT_EYE)
    mirrored = points.clone()
    for mine, other in ((RIGHT_EYE.first, LEFT_EYE.first), (RIGHT_EYE.second, LEFT_EYE.second)):
        mirrored[:, mine] = torch.stack([127 - points[:, other, 0], points[:, other, 1]], 1)
    right = look(image.flip(3), mirrored, RIGHT_EYE)
    assert torch.allclose(right[..., 0], 127 - left[..., 0], atol=1e-3)
    assert torch.allclose(right[..., 1], left[..., 1], atol=1e-3)


def test_partners_of_the_eyes_stand_in_the_same_order() -> None:
    assert len(LEFT_EYE.points) == len(RIGHT_EYE.points) == len(set(RIGHT_EYE.points)) == 21
    irises = [part.points.index(position_of(i)) for part, i in ((LEFT_EYE, 469), (RIGHT_EYE, 476))]
    assert irises[0] == irises[1]


def test_what_moves_is_looked_at_again_and_the_rest_stays() -> None:
    torch.manual_seed(2)
    points = _points()
    looks = SecondLooks(points.mean(0), SMALL).eval()
    got = looks(torch.rand(2, 3, 128, 128), points)
    for name in ("contour", "left_brow", "nose"):
        assert torch.equal(got[:, group_slice(name)], points[:, group_slice(name)]), name
    seen = [i for part in (LEFT_EYE, RIGHT_EYE, MOUTH) for i in part.points]
    moved = (got[:, seen] - points[:, seen]).abs().amax(-1) > 1e-3
    assert moved.float().mean() > 0.9


def test_second_look_learns_where_a_spot_is() -> None:
    """The patch is cut where the frame says: a spot's place can be learnt from it."""
    torch.manual_seed(3)
    points = _points(1)
    look = SecondLook(points[0], LEFT_EYE, EYE_WINDOW, LookConfig((8, 8, 8), 16))
    optimiser = torch.optim.Adam(look.parameters(), 1e-2)
    grid = torch.arange(128.0)
    losses = []
    for _ in range(80):
        spot = torch.rand(16, 2) * torch.tensor([12.0, 6.0]) + torch.tensor([37.0, 47.0])
        square = (grid - spot[:, 0, None])[:, None] ** 2 + (grid - spot[:, 1, None])[
            :, :, None
        ] ** 2
        images = torch.exp(-square / 8)[:, None].expand(-1, 3, -1, -1)
        got = look(images, points.expand(16, -1, -1), LEFT_EYE)[:, 0]
        loss = functional.mse_loss(got, spot)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) / 5 < 0.25 * losses[0]
