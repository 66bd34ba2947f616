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
bank's rim, and there most anchors fail. What it gains and what it costs in diversity is in
`configs/weights/anchors.md`; the shipped bank has had none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deid_ops.anchors.density import Mixture
from deid_ops.identity.vectors import unit_rows
from deid_ops.types import F32, F64, Bool


@dataclass(frozen=True, slots=True)
class Audition:
    """Who passed, `[m]` each.

    Attributes:
        likely: among the likelier share under the density.
        without_glare: among the share with the weaker glare.
        suitable: the painted face is as wanted.
    """

    likely: Bool
    without_glare: Bool
    suitable: Bool

    @property
    def passed(self) -> Bool:
        """Return who passed in everything."""
        return self.likely & self.without_glare & self.suitable

    def counts(self) -> dict[str, int]:
        """Return how many came and how many passed in each."""
        parts = ("likely", "without_glare", "suitable", "passed")
        return {"of": len(self.likely)} | {p: int(getattr(self, p).sum()) for p in parts}


def audition(
    own: F32, glare: F32, mixture: Mixture, wanted: Callable[[F32], Bool], share: float
) -> Audition:
    """Compare the anchors of one bank with each other.

    Args:
        own: `[m, d]` mean of the conditioning encoder's vectors over each anchor's painted faces.
        glare: `[m]` of these faces, of 1; see `pipeline/appearance.py: glare_of`.
        mixture: the density that the anchors were drawn from.
        wanted: tells of vectors `[m, d]` which may be anchors, `[m]`.
        share: of the bank, in (0, 1], that passes each of the two comparisons.

    Example:
        >>> flat = Mixture(
        ...     np.zeros(2), np.eye(2), np.ones(1), np.array([[1.0, 0.0]]), np.eye(2)[None], 0.0
        ... )
        >>> vectors = np.float32([[1, 0], [0, 1]])
        >>> glare = np.float32([0, 0])
        >>> audition(vectors, glare, flat, lambda v: v[:, 0] > -1, 0.5).passed.tolist()
        [True, False]
    """
    own_unit = unit_rows(own)
    return Audition(
        likely=_better(-mixture.log_density(own_unit), share),
        without_glare=_better(glare, share),
        suitable=wanted(own_unit),
    )


def _better(faults: F32 | F64, share: float) -> Bool:
    """Return who has the smaller faults `[m]`, as many as the share says and ties."""
    return np.asarray(faults <= np.quantile(faults, share, method="inverted_cdf"))
