"""The bank: far from every training face, far from each other, reproducible."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from deid_ops.anchors.density import DensityConfig, distances_report, fit_mixture, sample_bank
from deid_ops.errors import SetupError


def _vectors(n: int, d: int = 32) -> np.ndarray:
    """Two clouds of unit vectors with different spread."""
    rng = np.random.default_rng(0)
    centres = np.array([np.eye(d)[0] * 0.8, -np.eye(d)[1] * 0.5])
    raw = rng.normal(size=(n, d)) / np.sqrt(d) + centres[rng.integers(0, 2, n)]
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


CONFIG = DensityConfig(
    n_anchors=60,
    components=4,
    dims=16,
    iterations=10,
    min_to_training=0.2,
    min_apart=0.1,
)


def test_bank_keeps_its_distances() -> None:
    vectors = _vectors(600)
    bank = sample_bank(fit_mixture(vectors, CONFIG), vectors, CONFIG, {"data": "drawn"})
    assert len(bank) == 60
    to_training = 1 - (bank.vectors_unit @ vectors.T).max(1)
    assert to_training.min() >= 0.2 - 1e-5
    pairs = bank.vectors_unit @ bank.vectors_unit.T - 2 * np.eye(60)
    assert 1 - pairs.max() >= 0.1 - 1e-5
    meta = json.loads(bank.meta)
    assert meta["min_distance_to_training"] == pytest.approx(float(to_training.min()), abs=1e-3)
    assert meta["data"] == "drawn"
    again = sample_bank(fit_mixture(vectors, CONFIG), vectors, CONFIG, {"data": "drawn"})
    assert again.sha256 == bank.sha256


def test_draws_follow_the_data() -> None:
    """The mixture's draws have the clouds' means; a uniform bank would not."""
    vectors = _vectors(2000)
    full = replace(CONFIG, dims=32)
    draws = fit_mixture(vectors, full).draw(4000, np.random.default_rng(1))
    assert np.allclose(draws.mean(0)[:2], vectors.mean(0)[:2], atol=0.05)
    assert np.allclose(np.linalg.norm(draws, axis=1), 1, atol=1e-5)


def test_a_wider_spread_takes_draws_further_apart() -> None:
    mixture = fit_mixture(_vectors(2000), CONFIG)

    def variance(spread: float) -> float:
        draws = mixture.draw(4000, np.random.default_rng(1), spread)
        return float(np.var(draws, axis=0).sum())

    assert variance(0.5) < variance(1.0) < variance(1.5)


def test_more_components_explain_more() -> None:
    vectors = _vectors(1500)
    one = fit_mixture(vectors, DensityConfig(components=1, dims=16))
    two = fit_mixture(vectors, DensityConfig(components=2, dims=16))
    assert two.log_likelihood > one.log_likelihood + 0.05


def test_few_faces_get_few_components() -> None:
    vectors = _vectors(600)
    assert len(fit_mixture(vectors[:35], CONFIG).weights) == 3
    assert len(fit_mixture(vectors, CONFIG).weights) == 4


def test_only_what_is_wanted_becomes_an_anchor() -> None:
    vectors, mixture = _vectors(900), fit_mixture(_vectors(900), CONFIG)
    bank = sample_bank(mixture, vectors, CONFIG, {}, lambda v: np.asarray(v[:, 2] > 0))
    assert (bank.vectors_unit[:, 2] > 0).all()
    assert json.loads(bank.meta)["unwanted"] > 100
    nobody = replace(CONFIG, max_draws=1024)
    with pytest.raises(SetupError, match="0 of 60 anchors after 1024 draws"):
        sample_bank(mixture, vectors, nobody, {}, lambda v: np.zeros(len(v), bool))


def test_impossible_distances_are_an_error() -> None:
    vectors = _vectors(600)
    config = DensityConfig(n_anchors=60, components=4, dims=16, min_to_training=1.2, max_draws=2000)
    with pytest.raises(SetupError, match="ask for fewer"):
        sample_bank(fit_mixture(vectors, config), vectors, config, {})
    with pytest.raises(SetupError, match="too few"):
        fit_mixture(vectors[:9], config)


def test_report_counts_the_nearest() -> None:
    report = distances_report(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:1])
    assert report["min_distance_to_training"] == 0.0
    assert report["pairwise_distance_min"] == 1.0
