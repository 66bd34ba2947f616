"""A turned head: the picture follows its landmarks, what is hidden is not drawn."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ops.geometry import transform_points
from deid_ops.swap.layout import MESH_SURFACE_POINTS
from deid_ops.train.head_turn import drawn_along, head_at, turn, turned_head
from tests.support.ball_head import ball_head

_SPOTS = (33, 263, 4, 61, 291)


def _picture(mesh: np.ndarray, index: int) -> np.ndarray:
    """Return a dark picture with a bright spot at one landmark."""
    picture = np.zeros((128, 128, 3), np.uint8)
    x, y = np.rint(mesh[index, :2]).astype(int)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    return picture


def _middle(picture: np.ndarray) -> np.ndarray:
    """Return where the light of a picture lies."""
    light = picture[..., 0].astype(float)
    assert light.sum() > 200
    ys, xs = np.indices(light.shape)
    return np.array([(xs * light).sum(), (ys * light).sum()]) / light.sum()


@pytest.mark.parametrize(("pitch", "yaw"), [(0.0, 25.0), (0.0, -25.0), (25.0, 0.0), (-20.0, 15.0)])
def test_the_picture_follows_its_landmarks(pitch: float, yaw: float) -> None:
    mesh = ball_head()
    head = head_at(mesh, pitch, yaw)
    for index in _SPOTS:
        moved = _middle(drawn_along(_picture(mesh, index), mesh, head))
        assert np.abs(moved - head.mesh_xyz_px[index, :2]).max() < 1.5


def test_nothing_moves_without_a_turn() -> None:
    mesh = ball_head()
    y, x = np.indices((128, 128))
    picture = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    same = drawn_along(picture, mesh, head_at(mesh, 0.0, 0.0))
    assert np.abs(same.astype(int) - picture).max() <= 2  # a pixel on an edge lies off by so much
    other = turn(picture, mesh, np.random.default_rng(2), 40.0)
    assert (np.abs(other.astype(int) - picture) > 2).mean() > 0.5


def test_what_goes_behind_the_edge_is_not_drawn() -> None:
    """A spot on a ball's side, turned away from the camera, is gone; towards it, it is there."""
    mesh = ball_head()
    beside = int(np.argmin(np.linalg.norm(mesh[:MESH_SURFACE_POINTS, :2] - (64 + 34, 64), axis=1)))
    picture = _picture(mesh, beside)
    away, towards = (drawn_along(picture, mesh, head_at(mesh, 0.0, yaw)) for yaw in (-50.0, 25.0))
    assert head_at(mesh, 0.0, -50.0).mesh_xyz_px[beside, 2] > 64.0  # behind the ball's middle
    assert away.max() < 64
    assert towards.max() > 128


def test_a_turned_head_is_aligned_as_a_detector_would() -> None:
    """Eyes, nose and mouth lie as near to their old places as a similarity can bring them."""
    mesh = ball_head()
    head = head_at(mesh, 0.0, 40.0)
    spots = list(_SPOTS)
    linear = head.aligned_from_crop[:, :2]
    assert np.sqrt(np.linalg.det(linear)) > 1.05  # it came nearer: turned, it is narrower
    unaligned = transform_points(
        np.linalg.inv(np.vstack([head.aligned_from_crop, [0, 0, 1]]))[None, :2],
        head.mesh_xyz_px[None, spots, :2],
    )[0]
    gaps = [np.square(p - mesh[spots, :2]).sum() for p in (head.mesh_xyz_px[spots, :2], unaligned)]
    assert gaps[0] < gaps[1]


def test_heads_are_turned_further_to_the_side_they_look_to() -> None:
    """And by no more than asked for."""
    mesh, rng = ball_head(), np.random.default_rng(4)

    def seen_deg(landmarks: np.ndarray) -> float:
        """Return the yaw of the line between the ball's left and right."""
        left, right = landmarks[234], landmarks[454]
        return float(np.rad2deg(np.arctan2(left[2] - right[2], right[0] - left[0])))

    straight = [seen_deg(turned_head(mesh, rng, 40.0).mesh_xyz_px) for _ in range(60)]
    assert min(straight) < -20.0
    assert max(straight) > 20.0
    assert np.abs(straight).max() < 46.0  # the pitch tilts the line a little
    turned = head_at(mesh, 0.0, 20.0).mesh_xyz_px
    further = [seen_deg(turned_head(turned, rng, 40.0).mesh_xyz_px) for _ in range(60)]
    assert min(further) > 15.0
    assert max(further) < 46.0
    beyond = head_at(mesh, 0.0, 55.0).mesh_xyz_px
    kept = [seen_deg(turned_head(beyond, rng, 40.0).mesh_xyz_px) for _ in range(20)]
    assert np.ptp(kept) < 12.0  # only up and down
