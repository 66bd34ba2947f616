"""Score thresholds of each detector, and confirmation of weak hits by strong ones.

A single threshold cannot serve both duties: low ones find every frame of a face that turns away
but also call trees and number plates faces, high ones lose frames. So weak hits count when they
belong to a run of overlapping hits of which at least one is strong (hysteresis over time).

Measured on a 1080p clip with 6 to 7 pedestrians a frame and on a driving clip without faces: with
CenterFace at (0.1, 0.35) no frame misses a face that SCRFD finds above 0.3 or YuNet above 0.3, and
the driving clip has no face, where a single threshold needs 0.33 for the latter and misses faces
from 0.25 on. Between 0.33 and 0.4 the strongest runs were a shirt, a coat of arms, a statue, and
one real face: a reflection in a window, at 0.39. It decides the threshold: a shirt too many is
redacted rather than a face too few.
MTCNN calls two things in the driving clip faces with 0.93; its real faces reach 0.97 in almost
every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from deid_ops.errors import SetupError
from deid_ops.geometry import iou_matrix
from deid_ops.types import F32, I32, Bool

_LINK_IOU = 0.3
_LINK_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Scores:
    """Thresholds of one detector.

    Attributes:
        weak: hits below are never faces.
        sure: a run of overlapping hits counts when one of them reaches this.
        still: the threshold where there is only one frame, so that nothing can be confirmed.

    Raises:
        SetupError: not 0 < weak <= still, sure < 1.
    """

    weak: float
    sure: float
    still: float

    def __post_init__(self) -> None:
        """Compare the thresholds."""
        if not 0 < self.weak <= min(self.sure, self.still) <= max(self.sure, self.still) < 1:
            raise SetupError(f"score thresholds {self}: expected 0 < weak <= sure, still < 1")


DEFAULT_SCORES = {
    "centerface": Scores(weak=0.1, sure=0.35, still=0.2),
    "yunet": Scores(weak=0.3, sure=0.65, still=0.5),
    "scrfd": Scores(weak=0.3, sure=0.5, still=0.4),
    "mtcnn": Scores(weak=0.9, sure=0.97, still=0.9),
}


def scores_for(
    detector_name: str, score_min: float | None = None, score_sure: float | None = None
) -> Scores:
    """Thresholds in force: the detector's defaults, or what the user set.

    A given `score_min` alone is a plain threshold: what reaches it is a face. With `score_sure` it
    is the weak one.

    Example:
        >>> scores_for("centerface", score_min=0.3)
        Scores(weak=0.3, sure=0.3, still=0.3)
    """
    default = DEFAULT_SCORES.get(detector_name, Scores(0.5, 0.5, 0.5))
    if score_min is not None:
        return Scores(score_min, score_min if score_sure is None else score_sure, score_min)
    return Scores(default.weak, default.sure if score_sure is None else score_sure, default.still)


def confirmed_rows(
    frame_index: I32, boxes_xyxy_px: F32, score: F32, scores: Scores, n_frames: int
) -> Bool:
    """Tell which hits of a segment are faces.

    Two hits are linked when they lie at most two frames apart and overlap with an IoU above 0.3;
    runs are the connected sets of links.

    Args:
        frame_index: `[n]`, sorted.
        boxes_xyxy_px: `[n, 4]`.
        score: `[n]`.
        scores: thresholds.
        n_frames: frames that were looked at.

    Returns:
        `[n]` mask.

    Example:
        >>> boxes = np.array([[0, 0, 9, 9], [1, 0, 10, 9], [50, 0, 59, 9]], np.float32)
        >>> confirmed_rows(
        ...     np.array([0, 1, 1], np.int32), boxes, np.array([0.2, 0.6, 0.2], np.float32),
        ...     Scores(0.1, 0.5, 0.2), n_frames=2,
        ... ).tolist()
        [True, True, False]
    """
    if n_frames == 1:
        alone: Bool = score >= scores.still
        return alone
    n = len(score)
    if n == 0 or scores.sure <= scores.weak:
        plain: Bool = score >= scores.weak
        return plain
    first, second = _links(frame_index, boxes_xyxy_px)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    _, run = connected_components(graph, directed=False)
    best = np.zeros(n, np.float32)
    np.maximum.at(best, run, score)
    kept: Bool = (best[run] >= scores.sure) & (score >= scores.weak)
    return kept


def _links(frame_index: I32, boxes_xyxy_px: F32) -> tuple[I32, I32]:
    frames, starts = np.unique(frame_index, return_index=True)
    stops = np.append(starts[1:], len(frame_index))
    pairs: list[tuple[I32, I32]] = [(np.zeros(0, np.int32), np.zeros(0, np.int32))]
    for later in range(len(frames)):
        for earlier in range(max(0, later - _LINK_FRAMES), later):
            if frames[later] - frames[earlier] > _LINK_FRAMES:
                continue
            a, b = slice(starts[earlier], stops[earlier]), slice(starts[later], stops[later])
            i, j = np.nonzero(iou_matrix(boxes_xyxy_px[a], boxes_xyxy_px[b]) > _LINK_IOU)
            pairs.append(
                ((i + starts[earlier]).astype(np.int32), (j + starts[later]).astype(np.int32))
            )
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
