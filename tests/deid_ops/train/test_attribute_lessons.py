"""What the attribute network is taught with."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_pack import write_pack

from deid_ops.swap.crop import CROP_SIZE_PX, EYE_DISTANCE_PX
from deid_ops.swap.layout import MESH_INDEX, POINT_MIRROR, mirrored_points
from deid_ops.train import attribute_lessons
from deid_ops.train.attribute_lessons import (
    AttributeLabels,
    OnlineLabeller,
    load_labels,
    online_lessons,
    pose_chances,
    stored_lessons,
)
from deid_ops.train.attributes import AttributeTraining, held_out_errors, train_attributes
from deid_ops.train.loop import Budget
from deid_ops.train.shape import layout_points, pose_labels
from deid_ops.train.teachers import mean_mesh
from deid_ops.types import F32, U8


class BrightestPoint:
    """Stands for the teachers: every landmark lies at the crop's brightest place."""

    def __init__(self, presence: float) -> None:
        self.presence = presence
        self.seen: list[U8] = []

    def mesh(self, fine_rgb: U8) -> tuple[F32, F32]:
        self.seen.append(fine_rgb)
        flat = fine_rgb.mean(-1).reshape(len(fine_rgb), -1).argmax(1)
        y, x = np.divmod(flat, fine_rgb.shape[2])
        mesh = np.zeros((len(fine_rgb), 478, 3), np.float32)
        mesh[..., 0], mesh[..., 1] = (x / 2)[:, None], (y / 2)[:, None]
        mesh += np.random.default_rng(0).normal(0, 5, (1, 478, 3)).astype(np.float32)
        presence = np.full(len(fine_rgb), self.presence, np.float32)
        presence[0] = 0.0
        return mesh, presence

    def expression(self, mesh_xyz_px: F32) -> F32:
        return np.full((len(mesh_xyz_px), 52), 0.25, np.float32)


def test_online_labels_are_of_the_very_picture_and_doubtful_ones_are_left_out(
    flat_shape, tmp_path: Path
) -> None:
    pack = write_pack(tmp_path / "pack", 20)
    teachers = BrightestPoint(0.9)
    mean = np.asarray(pack.columns["expression"][pack.rows(0)])
    lesson = online_lessons(pack, 6, OnlineLabeller(teachers, flat_shape, mean))(
        np.random.default_rng(3)
    )
    assert lesson.images01.shape == (5, 3, 128, 128)  # the first was no face
    again, _ = mean_mesh(teachers, teachers.seen[0])  # type: ignore[arg-type]
    np.testing.assert_allclose(lesson.points_px.numpy(), again[1:, list(MESH_INDEX), :2])
    pose = pose_labels(again[1:], flat_shape, mean.mean(0, keepdims=True))
    np.testing.assert_allclose(lesson.pose_deg.numpy(), pose, atol=1e-4)


def test_labels_are_the_mean_of_two_readings(flat_shape) -> None:
    teachers = BrightestPoint(0.9)
    labeller = OnlineLabeller(teachers, flat_shape, np.zeros((1, 52), np.float32))
    crops = np.random.default_rng(4).integers(0, 256, (3, 128, 128, 3)).astype(np.uint8)
    labels = labeller(crops)
    asis, mirrored = teachers.seen
    np.testing.assert_array_equal(mirrored, asis[:, :, ::-1])
    first, second = (layout_points(teachers.mesh(seen)[0][1:]) for seen in (asis, mirrored))
    back = mirrored_points(second, POINT_MIRROR, CROP_SIZE_PX)
    np.testing.assert_allclose(labels.points_px, (first + back) / 2, atol=1e-4)
    assert np.abs(first - back).max() > 1.0


def test_a_pose_does_not_depend_on_its_batch(flat_shape) -> None:
    rng = np.random.default_rng(1)
    labeller = OnlineLabeller(BrightestPoint(0.9), flat_shape, rng.random((9, 52), np.float32))
    crops = rng.integers(0, 256, (4, 128, 128, 3)).astype(np.uint8)
    together, pair = labeller(crops), labeller(crops[[0, 2]])
    np.testing.assert_array_equal(together.pose_deg[1], pair.pose_deg[0])


def test_stored_labels_move_with_the_jitter(small_pack, flat_shape) -> None:
    labels = load_labels(small_pack, flat_shape, 0)
    one = AttributeLabels(*(v[:1] for v in (
        labels.crops_rgb, labels.points_px, labels.pose_deg, labels.expression,
    )))  # fmt: skip
    lesson = stored_lessons(one, 16)(np.random.default_rng(0))
    assert lesson.points_px.std(0).mean() > 1.0
    sizes = (lesson.points_px - lesson.points_px.mean(1, keepdim=True)).norm(dim=2).mean(1)
    own = np.linalg.norm(one.points_px[0] - one.points_px[0].mean(0), axis=1).mean()
    assert torch.all((sizes / own - 1).abs() < 0.14)  # scaled by up to 12 %, never bent


def test_held_out_labels_may_be_a_sample(small_pack, flat_shape) -> None:
    everything = load_labels(small_pack, flat_shape, 1)
    assert len(load_labels(small_pack, flat_shape, 1, 2).points_px) == 2
    assert len(load_labels(small_pack, flat_shape, 1, 10**6).points_px) == len(everything.points_px)


def test_held_out_errors_are_measured_in_eye_distances_and_degrees(small_pack, flat_shape) -> None:
    held = load_labels(small_pack, flat_shape, 1)

    class Shifted:
        """Reads everything right, but 2 px too far right and rolled by 3 degrees."""

        def __init__(self) -> None:
            self.done = 0

        def __call__(self, images01: torch.Tensor) -> tuple[torch.Tensor, ...]:
            part = slice(self.done, self.done + len(images01))
            self.done += len(images01)
            points = torch.from_numpy(held.points_px[part]) + torch.tensor([2.0, 0.0])
            pose = torch.from_numpy(held.pose_deg[part]) + torch.tensor([3.0, 0.0, 0.0])
            return points, pose, torch.zeros(len(points), 52)

    found = held_out_errors(Shifted(), held, batch=5)  # type: ignore[arg-type]
    assert found["held_landmark_shift_percent"] == pytest.approx(200 / EYE_DISTANCE_PX, rel=1e-4)
    assert found["held_pose_error_deg"] == pytest.approx(3.0, abs=1e-2)


def test_training_reports_them(small_pack, flat_shape) -> None:
    rows: list[dict[str, float]] = []
    config = AttributeTraining(batch=4, warmup=2, validate_every=2, validation_rows=3)
    budget = Budget(4, report_every=100)
    train_attributes(
        small_pack, flat_shape, config, budget, None, lambda: 0.0, lambda _, r: rows.append(dict(r))
    )
    assert [set(row) for row in rows] == [
        {"held_landmark_shift_percent", "held_pose_error_deg"}
    ] * 2


def test_turned_faces_are_drawn_more_often_but_not_without_end() -> None:
    pose = np.zeros((200, 3), np.float32)
    pose[0, 2], pose[1, 1], pose[2, 0] = 15.0, -80.0, 90.0
    chances = pose_chances(pose)
    assert chances.sum() == pytest.approx(1.0)
    assert chances[:3] / chances[-1] == pytest.approx([2.0, 6.0, 1.0])  # a roll is no turn
    assert doctest.testmod(attribute_lessons).failed == 0
