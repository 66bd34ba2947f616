"""M_tc: how much the identity of one face varies along its track.

The licentiate thesis reports mean and standard deviation of the within-video identity variation
over ten frames (0.150 / 0.074 on unmodified FaceForensics++) without saying which pairs are
compared. All three readings are computed; a figure names the one it uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.types import F32


@dataclass(frozen=True, slots=True)
class TemporalConsistency:
    """Cosine distances within one track; each variant as mean and standard deviation."""

    all_pairs_mean: float
    all_pairs_std: float
    consecutive_mean: float
    consecutive_std: float
    to_centroid_mean: float
    to_centroid_std: float
    n: int


def temporal_consistency(embeddings: F32) -> TemporalConsistency | None:
    """Return the three variants of M_tc for one track, or None for fewer than two embeddings.

    Args:
        embeddings: `[n, d]`, one row per frame in presentation order, of any non-zero length.

    Raises:
        InvariantError: the array is not two-dimensional, or a row has no length.

    Example:
        >>> m = temporal_consistency(np.array([[1, 0], [0, 1]], np.float32))
        >>> m.all_pairs_mean, m.consecutive_mean, round(m.to_centroid_mean, 4)
        (1.0, 1.0, 0.2929)
    """
    if embeddings.ndim != 2:
        raise InvariantError(f"temporal_consistency: expected [n, d], got {embeddings.shape}")
    if len(embeddings) < 2:
        return None
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    if np.any(lengths < 1e-9):
        raise InvariantError("temporal_consistency: an embedding is all zeros")
    unit = embeddings / lengths
    upper = np.triu_indices(len(unit), k=1)
    pairs = (1.0 - unit @ unit.T)[upper]
    steps = 1.0 - np.sum(unit[1:] * unit[:-1], axis=1)
    centroid = unit.mean(axis=0)
    spread = 1.0 - unit @ (centroid / max(float(np.linalg.norm(centroid)), 1e-12))
    return TemporalConsistency(
        float(pairs.mean()),
        float(pairs.std()),
        float(steps.mean()),
        float(steps.std()),
        float(spread.mean()),
        float(spread.std()),
        len(unit),
    )


def evenly_spaced_rows(n_rows: int, n_wanted: int) -> list[int]:
    """Return at most `n_wanted` row numbers spread over a track, as the thesis takes ten frames.

    Example:
        >>> evenly_spaced_rows(100, 4)
        [0, 33, 66, 99]
    """
    if n_rows <= n_wanted:
        return list(range(n_rows))
    return sorted({int(x) for x in np.linspace(0, n_rows - 1, n_wanted)})
