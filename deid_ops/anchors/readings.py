"""What can be read off a vector of the conditioning space by a linear function: sex, age.

For the making of a bank alone; nothing is ever read off a person who is anonymized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.types import F32

Floats = npt.NDArray[np.floating[Any]]
_RIDGE = 10.0


@dataclass(frozen=True, slots=True)
class Readings:
    """Linear functions of a vector.

    Attributes:
        weights: `[k, d + 1]` float32; the last column is added.
    """

    weights: F32

    def read(self, vectors_unit: Floats) -> F32:
        """Return the readings `[n, k]` of vectors `[n, d]`.

        Example:
            >>> r = Readings(np.float32([[2, 0, 1]]))
            >>> r.read(np.float32([[1, 0], [0, 1]])).tolist()
            [[3.0], [1.0]]
        """
        values = vectors_unit @ self.weights[:, :-1].T + self.weights[:, -1]
        return np.asarray(values, dtype=np.float32)


def fit_readings(vectors_unit: Floats, labels: Floats) -> Readings:
    """Fit the readings by ridge regression.

    Args:
        vectors_unit: `[n, d]` faces in the conditioning space.
        labels: `[n, k]`.
    """
    ones = np.ones((len(vectors_unit), 1))
    x = np.concatenate([vectors_unit.astype(np.float64), ones], axis=1)
    gram = x.T @ x + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ labels.astype(np.float64)).T
    return Readings(weights.astype(np.float32))
