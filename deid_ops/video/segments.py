"""Cutting a recording into spans that can be decoded, encoded and retried on their own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from deid_ops.types import Span
from deid_ops.video.index import VideoIndex


def plan_spans(index: VideoIndex, max_duration_s: float = 30.0) -> list[Span]:
    """Cut at closed GOPs so that every frame lies in exactly one span.

    A span takes as many GOPs as fit into `max_duration_s`, and at least one: a GOP longer than
    that stays whole, as does a file without a keyframe to cut at. The first span starts at the
    first frame and the last one is open-ended.

    Args:
        index: of the recording.
        max_duration_s: longest span in seconds, above 0.

    Example:
        >>> [s.n_frames for s in plan_spans(index, 2.0)]  # doctest: +SKIP
        [50, 50, 5]
    """
    if max_duration_s <= 0:
        raise ValueError(f"max_duration_s is {max_duration_s}, must be above 0")
    time_base = index.facts.time_base
    longest = max_duration_s / float(time_base)
    end = int(index.pts[-1]) + index.facts.last_duration
    cuts = [int(p) for p in index.clean_keyframe_pts if p > index.pts[0]] + [end]
    starts = [int(index.pts[0])]
    for cut, following in pairwise(cuts):
        if following - starts[-1] > longest:
            starts.append(cut)
    ends: list[int | None] = [*starts[1:], None]
    rows = [*np.searchsorted(index.pts, starts), len(index.pts)]
    return [
        Span(index.facts.stream_index, start, stop, int(rows[k + 1] - rows[k]), time_base)
        for k, (start, stop) in enumerate(zip(starts, ends, strict=True))
    ]
