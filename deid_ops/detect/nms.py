"""Greedy non-maximum suppression."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.detect.base import Detections
from deid_ops.geometry import covered_fraction_matrix, iou_matrix
from deid_ops.types import I64


def nms_rows(
    boxes_xyxy_px: npt.NDArray[Any],
    score: npt.NDArray[Any],
    iou_max: float,
    covered_max: float | None = None,
) -> I64:
    """Rows that survive, best score first.

    Args:
        boxes_xyxy_px: `[n, 4]`.
        score: `[n]`.
        iou_max: a box that overlaps a better one by more than this goes.
        covered_max: if given, so does a box of which more than this fraction lies within a better
            one (pieces of a face at the border of a tile, which a plain IoU misses).

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]])
        >>> nms_rows(boxes, np.array([0.5, 0.9, 0.7]), 0.4).tolist()
        [1, 2]
    """
    if covered_max is None and len(score):
        boxes = np.asarray(boxes_xyxy_px, dtype=np.float64)
        as_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        # OpenCV drops scores of 0 and below; only their order matters here
        scores = (np.asarray(score, dtype=np.float64) - np.min(score) + 1).tolist()
        rows = cv2.dnn.NMSBoxes(as_xywh.tolist(), scores, 0.0, iou_max)
        return np.asarray(rows, dtype=np.int64).reshape(-1)
    order = np.argsort(-np.asarray(score), kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        gone = iou_matrix(boxes_xyxy_px[rest], boxes_xyxy_px[best])[:, 0] > iou_max
        if covered_max is not None:
            inside = covered_fraction_matrix(boxes_xyxy_px[rest], boxes_xyxy_px[best])[:, 0]
            gone |= inside > covered_max
        order = rest[~gone]
    return np.array(kept, dtype=np.int64)


def nms(found: Detections, iou_max: float, covered_max: float | None = None) -> Detections:
    """`nms_rows` applied to the detections of one image."""
    return found.take(nms_rows(found.boxes_xyxy_px, found.score, iou_max, covered_max))


def without_ghosts(found: Detections, iou_min: float = 0.2, score_ratio: float = 0.5) -> Detections:
    """Drop weak second hits on a head that has a strong one.

    Detectors answer beside the right box as well, and an overlap just below the limit of
    suppression lets these answers through: of the hits below a score of 0.35 in a clip of a crowd,
    20 % overlapped a stronger one by 0.2 to 0.4, nearly all the rest by nothing. Treated as faces
    of their own they are redacted as doubtful, on top of the face that is there.

    Args:
        found: hits of one image.
        iou_min: overlap with the strong hit.
        score_ratio: the weak hit's score is at most this share of the strong one's, and its centre
            lies in the strong one's box: of a second person there, hardly anything is in view.
    """
    if len(found) < 2:
        return found
    boxes, score = found.boxes_xyxy_px, found.score
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    inside = ((centre > boxes[None, :, :2]) & (centre < boxes[None, :, 2:])).all(axis=2)
    weaker = score[:, None] <= score_ratio * score[None, :]
    ghost = inside & weaker & (iou_matrix(boxes, boxes) >= iou_min)
    return found.take(np.flatnonzero(~ghost.any(axis=1)))
