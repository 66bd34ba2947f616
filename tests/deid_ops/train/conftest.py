"""A small pack of drawn faces, and teachers that need no files."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_pack import write_pack

from deid_ops.swap.layout import N_POINTS
from deid_ops.swap.retarget import FaceShape
from deid_ops.train.data import Pack


@pytest.fixture(scope="session")
def small_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("pack") / "pack", 60)


@pytest.fixture(scope="session")
def flat_shape() -> FaceShape:
    rng = np.random.default_rng(3)
    return FaceShape(
        rng.normal(0, 1, (N_POINTS, 3)).astype(np.float32),
        np.zeros((52, N_POINTS, 3), np.float32),
    )
