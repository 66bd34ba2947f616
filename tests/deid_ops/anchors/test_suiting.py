"""Readings of sex and age: linear, fitted, compared within tolerances."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from deid_ops.anchors import suiting
from deid_ops.anchors.suiting import fit_suiting


def test_a_linear_property_is_read_back_from_strangers() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hidden = rng.normal(size=(32, 2))
    labels = vectors @ hidden + (0.3, 5.0)
    fitted = fit_suiting(vectors[:2500], labels[:2500], ("a", "b"), (0.2, 0.4))
    read = fitted.read(vectors[2500:])
    assert read.dtype == np.float32
    for k in range(2):
        assert np.corrcoef(read[:, k], labels[2500:, k])[0, 1] > 0.99
    person = vectors[2600]
    misfit = fitted.misfit(vectors[2500:], person)
    near = np.abs(read - fitted.read(person[None])) <= (0.2, 0.4)
    assert np.array_equal(misfit <= 1.0, near.all(axis=1))
    assert 1 < near.all(axis=1).sum() < 400
    assert misfit[100] == pytest.approx(0, abs=1e-5)  # the person's own vector


def test_doc_examples_hold() -> None:
    result = doctest.testmod(suiting)
    assert (result.attempted > 0, result.failed) == (True, 0)
