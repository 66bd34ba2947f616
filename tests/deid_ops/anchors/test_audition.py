"""Who is kept of a bank, by the faces painted with it."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from deid_ops.anchors import audition as audition_module
from deid_ops.anchors.audition import Audition, audition
from deid_ops.anchors.density import DensityConfig, Mixture, fit_mixture
from deid_ops.identity.vectors import unit_rows
from deid_ops.types import F32, Bool

RNG = np.random.default_rng(5)
CENTRE = np.eye(1, 16, dtype=np.float32)[0]
PORTRAITS = unit_rows((CENTRE + 0.1 * RNG.normal(size=(400, 16))).astype(np.float32))


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return fit_mixture(PORTRAITS, DensityConfig(components=2, dims=8))


#: Means of painted faces' vectors, like the portraits' and shorter; all alike in glare.
OWN, SAME = 0.9 * PORTRAITS[:10], np.ones(10, np.float32)


def anybody(vectors: F32) -> Bool:
    return np.ones(len(vectors), np.bool_)


def test_an_unlikely_face_fails(mixture: Mixture) -> None:
    own = np.array(OWN)
    own[3] = CENTRE + 2 * mixture.axes[0]  # further out than any portrait
    result = audition(own, SAME, mixture, anybody, 0.9)
    assert np.flatnonzero(~result.likely).tolist() == [3]
    assert np.flatnonzero(~result.passed).tolist() == [3]


def test_those_with_the_strongest_glare_fail(mixture: Mixture) -> None:
    glare = np.arange(10, dtype=np.float32)[::-1]
    result = audition(OWN, glare, mixture, anybody, 0.7)
    assert np.flatnonzero(~result.without_glare).tolist() == [0, 1, 2]
    assert not result.passed[:3].any()


def test_what_is_wanted_is_asked_of_the_painted_face(mixture: Mixture) -> None:
    def lengths_and_sign(vectors: F32) -> Bool:
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        return vectors[:, 1] > 0

    result = audition(OWN, SAME, mixture, lengths_and_sign, 1.0)
    assert result.suitable.tolist() == (PORTRAITS[:10, 1] > 0).tolist()
    assert result.passed.tolist() == result.suitable.tolist()


def test_counts_say_who_failed_where() -> None:
    yes, no = np.array([True, True, True]), np.array([True, False, False])
    result = Audition(yes, no, np.array([True, True, False]))
    assert result.counts() == {
        "of": 3, "likely": 3, "without_glare": 1, "suitable": 2, "passed": 1,
    }  # fmt: skip


def test_log_density_is_that_of_the_fit(mixture: Mixture) -> None:
    found = mixture.log_density(PORTRAITS)
    assert found.mean() == pytest.approx(mixture.log_likelihood, abs=0.05)
    further = unit_rows(np.asarray(CENTRE + 2 * mixture.axes[:1], np.float32))
    assert mixture.log_density(further)[0] < found.min()


def test_the_examples_hold() -> None:
    result = doctest.testmod(audition_module)
    assert result.attempted > 0
    assert result.failed == 0
