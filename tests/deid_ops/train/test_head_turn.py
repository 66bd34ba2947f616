"""A turned head: the picture follows its landmarks, the border stays."""

from __future__ import annotations

import numpy as np

from deid_ops.train.head_turn import TurnedHead, drawn_along, turn, turned_head


def _spots(points: np.ndarray) -> np.ndarray:
    picture = np.zeros((128, 128, 3), np.uint8)
    for x, y in np.rint(points)[:, :2].astype(int):
        picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    return picture


def test_the_picture_follows_its_points() -> None:
    rng = np.random.default_rng(0)
    axis = [40, 64, 88]
    points = np.stack(np.meshgrid(axis, axis, [0]), -1).reshape(-1, 3).astype(np.float32)
    moved = points + rng.uniform(-4, 4, points.shape).astype(np.float32)
    head = TurnedHead(moved, np.ones(len(moved), np.float32))
    drawn = drawn_along(_spots(points), points, head)[..., 0].astype(float)
    for x, y, _ in moved:
        near = np.s_[int(y) - 5 : int(y) + 7, int(x) - 5 : int(x) + 7]
        ys, xs = np.indices(drawn[near].shape)
        total = drawn[near].sum()
        assert total > 500
        assert abs((xs * drawn[near]).sum() / total + int(x) - 5 - x) < 1.5
        assert abs((ys * drawn[near]).sum() / total + int(y) - 5 - y) < 1.5


def test_the_border_stays_and_nothing_moves_without_a_turn() -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)
    mesh = rng.uniform(30, 98, (60, 3)).astype(np.float32)
    assert np.array_equal(turn(picture, mesh, rng, 0.0), picture)
    turned = turn(picture, mesh, np.random.default_rng(2), 20.0)
    assert (turned[40:90, 40:90] != picture[40:90, 40:90]).mean() > 0.5
    corners = [np.s_[:1, :1], np.s_[:1, -1:], np.s_[-1:, :1], np.s_[-1:, -1:]]
    assert all(np.abs(turned[c].astype(int) - picture[c]).max() < 90 for c in corners)


def test_what_goes_behind_the_edge_moves_nothing() -> None:
    """A ball's front, turned: its far side is out of view, and a hidden point draws nothing."""
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(400, 3))
    directions[:, 2] = -np.abs(directions[:, 2])  # towards the camera
    ball = 64 + 40 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    head = turned_head(ball.astype(np.float32), np.random.default_rng(0), 40.0)
    moved_to_the_edge = np.linalg.norm(head.mesh_xyz_px[:, :2] - 64, axis=1) < 25
    assert head.in_view[moved_to_the_edge].mean() > 0.95
    assert 0.05 < (head.in_view < 0.2).mean() < 0.4
    point = np.float32([[64, 64, 0]])
    picture = _spots(point[:, :2])
    hidden = TurnedHead(point + 9, np.zeros(1, np.float32))
    assert np.array_equal(drawn_along(picture, point, hidden), picture)
    seen = TurnedHead(point + 9, np.ones(1, np.float32))
    assert not np.array_equal(drawn_along(picture, point, seen), picture)
