"""Synthetic identities: a density model of the conditioning space, sampled and kept apart.

Method: the unit vectors of some faces are described by a mixture of Gaussians in the subspace of
their largest principal components (full covariances, expectation-maximisation); vectors drawn from
it are scaled to unit length. A draw is kept only if it lies at least `min_to_training` (cosine
distance) from *every* training vector and `min_apart` from every anchor kept before: no anchor is a
person the model was fitted to, or nearer to one than every second of these is to somebody else
(0.29 in the pack of the shipped bank). Both distances are reported.

Which faces the density describes decides what is painted: `jobs/training_bank.py`. Draws may be
refused for further reasons (`wanted`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deid_ops.anchors.bank import AnchorBank
from deid_ops.errors import SetupError
from deid_ops.types import F32, F64, Bool

REGULARISATION = 1e-4
CHUNK = 512
_FACES_EACH = 10  # of a component, at least


@dataclass(frozen=True, slots=True)
class DensityConfig:
    """How the bank is made.

    Attributes:
        n_anchors: in the bank.
        components: Gaussians of the mixture; fewer where each would have too few faces.
        dims: principal directions.
        iterations: of expectation-maximisation, at most.
        spread: factor on the draws' deviation from a component's mean.
        min_to_training: cosine distance to every training face.
        min_apart: cosine distance between two anchors.
        max_draws: before it is given up.
        seed: the same seed and data give the same bank.
    """

    n_anchors: int = 4096
    components: int = 16
    dims: int = 64
    iterations: int = 25
    spread: float = 1.1
    min_to_training: float = 0.3
    min_apart: float = 0.3
    max_draws: int = 400_000
    seed: int = 41


@dataclass(frozen=True, slots=True)
class Mixture:
    """Gaussians in a linear subspace of the embedding space."""

    centre: F64  # [d]
    axes: F64  # [dims, d] orthonormal rows
    weights: F64  # [k]
    means: F64  # [k, dims]
    factors: F64  # [k, dims, dims] lower Cholesky factors of the covariances
    log_likelihood: float  # mean over the data, in nats

    def draw(self, n: int, rng: np.random.Generator, spread: float = 1.0) -> F32:
        """Draw `n` unit vectors [n, d], `spread` times as far from the means."""
        chosen = rng.choice(len(self.weights), n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        away = np.einsum("nij,nj->ni", self.factors[chosen], spread * noise)
        points = self.means[chosen] + away
        vectors = points @ self.axes + self.centre
        return _unit(vectors)

    def log_density(self, vectors_unit: F32) -> F64:
        """Return the logarithm of the density [n] at vectors [n, d], within the subspace."""
        points = (vectors_unit.astype(np.float64) - self.centre) @ self.axes.T
        logs = _log_densities(points, self.weights, self.means, self.factors)
        return _log_of_sum(logs)[:, 0]


def fit_mixture(vectors_unit: F32, config: DensityConfig) -> Mixture:
    """Fit the mixture.

    Args:
        vectors_unit: [n, d] training identities.
        config: components, dimensions, iterations, seed.

    Raises:
        SetupError: there are fewer than ten vectors.
    """
    n, d = vectors_unit.shape
    components = min(config.components, n // _FACES_EACH)
    if components < 1:
        raise SetupError(f"density: {n} vectors are too few, {_FACES_EACH} are needed")
    data = vectors_unit.astype(np.float64)
    centre = data.mean(0)
    _, _, axes = np.linalg.svd(np.cov((data - centre).T), full_matrices=False, hermitian=True)
    axes = axes[: min(config.dims, d)]
    points = (data - centre) @ axes.T
    rng = np.random.default_rng(config.seed)
    means = points[rng.choice(n, components, replace=False)]
    weights = np.full(components, 1.0 / components)
    covariance = np.cov(points.T) + REGULARISATION * np.eye(points.shape[1])
    factors = np.repeat(np.linalg.cholesky(covariance)[None], components, axis=0)
    likelihood = -np.inf
    for _ in range(config.iterations):
        logs = _log_densities(points, weights, means, factors)
        total = _log_of_sum(logs)
        share = np.exp(logs - total)
        weights, means, factors = _maximise(points, share)
        before, likelihood = likelihood, float(total.mean())
        if likelihood - before < 1e-3:
            break
    return Mixture(centre, axes, weights, means, factors, likelihood)


def _log_densities(points: F64, weights: F64, means: F64, factors: F64) -> F64:
    columns = []
    for weight, mean, factor in zip(weights, means, factors, strict=True):
        whitened = np.linalg.solve(factor, (points - mean).T)
        log_volume = np.log(np.diagonal(factor)).sum() + 0.5 * points.shape[1] * np.log(2 * np.pi)
        columns.append(np.log(weight) - 0.5 * (whitened**2).sum(0) - log_volume)
    return np.stack(columns, 1)


def _log_of_sum(logs: F64) -> F64:
    """Return the logarithm of the sum of exp(logs) over the columns, [n, 1]."""
    # np.logaddexp.reduce differs in the last bits, and the shipped bank would not come out again
    top = logs.max(1, keepdims=True)
    return np.asarray(top + np.log(np.exp(logs - top).sum(1, keepdims=True)))


def _maximise(points: F64, share: F64) -> tuple[F64, F64, F64]:
    counts = share.sum(0) + 1e-9
    means = (share.T @ points) / counts[:, None]
    factors = []
    for k, mean in enumerate(means):
        centred = points - mean
        covariance = (centred * share[:, k : k + 1]).T @ centred / counts[k]
        # Shrink towards the diagonal: a component of few faces must not collapse onto them.
        keep = counts[k] / (counts[k] + 2.0 * points.shape[1])
        covariance = keep * covariance + (1 - keep) * np.diag(np.diagonal(covariance))
        covariance += REGULARISATION * np.eye(points.shape[1])
        factors.append(np.linalg.cholesky(covariance))
    return counts / counts.sum(), means, np.stack(factors)


def sample_bank(
    mixture: Mixture,
    training_unit: F32,
    config: DensityConfig,
    about: dict[str, Any],
    wanted: Callable[[F32], Bool] | None = None,
) -> AnchorBank:
    """Sample the bank.

    Args:
        mixture: the density.
        training_unit: [n, d] every vector the anchors must keep away from.
        config: number, distances, seed.
        about: further metadata (data, licence, encoder).
        wanted: tells of draws [n, d] which may be anchors, [n]; None allows all.

    Raises:
        SetupError: the distances leave no room for so many anchors.
    """
    rng = np.random.default_rng(config.seed + 1)
    kept = np.zeros((0, training_unit.shape[1]), dtype=np.float32)
    drawn = unwanted = close = 0
    while len(kept) < config.n_anchors and drawn < config.max_draws:
        draws = mixture.draw(CHUNK, rng, config.spread)
        drawn += CHUNK
        if wanted is not None:
            draws = draws[wanted(draws)]
            unwanted += CHUNK - len(draws)
        allowed = _largest_cosine(draws, training_unit) <= 1.0 - config.min_to_training
        close += int((~allowed).sum())
        for vector in draws[allowed]:
            if len(kept) < config.n_anchors and (
                len(kept) == 0 or float((kept @ vector).max()) <= 1.0 - config.min_apart
            ):
                kept = np.concatenate([kept, vector[None]])
    if len(kept) < config.n_anchors:
        raise SetupError(
            f"density: {len(kept)} of {config.n_anchors} anchors after {drawn} draws "
            f"({unwanted} not wanted, {close} too close to a training face); ask for fewer or "
            "smaller distances"
        )
    meta = {
        "source": "mixture of Gaussians of the conditioning space",
        "config": asdict(config),
        "n_training": len(training_unit),
        "log_likelihood": round(mixture.log_likelihood, 4),
        "draws": drawn,
        "unwanted": unwanted,
        "too_close_to_training": close,
        **distances_report(kept, training_unit),
        **about,
    }
    return AnchorBank(kept, json.dumps(meta, sort_keys=True))


def distances_report(anchors_unit: F32, training_unit: F32) -> dict[str, Any]:
    """Return the cosine distances that matter: to the training faces and among the anchors."""
    nearest = 1.0 - _largest_cosine(anchors_unit, training_unit)
    pairs = (anchors_unit @ anchors_unit.T)[np.triu_indices(len(anchors_unit), 1)]
    return {
        "min_distance_to_training": round(float(nearest.min()), 4),
        "median_distance_to_nearest_training": round(float(np.median(nearest)), 4),
        "pairwise_distance_min": round(float(1 - pairs.max()), 4) if len(pairs) else None,
        "pairwise_distance_median": round(float(np.median(1 - pairs)), 4) if len(pairs) else None,
    }


def _unit(vectors: F32 | F64) -> F32:
    """Scale vectors [..., d] to unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def _largest_cosine(vectors: F32, others: F32) -> F32:
    """Return, for each vector, its largest cosine with any of the others [n]."""
    starts = range(0, max(len(vectors), 1), CHUNK)
    return np.concatenate([(vectors[i : i + CHUNK] @ others.T).max(axis=1) for i in starts])
