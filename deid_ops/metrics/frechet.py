"""Frechet distance between two sets of embeddings (Heusel et al. 2017), in a judge's space.

The project measures realism in the space of a judging face encoder instead of Inception's: the
encoder is on every machine, and it looks at faces. Figures are comparable only within one encoder,
one number of samples and one alignment.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.types import F32

F64 = npt.NDArray[np.float64]


def gaussian(embeddings: F32) -> tuple[F64, F64]:
    """Return mean `[d]` and covariance `[d, d]` of `[n, d]` embeddings, n >= 2."""
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise InvariantError(f"frechet: expected [n >= 2, d], got {embeddings.shape}")
    x = embeddings.astype(np.float64)
    return x.mean(axis=0), np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])


def frechet_distance(first: F32, second: F32) -> float:
    """Return `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^.5 S2 S1^.5)^.5)`, never below 0.

    The estimate is biased upwards for few samples; compare sets of equal size only.

    Example:
        >>> a = np.array([[0, 0], [2, 0], [0, 2], [2, 2]], np.float32)
        >>> round(frechet_distance(a, a + 3), 6)
        18.0
    """
    mean_1, cov_1 = gaussian(first)
    mean_2, cov_2 = gaussian(second)
    if mean_1.shape != mean_2.shape:
        raise InvariantError(f"frechet: dimensions {mean_1.shape} and {mean_2.shape} differ")
    root_1 = _symmetric_root(cov_1)
    cross = _symmetric_root(root_1 @ cov_2 @ root_1)
    shift = mean_1 - mean_2
    value = shift @ shift + np.trace(cov_1) + np.trace(cov_2) - 2 * np.trace(cross)
    return max(0.0, float(value))


def _symmetric_root(matrix: F64) -> F64:
    """Return the square root of a symmetric positive semidefinite matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return np.asarray(root, dtype=np.float64)
