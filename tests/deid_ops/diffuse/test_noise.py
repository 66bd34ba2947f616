import numpy as np
import pytest

from deid_ops.diffuse.denoiser import normal_noise
from deid_ops.diffuse.noise import TrackNoise
from deid_ops.errors import InvariantError

SHAPE = (4, 3, 16, 16)


def test_one_noise_per_track_whatever_the_batch():
    noise = TrackNoise(bytes(range(32)))
    drawn = normal_noise(SHAPE, noise.source(np.array([5, 2, 5, -1], np.int32)))
    alone = normal_noise((1, *SHAPE[1:]), noise.source(np.array([5], np.int32)))
    assert np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn[0], alone[0])
    for a, b in ((0, 1), (0, 3), (1, 3)):
        assert abs(np.corrcoef(drawn[a].ravel(), drawn[b].ravel())[0, 1]) < 0.15


def test_noise_is_normal_and_fresh_with_each_secret():
    track = np.zeros(1, np.int32)
    first, other = (
        normal_noise((1, 3, 64, 64), TrackNoise(bytes([k] * 32)).source(track)) for k in (1, 2)
    )
    assert float(first.mean()) == pytest.approx(0, abs=0.03)
    assert float(first.std()) == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.03


def test_short_secrets_and_uneven_draws_are_refused():
    with pytest.raises(InvariantError, match="16 bytes"):
        TrackNoise(bytes(16))
    with pytest.raises(InvariantError, match="7 bytes for 2 faces"):
        TrackNoise(bytes(32)).source(np.array([0, 1], np.int32))(7)
    assert TrackNoise(bytes(32)).source(np.zeros(0, np.int32))(0) == b""
