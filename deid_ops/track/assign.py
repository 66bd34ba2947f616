"""Which detection continues which track: costs, gates, and the Hungarian method.

Cost of a pair (Identity Tracking Module): `d(z, e) + 0.3 (1 - IoU)`, with the cosine distance `d`
of the face's embedding `z` and the track's running embedding `e`, and the overlap of the detection
with the track's predicted box. Where one of the two has no embedding, a constant stands in for `d`
and only position decides whether the pair is possible at all.
Solved by `scipy.optimize.linear_sum_assignment` (Crouse 2016, a shortest augmenting path variant
of the Hungarian method).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from deid_ops.geometry import iou_matrix
from deid_ops.track.motion import sizes_px, states_from_boxes
from deid_ops.track.params import TrackParams

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

IMPOSSIBLE = 1e6
OVERLAP_OF_NEAR = 0.3  # what closeness without overlap counts for, at most


@dataclass(frozen=True, slots=True)
class Candidates:
    """One side of the assignment, `n` rows.

    Attributes:
        boxes_xyxy_px: `[n, 4]`, predicted for tracks.
        embedding: `[n, d]` unit vectors.
        has_embedding: `[n]`.
    """

    boxes_xyxy_px: F64
    embedding: npt.NDArray[Any]
    has_embedding: Bool


def cosine_distances(a_unit: npt.NDArray[Any], b_unit: npt.NDArray[Any]) -> F64:
    """Return `[n, m]` cosine distances in [0, 2] of `[n, d]` and `[m, d]` unit vectors."""
    dots = np.asarray(a_unit, dtype=np.float64) @ np.asarray(b_unit, dtype=np.float64).T
    return np.clip(1.0 - dots, 0.0, 2.0)


def assign(
    tracks: Candidates, faces: Candidates, elapsed: npt.NDArray[Any], params: TrackParams
) -> list[tuple[int, int]]:
    """Match tracks to the faces of one frame.

    Args:
        tracks: boxes predicted for this frame, running embeddings.
        faces: detections of this frame.
        elapsed: `[n]` frames since each track was last seen, >= 1.
        params: thresholds.

    Returns:
        Pairs `(track row, face row)`, each row in at most one pair, in order of the track rows.
    """
    if len(tracks.boxes_xyxy_px) == 0 or len(faces.boxes_xyxy_px) == 0:
        return []
    cost = _costs(tracks, faces, elapsed, params)
    rows, cols = linear_sum_assignment(cost)
    keep = cost[rows, cols] < IMPOSSIBLE
    return [(int(r), int(c)) for r, c in zip(rows[keep], cols[keep], strict=True)]


def _costs(
    tracks: Candidates, faces: Candidates, elapsed: npt.NDArray[Any], params: TrackParams
) -> F64:
    iou = iou_matrix(tracks.boxes_xyxy_px, faces.boxes_xyxy_px)
    gap, ratio = _separation(tracks.boxes_xyxy_px, faces.boxes_xyxy_px)
    since = np.asarray(elapsed, dtype=np.float64)[:, None]
    known = tracks.has_embedding[:, None] & faces.has_embedding[None, :]
    distance = np.full(iou.shape, params.unknown_distance)
    if known.any():
        measured = cosine_distances(tracks.embedding, faces.embedding)
        distance = np.where(known, measured, distance)

    reachable = gap <= params.jump_sizes_per_frame * (1.0 + since)
    same_person = (distance < params.accept_distance) & reachable
    same_place = (iou > params.overlap_iou) & (distance < params.overlap_distance)
    near = (gap <= params.motion_reach_sizes) & (ratio <= params.motion_size_ratio_max)
    continues = (iou >= params.motion_iou_min) | near
    continues &= since <= params.motion_memory_frames + 1
    possible = np.where(known, same_person | same_place, continues)

    closeness = OVERLAP_OF_NEAR * np.clip(1.0 - gap / max(params.motion_reach_sizes, 1e-9), 0, 1)
    cost = distance + params.iou_weight * (1.0 - np.maximum(iou, closeness))
    return np.where(possible, cost, IMPOSSIBLE)


def _separation(a_xyxy_px: F64, b_xyxy_px: F64) -> tuple[F64, F64]:
    """Distance of centres in mean box sizes, and the ratio of sizes (>= 1), both `[n, m]`."""
    a, b = states_from_boxes(a_xyxy_px), states_from_boxes(b_xyxy_px)
    size_a, size_b = sizes_px(a_xyxy_px)[:, None], sizes_px(b_xyxy_px)[None, :]
    offset = a[:, None, :2] - b[None, :, :2]
    gap = np.hypot(offset[..., 0], offset[..., 1]) / ((size_a + size_b) / 2)
    return gap, np.maximum(size_a / size_b, size_b / size_a)
