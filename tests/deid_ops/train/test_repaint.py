"""Painted faces among the lessons of the attribute network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import TEMPLATE_PX
from deid_ops.train.repaint import Repainter
from deid_ops.types import F32, U8

OFF_PX = 5.0
ANCHORS = np.eye(2, 128, dtype=np.float32)


def crops_rgb(n: int) -> U8:
    """Return red pictures with a blue left half."""
    crops = np.zeros((n, 128, 128, 3), np.uint8)
    crops[..., 0], crops[:, :, :64, 2] = 200, 200
    return crops


@dataclass
class Painter:
    """Finds faces `OFF_PX` to the right of where they should lie; paints the anchor's number."""

    read_bgr: list[U8] = field(default_factory=list)

    def find_points(self, crops_bgr: U8) -> F32:
        return np.tile(TEMPLATE_PX + np.float32([OFF_PX, 0]), (len(crops_bgr), 1, 1))

    def read(self, crops_bgr: U8) -> FaceConditions:
        self.read_bgr.append(crops_bgr)
        told = FaceConditions.blank(len(crops_bgr))
        turn = np.linspace(0, 2 * np.pi, told.points_px.shape[1])
        told.points_px[:] = 64 + 30 * np.stack([np.cos(turn), np.sin(turn)], 1)
        return told

    def __call__(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> U8:
        value = 50 + 100 * anchors_unit.argmax(axis=1).astype(np.uint8)
        return np.ones_like(crops_bgr) * value[:, None, None, None]


class Denoiser:
    """Paints the number of its noise's bytes, and asks for some."""

    def __call__(self, crops, conditions, anchors, strength, random_bytes):
        assert strength == 1.0
        assert len(crops) == len(conditions) == len(anchors)
        return np.full_like(crops, len(random_bytes(7)))


def test_some_are_painted_as_the_job_paints_and_the_others_stay() -> None:
    crops, painter = crops_rgb(200), Painter()
    repaint = Repainter(painter, Denoiser(), ANCHORS, share=0.5, diffused_share=0.0)
    out = repaint(crops, np.random.default_rng(0))
    changed = (out != crops).any(axis=(1, 2, 3))
    assert 0.35 < changed.mean() < 0.65
    assert set(np.unique(out[changed])) == {50, 150}  # both anchors
    # what the painter saw was blue, green, red, and cut where the face had been found
    (seen,) = painter.read_bgr
    assert len(seen) == changed.sum()
    edge = int(np.flatnonzero(seen[0, 64, :, 0] < 100)[0])
    assert edge == pytest.approx(64 - OFF_PX, abs=1)
    assert (seen[..., 2] > 190).all()
    assert (crops == crops_rgb(200)).all()


def test_the_diffused_are_blended_in_as_they_are_published() -> None:
    crops = crops_rgb(4)
    out = Repainter(Painter(), Denoiser(), ANCHORS, 1.0, 1.0)(crops, np.random.default_rng(1))
    assert (out[:, 64, 64] == 7).all()
    assert (out[:, 2, 125] == [200, 0, 0]).all()  # beyond the mask: the picture
    none = Repainter(Painter(), Denoiser(), ANCHORS, 0.0, 1.0)(crops, np.random.default_rng(1))
    assert none is crops
