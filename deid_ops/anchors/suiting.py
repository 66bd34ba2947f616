"""Which anchors suit a head: the same apparent sex, and about the same age.

Hair, clothes and hands stay when a face is replaced, and a face of another sex or age under them is
seen at once. Both can be read off a vector of the conditioning space by a linear function, off
anchors and people alike. What is read of a person is compared and dropped; it is stored nowhere.
But the new face tells it: where a man and a woman are the only people in view, it tells who is who.
So a person is best suited among others who are alike (`Suiting.alike`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError
from deid_ops.types import F32, I64

Floats = npt.NDArray[np.floating[Any]]
_RIDGE = 10.0


@dataclass(frozen=True, slots=True)
class Suiting:
    """Linear readings of a vector, and how far two that suit may differ in each.

    Attributes:
        weights: `[k, d + 1]` float32; the last column is added.
        tolerances: `[k]`, in the units of the readings.
        names: of the readings.
    """

    weights: F32
    tolerances: tuple[float, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Compare the shapes."""
        k = len(self.names)
        if self.weights.ndim != 2 or len(self.weights) != k or len(self.tolerances) != k:
            raise SetupError(
                f"suiting: {self.weights.shape} weights and {len(self.tolerances)} tolerances "
                f"for {k} readings"
            )

    def read(self, vectors_unit: Floats) -> F32:
        """Return the readings `[n, k]` of vectors `[n, d]`.

        Example:
            >>> s = Suiting(np.float32([[2, 0, 1]]), (0.5,), ("first",))
            >>> s.read(np.float32([[1, 0], [0, 1]])).tolist()
            [[3.0], [1.0]]
        """
        values = vectors_unit @ self.weights[:, :-1].T + self.weights[:, -1]
        return np.asarray(values, dtype=np.float32)

    def misfit(self, anchors_unit: Floats, person_unit: Floats) -> F32:
        """Return `[m]` how badly the anchors `[m, d]` suit a person `[d]`; up to 1 they do.

        The largest difference of a reading, in tolerances.
        """
        apart = np.abs(self.read(anchors_unit) - self.read(person_unit[None]))
        in_tolerances = apart / np.asarray(self.tolerances, dtype=np.float32)
        return np.asarray(in_tolerances.max(axis=1), dtype=np.float32)

    def alike(self, people_unit: Floats) -> I64:
        """Return for each of some people `[n, d]` how many of them would suit, itself included.

        Example:
            >>> s = Suiting(np.float32([[2, 0, 1]]), (0.5,), ("first",))
            >>> s.alike(np.float32([[1, 0], [0, 1], [0.9, 0.4]])).tolist()
            [2, 1, 2]
        """
        counts = [int((self.misfit(people_unit, person) <= 1.0).sum()) for person in people_unit]
        return np.asarray(counts, dtype=np.int64)


def fit_suiting(
    vectors_unit: Floats, labels: Floats, names: tuple[str, ...], tolerances: tuple[float, ...]
) -> Suiting:
    """Fit the readings by ridge regression.

    Args:
        vectors_unit: `[n, d]` faces in the conditioning space.
        labels: `[n, k]`.
        names: of the labels.
        tolerances: see `Suiting`.
    """
    ones = np.ones((len(vectors_unit), 1))
    x = np.concatenate([vectors_unit.astype(np.float64), ones], axis=1)
    gram = x.T @ x + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ labels.astype(np.float64)).T
    return Suiting(weights.astype(np.float32), tolerances, names)
