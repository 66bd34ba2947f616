import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.metrics.temporal import evenly_spaced_rows, temporal_consistency


def test_a_still_face_does_not_vary():
    track = np.tile(np.array([[0.2, 0.5, -1.0]], np.float32), (6, 1)) * np.arange(1, 7)[:, None]
    m = temporal_consistency(track.astype(np.float32))
    assert m is not None
    assert m.n == 6
    values = (m.all_pairs_mean, m.consecutive_mean, m.to_centroid_mean)
    assert values == pytest.approx((0, 0, 0), abs=1e-6)


def test_slow_drift_shows_in_all_pairs_not_in_steps():
    angle = np.linspace(0, np.pi / 2, 50)
    drift = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    flicker = drift[np.random.default_rng(0).permutation(50)]
    slow, fast = temporal_consistency(drift), temporal_consistency(flicker)
    assert slow is not None
    assert fast is not None
    assert slow.all_pairs_mean == pytest.approx(fast.all_pairs_mean, abs=1e-6)
    assert slow.consecutive_mean < 0.01 * fast.consecutive_mean


def test_one_frame_has_no_variation_and_zeros_are_refused():
    assert temporal_consistency(np.ones((1, 4), np.float32)) is None
    with pytest.raises(InvariantError, match="zeros"):
        temporal_consistency(np.zeros((2, 4), np.float32))


def test_rows_are_spread_and_include_both_ends():
    assert evenly_spaced_rows(3, 10) == [0, 1, 2]
    rows = evenly_spaced_rows(101, 10)
    assert (rows[0], rows[-1], len(rows)) == (0, 100, 10)
