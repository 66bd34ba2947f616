import numpy as np
import pytest
from scipy.linalg import sqrtm

from deid_ops.errors import InvariantError
from deid_ops.metrics.frechet import frechet_distance, gaussian


def test_same_set_is_at_zero_and_order_does_not_matter():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)), rng.normal(1, 2, size=(200, 6))
    a, b = a.astype(np.float32), b.astype(np.float32)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(2)
    mix = rng.normal(size=(5, 5))
    a = (rng.normal(size=(300, 5)) @ mix).astype(np.float32)
    b = rng.normal(0.5, 1, size=(300, 5)).astype(np.float32)
    (m1, s1), (m2, s2) = gaussian(a), gaussian(b)
    expected = np.sum((m1 - m2) ** 2) + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_fewer_samples_than_dimensions_is_finite():
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(10, 64)).astype(np.float32) for _ in range(2))
    assert 0 < frechet_distance(a, b) < 1000


def test_one_sample_or_other_dimension_is_refused():
    a = np.zeros((1, 3), np.float32)
    with pytest.raises(InvariantError):
        frechet_distance(a, a)
    with pytest.raises(InvariantError, match="dimensions"):
        frechet_distance(np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32))
