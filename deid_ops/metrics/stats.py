"""Intervals for rates and means, so that no figure stands without its sample size.

Convention
    A rate is `hits / n`. Zero hits in `n` tests has the upper limit `3 / n` (rule of three); every
    other rate has Wilson's score interval. A mean has Student's t interval. `confidence` is
    two-sided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from deid_ops.errors import InvariantError

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval and the number of samples behind it."""

    value: float
    ci_low: float
    ci_high: float
    n: int

    def __post_init__(self) -> None:
        """Refuse an interval that does not hold the value."""
        if self.n > 0 and not self.ci_low - 1e-9 <= self.value <= self.ci_high + 1e-9:
            raise InvariantError(f"Estimate: {self.value} outside [{self.ci_low}, {self.ci_high}]")


def wilson_interval(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's score interval of a rate (E. B. Wilson, JASA 1927).

    Raises:
        InvariantError: `n` is below 1, or `hits` is not within 0..n.

    Example:
        >>> low, high = wilson_interval(5, 100)
        >>> round(low, 4), round(high, 4)
        (0.0215, 0.1118)
    """
    if n < 1 or not 0 <= hits <= n:
        raise InvariantError(f"wilson_interval: {hits} hits in {n} tests")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    p = hits / n
    centre = p + z * z / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if hits == 0 else float(low)), (1.0 if hits == n else float(high))


def rule_of_three(n: int) -> float:
    """Return the upper 95 % limit of a rate after zero hits in `n` independent tests.

    Example:
        >>> rule_of_three(1000)
        0.003
    """
    if n < 1:
        raise InvariantError(f"rule_of_three: {n} tests")
    return min(1.0, 3.0 / n)


def rate(hits: int, n: int) -> Estimate:
    """Return `hits / n` with its 95 % interval (rule of three at zero hits, else Wilson).

    Example:
        >>> rate(0, 300)
        Estimate(value=0.0, ci_low=0.0, ci_high=0.01, n=300)
    """
    low, high = wilson_interval(hits, n)
    return Estimate(hits / n, low, rule_of_three(n) if hits == 0 else high, n)


def clustered_rate(
    hits: npt.NDArray[np.bool_], cluster: npt.NDArray[Any], confidence: float = CONFIDENCE
) -> Estimate:
    """Return a rate whose interval allows for samples that are alike within a cluster.

    The frames of one track are nearly the same picture; counting them as independent makes
    intervals far too narrow. The linearised variance of the ratio estimator gives the design
    effect (W. G. Cochran, Sampling Techniques, 1977, section 9.5), and Wilson's interval is taken
    at the effective sample size, with Student's t of the clusters less one for the normal quantile
    (E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998): a variance estimated from two or
    three clusters is hardly known, and two people say little about others. With no or only hits
    the number of clusters counts as `n` of the rule of three. `Estimate.n` stays the number of
    samples.

    Args:
        hits: `[n]` booleans.
        cluster: `[n]` labels of any comparable type.
        confidence: two-sided level.
    """
    n = len(hits)
    _, index = np.unique(cluster, return_inverse=True)
    n_clusters = int(index.max()) + 1 if n else 0
    if n_clusters == 0:
        raise InvariantError("clustered_rate: no samples")
    p = float(np.mean(hits))
    sizes = np.bincount(index, minlength=n_clusters)
    sums = np.bincount(index, weights=hits.astype(np.float64), minlength=n_clusters)
    if p in (0.0, 1.0):
        bound = rule_of_three(n_clusters)
        return Estimate(p, 0.0 if p == 0 else 1 - bound, bound if p == 0 else 1.0, n)
    if n_clusters == 1:
        return Estimate(p, 0.0, 1.0, n)
    residual = sums - p * sizes
    variance = n_clusters / (n_clusters - 1) * float(residual @ residual) / n**2
    n_effective = float(np.clip(p * (1 - p) / max(variance, 1e-12), 1.0, n))
    t = float(stats.t.ppf(0.5 + confidence / 2, n_clusters - 1))
    centre = (p + t * t / (2 * n_effective)) / (1 + t * t / n_effective)
    half = t * np.sqrt(p * (1 - p) / n_effective + t * t / (4 * n_effective**2))
    half /= 1 + t * t / n_effective
    return Estimate(p, max(0.0, float(centre - half)), min(1.0, float(centre + half)), n)


def mean_estimate(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Return a mean with Student's t interval; one sample has an interval of no width.

    Example:
        >>> e = mean_estimate([1.0, 2.0, 3.0])
        >>> round(e.ci_low, 3), e.value, e.n
        (-0.484, 2.0, 3)
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size == 0:
        raise InvariantError("mean_estimate: no samples")
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, mean, mean, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size))
    return Estimate(mean, mean - half, mean + half, int(x.size))


def capture_recapture(n_first: int, n_second: int, n_both: int) -> Estimate:
    """Estimate how many faces there are from what two detectors found (Chapman, 1951).

    `N = (n1 + 1)(n2 + 1) / (m + 1) - 1`. The estimate is right when the detectors miss faces
    independently; detectors that miss the *same* hard faces make it too low, so read it as a lower
    bound on what is there.

    Args:
        n_first: faces the first detector found.
        n_second: faces the second detector found.
        n_both: faces found by both.

    Returns:
        The population with a log-normal interval that never falls below the faces seen (nominally
        95 %; with only some ten faces missed by both, simulation gives about 87 % coverage). `n`
        is the number of different faces seen.

    Example:
        >>> capture_recapture(100, 100, 100).value
        100.0
    """
    if not 0 <= n_both <= min(n_first, n_second):
        raise InvariantError(f"capture_recapture: {n_first}, {n_second}, both {n_both}")
    seen = n_first + n_second - n_both
    total = (n_first + 1) * (n_second + 1) / (n_both + 1) - 1
    variance = float((n_first + 1) * (n_second + 1) * (n_first - n_both) * (n_second - n_both))
    variance /= (n_both + 1) ** 2 * (n_both + 2)
    unseen = total - seen
    if unseen <= 0 or variance <= 0:
        return Estimate(float(total), float(min(seen, total)), float(total), seen)
    z = float(stats.norm.ppf(0.975))
    factor = float(np.exp(z * np.sqrt(np.log1p(variance / unseen**2))))
    return Estimate(float(total), seen + unseen / factor, seen + unseen * factor, seen)


def detector_recall(n_first: int, n_second: int, n_both: int) -> Estimate:
    """Return the share of the capture-recapture population that the union of both covers.

    Example:
        >>> detector_recall(50, 40, 40).value
        1.0
    """
    population = capture_recapture(n_first, n_second, n_both)
    if population.value <= 0:
        raise InvariantError("detector_recall: no faces")
    seen = population.n
    return Estimate(
        min(1.0, seen / population.value),
        min(1.0, seen / max(population.ci_high, 1e-9)),
        min(1.0, seen / max(population.ci_low, 1e-9)),
        seen,
    )
