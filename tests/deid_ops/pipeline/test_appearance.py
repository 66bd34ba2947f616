"""What shows of every anchor's painted faces."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from deid_ops.pipeline import appearance
from deid_ops.pipeline.appearance import glare_of, paint_anchors
from deid_ops.swap.conditions import FaceConditions
from deid_ops.types import F32, U8


class Blend:
    """Paints the anchor's first number as brightness, mixed with the crop it is given."""

    def find_points(self, crops_bgr: U8) -> F32:
        raise AssertionError("the crops are cut as they are")

    def read(self, crops_bgr: U8) -> FaceConditions:
        self.n_read = len(crops_bgr)
        return FaceConditions.blank(len(crops_bgr))

    def missed_px(
        self,
        crops_bgr: U8,
        wanted: FaceConditions,
        told: FaceConditions,
        anchors_unit: F32,
        crop_from_frame: F32,
    ) -> F32:
        raise AssertionError("how an anchor looks does not depend on half a degree of pose")

    def __call__(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> U8:
        assert len(conditions) == len(anchors_unit) == len(crops_bgr)
        wish = anchors_unit[:, 0].reshape(-1, 1, 1, 1) * 100
        return np.asarray(crops_bgr / 2 + wish, dtype=np.uint8)


def level(painted: U8) -> F32:
    mean = painted.reshape(len(painted), -1).mean(axis=1, dtype=np.float32)
    return np.stack([mean, np.ones_like(mean)], axis=1)


def test_each_anchor_gets_the_mean_over_the_faces() -> None:
    crops = np.zeros((2, 128, 128, 3), np.uint8)
    crops[1] = 40
    anchors = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], np.float32)
    done: list[int] = []
    paint = Blend()
    seen = paint_anchors(paint, level, lambda c: 2 * level(c), crops, anchors, done.append)
    assert paint.n_read == 2
    assert done == [1, 2, 3]
    np.testing.assert_allclose(seen.judged, [[110, 1], [60, 1], [10, 1]])
    np.testing.assert_allclose(seen.own, 2 * seen.judged)
    assert seen.glare.shape == (3,)


def test_glare_is_what_is_brighter_than_around_it_within_the_face() -> None:
    face = np.zeros((128, 128), np.bool_)
    face[32:96, 32:96] = True
    crops = np.full((3, 128, 128, 3), 100, np.uint8)
    crops[0, 40:88, 62:66] = 200  # a stripe along the nose
    crops[1, 5:20, 5:20] = 200  # outside the face
    crops[2] += np.arange(128, dtype=np.uint8)[None, :, None] // 4  # light from one side
    stripe, beside, slope = glare_of(crops, np.repeat(face[None], 3, axis=0))
    assert stripe > 0.2
    assert beside == pytest.approx(0, abs=1e-6)
    assert slope < 0.02
    assert glare_of(crops[:1], np.zeros((1, 128, 128), np.bool_)).tolist() == [0.0]


def test_the_examples_hold() -> None:
    result = doctest.testmod(appearance)
    assert result.attempted > 0
    assert result.failed == 0
