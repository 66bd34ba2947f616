"""Readings of sex and age: linear, fitted, and true of strangers."""

from __future__ import annotations

import doctest

import numpy as np

from deid_ops.anchors import readings
from deid_ops.anchors.readings import fit_readings


def test_a_linear_property_is_read_back_from_strangers() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = vectors @ rng.normal(size=(32, 2)) + (0.3, 5.0)
    read = fit_readings(vectors[:2500], labels[:2500]).read(vectors[2500:])
    assert read.dtype == np.float32
    for k in range(2):
        assert np.corrcoef(read[:, k], labels[2500:, k])[0, 1] > 0.99


def test_doc_examples_hold() -> None:
    result = doctest.testmod(readings)
    assert (result.attempted > 0, result.failed) == (True, 0)
