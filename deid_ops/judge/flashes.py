"""Faces that would flash up between mosaics: shown for an instant, of no use and of some harm.

A head that turns about the limit, or is half hidden, is replaced in a single frame of many. Nobody
can use that face, and little is known of it: what is asked of persons is asked of all their faces.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from deid_ops.types import I32, Bool


def flashes(track: I32, shown: Bool, frames_min: int) -> Bool:
    """Return which faces are shown for too few frames between redacted ones of their track.

    A run at either end of a track stays: it may be longer than what is seen of it here.

    Args:
        track: [n] of each box, in order of frames.
        shown: [n] whether it is to be replaced.
        frames_min: of a run that stays.

    Returns:
        [n].

    Example:
        >>> shown = np.array([1, 0, 1, 0, 1, 1, 1, 0, 1], dtype=bool)
        >>> flashes(np.zeros(9, np.int32), shown, 3).nonzero()[0].tolist()
        [2]
    """
    brief = np.zeros(len(track), dtype=np.bool_)
    for number in np.unique(track[shown]):
        rows = np.flatnonzero(track == number)
        changes = np.flatnonzero(np.diff(shown[rows].astype(np.int8))) + 1
        for start, stop in pairwise(changes):
            if shown[rows[start]] and stop - start < frames_min:
                brief[rows[start:stop]] = True
    return brief
