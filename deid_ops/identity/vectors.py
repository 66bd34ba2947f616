"""Arithmetic on identity vectors that knows no encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.types import F32


def unit_rows(vectors: npt.NDArray[Any]) -> F32:
    """Scale the rows of [n, d] to unit length; rows of zeros stay.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
