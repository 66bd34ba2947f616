"""What a judge makes of every anchor's painted faces."""

from __future__ import annotations

import numpy as np

from deid_ops.pipeline.appearance import most_distinct, painted_appearance
from deid_ops.swap.conditions import FaceConditions
from deid_ops.types import F32, U8


class Blend:
    """Paints the anchor's first number as brightness, mixed with the crop it is given."""

    def find_points(self, crops_bgr: U8) -> F32:
        raise AssertionError("the crops are cut as they are")

    def read(self, crops_bgr: U8) -> FaceConditions:
        self.n_read = len(crops_bgr)
        return FaceConditions.blank(len(crops_bgr))

    def aim(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> FaceConditions:
        raise AssertionError("how an anchor looks does not depend on half a degree of pose")

    def __call__(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> U8:
        assert len(conditions) == len(anchors_unit) == len(crops_bgr)
        wish = anchors_unit[:, 0].reshape(-1, 1, 1, 1) * 100
        return np.asarray(crops_bgr / 2 + wish, dtype=np.uint8)


def test_each_anchor_gets_the_mean_over_the_faces() -> None:
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    crops[1] = 40
    anchors = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], np.float32)
    paint, done = Blend(), []

    def embed(painted: U8) -> F32:
        level = painted.reshape(len(painted), -1).mean(axis=1, dtype=np.float32)
        return np.stack([level, np.ones_like(level)], axis=1)

    seen = painted_appearance(paint, embed, crops, anchors, done.append)
    assert paint.n_read == 2
    assert done == [1, 2, 3]
    np.testing.assert_allclose(seen, [[110, 1], [60, 1], [10, 1]])


def test_the_most_distinct_are_spread_over_all() -> None:
    angle = np.deg2rad(np.float32([0, 2, 4, 118, 120, 122, 240, 242]))
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert most_distinct(circle, 1).tolist() == [0]
    three = most_distinct(circle, 3)
    assert three[0] == 0
    assert (three[1] in (3, 4, 5), three[2] in (6, 7)) == (True, True)
    assert most_distinct(circle, 99).tolist() == list(range(8))
