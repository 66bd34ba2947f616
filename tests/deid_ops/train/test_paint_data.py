"""The painters' faces: as stored, or with heads that are turned and told as turned."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import torch

from deid_ops.geometry import similarity_from_points, transform_points
from deid_ops.swap.crop import TEMPLATE_PX, warp_crop
from deid_ops.swap.layout import five_points
from deid_ops.swap.retarget import FaceShape, retarget
from deid_ops.train import painting
from deid_ops.train.data import Pack
from deid_ops.train.loop import State
from deid_ops.train.paint_data import Misplacing, faces_at, load_paint_data, placed
from deid_ops.train.painting import GeneratorTraining, draw_batch, pairs_of


def test_faces_are_taken_as_they_are(small_pack: Pack, flat_shape: FaceShape) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    rows = np.array([3, 0, 3])
    faces = faces_at(data, rows, np.zeros(3, dtype=bool), 30.0, np.random.default_rng(0))
    assert np.array_equal(faces.crops_rgb, data.crops_rgb[rows])
    assert np.array_equal(faces.points_px, data.points_px[rows])
    assert np.array_equal(faces.pose_deg, data.pose_deg[rows])
    assert faces.inside.shape == (3, 128, 128)
    assert set(np.unique(faces.inside)) <= {0.0, 1.0}


def test_sources_are_drawn_equally_often(small_pack: Pack, flat_shape: FaceShape) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    n = len(data.points_px)
    assert np.array_equal(np.concatenate(data.rows_by_source), np.arange(n))  # the pack has one
    few, many = np.arange(2), np.arange(2, n)
    drawn = replace(data, rows_by_source=(few, many)).draw_rows(4000, np.random.default_rng(0))
    assert 0.46 < np.isin(drawn, few).mean() < 0.54
    assert set(drawn.tolist()) == set(range(n))


def test_a_turned_head_is_told_as_turned(small_pack: Pack, flat_shape: FaceShape) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    rows = np.arange(12)
    before = (data.crops_rgb.copy(), data.points_px.copy(), data.pose_deg.copy())
    turned = np.arange(12) % 3 == 1
    faces = faces_at(data, rows, turned, 30.0, np.random.default_rng(1))
    for kept, now in zip(before, (data.crops_rgb, data.points_px, data.pose_deg), strict=True):
        assert np.array_equal(kept, now)  # the data is not written to
    moved = np.abs(faces.points_px - data.points_px[rows]).max((1, 2)) > 0.5
    redrawn = (faces.crops_rgb != data.crops_rgb[rows]).any((1, 2, 3))
    assert np.array_equal(moved, turned)
    assert np.array_equal(moved, redrawn)
    assert np.array_equal(moved, np.abs(faces.pose_deg - data.pose_deg[rows]).max(1) > 0.5)


def test_others_come_in_pairs_of_one_person_in_two_poses(
    small_pack: Pack, flat_shape: FaceShape
) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    parts = torch.ones((1, 3, 128, 1)) / 3
    batch = draw_batch(data, GeneratorTraining(), State({}, 4), parts, swapping=True)
    first, second = pairs_of(batch.own.numpy())
    assert len(first) >= 2
    assert torch.equal(batch.own_unit[first], batch.own_unit[second])
    assert torch.equal(batch.wanted_unit[first], batch.wanted_unit[second])
    apart = (batch.pose_deg[first] - batch.pose_deg[second]).abs().amax(1)
    assert float(apart.median()) > 5.0
    own = batch.own.numpy()
    assert torch.equal(batch.own_unit[own], batch.wanted_unit[own])


def test_examples() -> None:
    assert doctest.testmod(painting).failed == 0


def test_faces_are_placed_as_the_job_places_them(small_pack: Pack, flat_shape: FaceShape) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    rows = np.arange(8)
    before = faces_at(data, rows, rows % 2 == 0, 30.0, np.random.default_rng(0))
    exact = placed(before, Misplacing(0.0, 0.0, 0.0), np.random.default_rng(1))
    # a similarity leaves a rest: profiles have no template of their own
    assert np.abs(five_points(exact.points_px).mean(1) - TEMPLATE_PX.mean(0)).max() < 1e-2
    matrices = similarity_from_points(before.points_px, exact.points_px)
    on_its_way = transform_points(matrices, before.points_px)
    np.testing.assert_allclose(on_its_way, exact.points_px, atol=1e-2)
    roll_deg = np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    np.testing.assert_allclose(exact.pose_deg[:, 0] - before.pose_deg[:, 0], roll_deg, atol=1e-3)
    np.testing.assert_array_equal(exact.pose_deg[:, 1:], before.pose_deg[:, 1:])
    again = warp_crop(before.crops_rgb[3], matrices[3].astype(np.float32))
    middle = np.s_[30:100, 30:100]
    near = np.abs(again[middle].astype(int) - exact.crops_rgb[3][middle])
    assert near.mean() < 4.0  # one is cubic, the other linear
    off = placed(before, Misplacing(0.8, 0.015, 1.0), np.random.default_rng(2))
    moved = np.linalg.norm(five_points(off.points_px) - five_points(exact.points_px), axis=2)
    assert 0.4 < float(moved.mean()) < 2.5


def test_placing_tells_the_pose_that_the_landmarks_have(
    small_pack: Pack, flat_shape: FaceShape
) -> None:
    """The mean face in the new pose lies where the moved points do."""
    data = load_paint_data(small_pack, flat_shape, 0)
    rows = np.arange(6)
    before = faces_at(data, rows, rows < 0, 30.0, np.random.default_rng(0))
    off = placed(before, Misplacing(2.0, 0.1, 12.0), np.random.default_rng(3))
    again = retarget(flat_shape, off.points_px, off.pose_deg, data.expression[rows])
    np.testing.assert_allclose(again, off.points_px, atol=0.15)
