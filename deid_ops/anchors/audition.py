"""Which anchors of a bank to keep, by the faces that are painted with them.

A painter that has had a few hours paints some anchors as people and others as masks: white stripes
along a nose, blotches for a beard. It does so on every head, so it can be known beforehand. Three
things tell, none of which needs a person or a critic:

- how likely the painted face's vector is under the density that the anchors were drawn from (of
  300 anchors, values on two heads correlate by 0.82, means over two and two by 0.87);
- how bright its brightest places are against the skin around them (likewise 0.61 and 0.75);
- whether the *painted* face suits most heads (`wanted`), which its anchor's vector promised.

How far the landmarks of a painted face lie from those that were told is the heads' doing, not the
anchor's (0.03 and 0.21): it tells nothing here.

It matters most for those who resemble the bank's middle: what is far enough from them lies at the
bank's rim, and there most anchors fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deid_ops.anchors.density import Mixture
from deid_ops.identity.vectors import unit_rows
from deid_ops.types import F32, F64, Bool


@dataclass(frozen=True, slots=True)
class PaintedAnchors:
    """What shows of the faces painted with each of `m` anchors: means over the same few heads.

    Attributes:
        judged: `[m, g]` of a judge's unit vectors, not of unit length.
        own: `[m, d]` of the conditioning encoder's, likewise.
        glare: `[m]` how much brighter than around them the brightest places are, of 1.
    """

    judged: F32
    own: F32
    glare: F32


@dataclass(frozen=True, slots=True)
class Audition:
    """Who passed, `[m]` each.

    Attributes:
        likely: among the likelier share under the density.
        even: among the share with the weaker glare.
        suitable: the painted face is as wanted.
    """

    likely: Bool
    even: Bool
    suitable: Bool

    @property
    def passed(self) -> Bool:
        """Return who passed in everything."""
        return self.likely & self.even & self.suitable

    def counts(self) -> dict[str, int]:
        """Return how many came and how many passed in each."""
        parts = ("likely", "even", "suitable", "passed")
        return {"of": len(self.likely)} | {p: int(getattr(self, p).sum()) for p in parts}


def audition(
    painted: PaintedAnchors, mixture: Mixture, wanted: Callable[[F32], Bool], share: float
) -> Audition:
    """Compare the anchors of one bank with each other.

    Args:
        painted: what was painted with each.
        mixture: the density that they were drawn from.
        wanted: tells of vectors `[m, d]` which may be anchors, `[m]`.
        share: of the bank, in (0, 1], that passes each of the two comparisons.

    Example:
        >>> flat = Mixture(
        ...     np.zeros(2), np.eye(2), np.ones(1), np.array([[1.0, 0.0]]), np.eye(2)[None], 0.0
        ... )
        >>> vectors = np.float32([[1, 0], [0, 1]])
        >>> seen = PaintedAnchors(vectors, vectors, np.float32([0, 0]))
        >>> audition(seen, flat, lambda v: v[:, 0] > -1, 0.5).passed.tolist()
        [True, False]
    """
    own_unit = unit_rows(painted.own)
    return Audition(
        likely=_better(-mixture.log_density(own_unit), share),
        even=_better(painted.glare, share),
        suitable=wanted(own_unit),
    )


def _better(faults: F32 | F64, share: float) -> Bool:
    """Return who has the smaller faults `[m]`, as many as the share says and ties."""
    return np.asarray(faults <= np.quantile(faults, share, method="inverted_cdf"))
