"""Worse cameras: every way keeps the size and takes detail."""

from __future__ import annotations

import numpy as np

from deid_ops.train.camera import as_footage, degrade


def test_every_way_of_losing_detail_loses_or_adds_some() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 220, (7, 7, 3)).astype(np.uint8)
    face = coarse.repeat(16, axis=0).repeat(16, axis=1)
    for _ in range(30):
        worse = degrade(face, rng)
        assert worse.shape == face.shape
        assert worse.dtype == np.uint8
        assert 0.1 < np.abs(worse.astype(int) - face).mean() < 60


def test_footage_keeps_the_size_and_takes_the_detail() -> None:
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (128, 128, 3)).astype(np.uint8)  # nothing but detail
    kept = []
    for _ in range(60):
        shown = as_footage(face, rng)
        assert shown.shape == face.shape
        assert shown.dtype == np.uint8
        kept.append(np.corrcoef(shown.ravel(), face.ravel())[0, 1])
    assert np.median(kept) < 0.6
    assert min(kept) < 0.2
