"""The mean shading finds what was planted in drawn faces, and nothing where no picture is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deid_ops.swap.retarget import FaceShape
from deid_ops.train.data import Pack
from deid_ops.train.paint_data import load_paint_data
from deid_ops.train.shading import mean_shading, mean_tint


def test_planted_shading_is_found(small_pack: Pack, flat_shape: FaceShape) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    n = len(data.points_px)
    square = np.array([[20, 20], [108, 20], [108, 108], [20, 108]], np.float32)
    points = np.tile(square[np.arange(136) % 4], (n, 1, 1))
    crops = np.full((n, 128, 128, 3), 120, np.uint8)
    crops[:, 64:80, 32:48] += 50  # left of the nose only: half of it on either side is found
    shown = np.full_like(data.inside_bits, 255)
    found = mean_shading(replace(data, points_px=points, crops_rgb=crops, inside_bits=shown))
    assert np.array_equal(found, found[:, ::-1])
    assert 0.06 < found[4, 2] < 0.12
    assert np.unravel_index(np.argmax(np.abs(found)), (8, 8)) in ((4, 2), (4, 5))
    assert not mean_tint(replace(data, points_px=points, crops_rgb=crops)).any()  # all grey
    crops[..., 0] += 20
    crops[:, 64:80, 32:48] = (180, 110, 120)  # redder, and no brighter than a grey patch is
    tinted = mean_tint(replace(data, points_px=points, crops_rgb=crops, inside_bits=shown))
    assert tinted[0, 4, 2] > 0.3 > tinted[1, 4, 2]
    assert np.abs(tinted.sum(axis=0)).max() < 1e-5
    hidden = np.zeros_like(shown)
    nothing = mean_shading(replace(data, points_px=points, crops_rgb=crops, inside_bits=hidden))
    assert not nothing.any()
