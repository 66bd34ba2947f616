"""One measured figure: the unit that evaluations yield and that tables and reports print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deid_ops.metrics.stats import Estimate


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval and everything needed to read it.

    Attributes:
        protocol: `retrieval`, `verification`, `utility`, `realism`, `temporal`, `inversion`, ...
        subject: what was measured (`untouched`, `blur`, `ours`, ...).
        dataset: data it was measured on, with the face size where shrunk (`lfw_pairs@24px`).
        encoder: judging encoder; None where none took part.
        metric: name, with its operating point (`match_original_far_0.001`).
        estimate: value, 95 % interval, sample size.
        better: `lower`, `higher`, or None where neither is.
        chance: what the same count gives between different people, or a guesser's rate.
        bar: value to reach, where there is one.
        params: further numbers that decide the figure.
    """

    protocol: str
    subject: str
    dataset: str
    encoder: str | None
    metric: str
    estimate: Estimate
    better: str | None = None
    chance: float | None = None
    bar: float | None = None
    params: Mapping[str, float | str] = field(default_factory=dict)


def far_name(metric: str, far: float) -> str:
    """Return a metric's name at a false acceptance rate.

    Example:
        >>> far_name("match_original", 1e-3)
        'match_original_far_0.001'
    """
    return f"{metric}_far_{far:g}"
