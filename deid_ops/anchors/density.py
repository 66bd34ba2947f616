"""Synthetic identities: a density model of the conditioning space, sampled and kept apart.

Method: the training faces' unit vectors are described by a mixture of Gaussians in the subspace of
their largest principal components (full covariances, expectation-maximisation); vectors drawn from
it are scaled to unit length. A draw is kept only if it lies at least `min_to_training` (cosine
distance) from *every* training vector and `min_apart` from every anchor kept before: no anchor is,
or is close to, a person the model was fitted to. Both distances are reported.

Whoever lies far from all training faces is a man past fifty more often than not: where an encoder
sees people as alike, few draws are far from every one. So a bank can be sampled group by group,
each from a density of its own, in given numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deid_ops.anchors.bank import AnchorBank
from deid_ops.errors import SetupError
from deid_ops.types import F32, F64, Bool

REGULARISATION = 1e-4
CHUNK = 512
FACES_EACH = 10  # of a component, at least


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
        max_draws: of each group.
        seed: the same seed and data give the same bank.
    """

    n_anchors: int = 1024
    components: int = 16
    dims: int = 64
    iterations: int = 25
    spread: float = 1.2
    min_to_training: float = 0.55
    min_apart: float = 0.5
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
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(unit, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Group:
    """Anchors that have something in common.

    Attributes:
        name: in the metadata.
        share: of the bank.
        mixture: density of its training faces.
        holds: tells of vectors [n, d] which belong to it, [n].
    """

    name: str
    share: float
    mixture: Mixture
    holds: Callable[[F32], Bool]


def everybody(mixture: Mixture) -> Group:
    """Return the group that every vector belongs to."""
    return Group("all", 1.0, mixture, lambda vectors: np.ones(len(vectors), dtype=np.bool_))


def fit_mixture(vectors_unit: F32, config: DensityConfig) -> Mixture:
    """Fit the mixture.

    Args:
        vectors_unit: [n, d] training identities.
        config: components, dimensions, iterations, seed.

    Raises:
        SetupError: fewer than `FACES_EACH` vectors.
    """
    n, d = vectors_unit.shape
    components = min(config.components, n // FACES_EACH)
    if components < 1:
        raise SetupError(f"density: {n} vectors are too few, {FACES_EACH} are needed")
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
        top = logs.max(1, keepdims=True)
        total = top + np.log(np.exp(logs - top).sum(1, keepdims=True))
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
    groups: Sequence[Group], training_unit: F32, config: DensityConfig, about: dict[str, Any]
) -> AnchorBank:
    """Sample the bank.

    Args:
        groups: densities and their shares of the bank; see `everybody` for a single one.
        training_unit: [n, d] every vector the anchors must keep away from.
        config: number, distances, seed.
        about: further metadata (data, licence, encoder).

    Raises:
        SetupError: the distances leave no room for so many anchors.
    """
    rng = np.random.default_rng(config.seed + 1)
    kept = np.zeros((0, training_unit.shape[1]), dtype=np.float32)
    described, total = [], sum(group.share for group in groups)
    for number, group in enumerate(groups, start=1):
        share = sum(g.share for g in groups[:number]) / total
        wanted = round(config.n_anchors * share) - len(kept)
        kept, drawn, close = _fill(kept, wanted, group, training_unit, config, rng)
        described.append(
            {
                "name": group.name,
                "anchors": wanted,
                "draws": drawn,
                "too_close_to_training": close,
                "log_likelihood": round(group.mixture.log_likelihood, 4),
            }
        )
    meta = {
        "source": "mixtures of Gaussians of the conditioning space",
        "config": asdict(config),
        "n_training": len(training_unit),
        "groups": described,
        **distances_report(kept, training_unit),
        **about,
    }
    return AnchorBank(kept, json.dumps(meta, sort_keys=True))


def _fill(
    kept: F32,
    wanted: int,
    group: Group,
    training_unit: F32,
    config: DensityConfig,
    rng: np.random.Generator,
) -> tuple[F32, int, int]:
    """Add `wanted` anchors of a group; returns all kept ones, the draws, and those too close."""
    goal, drawn, close = len(kept) + wanted, 0, 0
    while len(kept) < goal and drawn < config.max_draws:
        draws = group.mixture.draw(CHUNK, rng, config.spread)
        drawn += CHUNK
        draws = draws[group.holds(draws)]
        allowed = _largest_cosine(draws, training_unit) <= 1.0 - config.min_to_training
        close += int((~allowed).sum())
        for vector in draws[allowed]:
            if len(kept) < goal and (
                len(kept) == 0 or float((kept @ vector).max()) <= 1.0 - config.min_apart
            ):
                kept = np.concatenate([kept, vector[None]])
    if len(kept) < goal:
        raise SetupError(
            f"density: {wanted - goal + len(kept)} of {wanted} anchors of the group {group.name} "
            f"after {drawn} draws ({close} too close to a training face); ask for fewer anchors or "
            "smaller distances"
        )
    return kept, drawn, close


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


def _largest_cosine(vectors: F32, others: F32) -> F32:
    """Return, for each vector, its largest cosine with any of the others [n]."""
    starts = range(0, max(len(vectors), 1), CHUNK)
    return np.concatenate([(vectors[i : i + CHUNK] @ others.T).max(axis=1) for i in starts])
