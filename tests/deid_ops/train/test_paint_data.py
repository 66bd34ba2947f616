"""The painters' faces: as stored, or with heads that are turned and told as turned."""

from __future__ import annotations

import doctest

import numpy as np
import torch

from deid_ops.swap.retarget import FaceShape
from deid_ops.train import painting
from deid_ops.train.data import Pack
from deid_ops.train.loop import State
from deid_ops.train.paint_data import faces_at, load_paint_data
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
