import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import InvariantError
from deid_ops.metrics.stats import (
    capture_recapture,
    clustered_rate,
    detector_recall,
    mean_estimate,
    rate,
    wilson_interval,
)


@given(st.integers(1, 5000), st.data())
def test_wilson_holds_the_rate_and_mirrors(n, data):
    hits = data.draw(st.integers(0, n))
    low, high = wilson_interval(hits, n)
    mirrored_low, mirrored_high = wilson_interval(n - hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert low == pytest.approx(1 - mirrored_high, abs=1e-9)
    assert high == pytest.approx(1 - mirrored_low, abs=1e-9)


def test_wilson_known_value():
    # R: binom::binom.confint(15, 148, methods="wilson")
    assert wilson_interval(15, 148) == pytest.approx((0.06240, 0.16054), abs=2e-4)


def test_wilson_covers_the_truth_about_95_percent_of_the_time():
    rng = np.random.default_rng(3)
    hits = rng.binomial(400, 0.03, size=1000)
    intervals = np.array([wilson_interval(int(h), 400) for h in hits])
    coverage = np.mean((intervals[:, 0] <= 0.03) & (intervals[:, 1] >= 0.03))
    assert 0.92 <= coverage <= 0.98


def test_zero_hits_are_bounded_by_three_over_n():
    assert rate(0, 1500).ci_high == pytest.approx(0.002)
    assert rate(0, 2).ci_high == 1.0


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(hits, n):
    with pytest.raises(InvariantError, match="tests"):
        wilson_interval(hits, n)


def test_clusters_of_equal_samples_widen_the_interval_to_that_of_the_clusters():
    per_cluster = np.arange(40) < 8
    hits, cluster = np.repeat(per_cluster, 25), np.repeat(np.arange(40), 25)
    clustered = clustered_rate(hits, cluster)
    alone = rate(8, 40)
    assert clustered.n == 1000
    assert clustered.ci_high == pytest.approx(alone.ci_high, abs=0.01)
    assert clustered.ci_high - clustered.ci_low > 2 * (
        rate(200, 1000).ci_high - rate(200, 1000).ci_low
    )


def test_independent_samples_in_clusters_keep_the_plain_interval():
    rng = np.random.default_rng(0)
    hits = rng.random(4000) < 0.2
    clustered = clustered_rate(hits, np.arange(4000))
    plain = rate(int(hits.sum()), 4000)
    assert clustered.ci_low == pytest.approx(plain.ci_low, abs=2e-3)


def test_two_clusters_say_little():
    hits, two = np.repeat([True, False, True], [90, 10, 100]), np.repeat([0, 1], 100)
    twenty = np.repeat(np.arange(20), 10)
    assert clustered_rate(hits, two).ci_low < 0.4
    assert clustered_rate(hits, twenty).ci_low > 0.7


def test_no_hits_in_few_tracks_stay_uncertain():
    estimate = clustered_rate(np.zeros(700, bool), np.repeat(np.arange(7), 100))
    assert (estimate.value, estimate.ci_high, estimate.n) == (0.0, pytest.approx(3 / 7), 700)


def test_mean_interval_shrinks_with_samples():
    rng = np.random.default_rng(1)
    few, many = (mean_estimate(rng.normal(5, 2, n)) for n in (20, 2000))
    assert few.ci_high - few.ci_low > 5 * (many.ci_high - many.ci_low)
    assert many.ci_low < 5 < many.ci_high


def test_capture_recapture_finds_a_known_population():
    rng = np.random.default_rng(5)
    hit = 0
    for _ in range(200):
        first, second = rng.random(500) < 0.9, rng.random(500) < 0.8
        estimate = capture_recapture(
            int(first.sum()), int(second.sum()), int((first & second).sum())
        )
        hit += estimate.ci_low <= 500 <= estimate.ci_high
    assert hit >= 160  # the docstring promises about 87 % for this population


def test_recall_drops_when_the_detectors_disagree():
    assert detector_recall(90, 90, 60).value < detector_recall(90, 90, 85).value < 1
    with pytest.raises(InvariantError):
        capture_recapture(3, 4, 5)
