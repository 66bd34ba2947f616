"""The last gate: faces that a second detector finds in the output, and counts that must close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.types import F32, I64, Faces, FaceTracks

GRID = 24


@dataclass(frozen=True, slots=True)
class AuditParams:
    """When a detection in the output counts as an untreated face.

    Attributes:
        min_covered: share of the detected box that treated boxes must cover.
        mask_margin: growth of the treated boxes on each side, as a share of their size, that the
            treatment really applied.
        min_side_px: smaller detections are ignored (shorter box side).
        min_score: weaker detections are ignored.
    """

    min_covered: float = 0.6
    mask_margin: float = 0.0
    min_side_px: float = 8.0
    min_score: float = 0.0


def covered_share(boxes_xyxy_px: F32, treated_xyxy_px: F32, margin: float = 0.0) -> F32:
    """Return the share `[n]` of each box that lies inside the union of the treated boxes.

    The union is sampled on a 24 x 24 grid of cell centres per box, so the share is exact to about
    a percent. Intersection over union would not do: a treated head box is much larger than the
    face a second detector finds inside it, and that is right.

    Args:
        boxes_xyxy_px: `[n, 4]`.
        treated_xyxy_px: `[m, 4]` in the same frame.
        margin: the treated boxes grow by this share of their size on every side.

    Example:
        >>> box = np.float32([[0, 0, 10, 10]])
        >>> covered_share(box, np.float32([[-5, -5, 5, 20]])).tolist()
        [0.5]
    """
    n = len(boxes_xyxy_px)
    if n == 0 or len(treated_xyxy_px) == 0:
        return np.zeros(n, dtype=np.float32)
    steps = (np.arange(GRID) + 0.5) / GRID
    x0, y0, x1, y1 = boxes_xyxy_px.astype(np.float64).T
    xs = x0[:, None] + (x1 - x0)[:, None] * steps
    ys = y0[:, None] + (y1 - y0)[:, None] * steps
    covered = np.zeros((n, GRID, GRID), dtype=np.bool_)
    for tx0, ty0, tx1, ty1 in treated_xyxy_px.astype(np.float64):
        grow_x, grow_y = margin * (tx1 - tx0), margin * (ty1 - ty0)
        in_x = (xs >= tx0 - grow_x) & (xs <= tx1 + grow_x)
        in_y = (ys >= ty0 - grow_y) & (ys <= ty1 + grow_y)
        covered |= in_y[:, :, None] & in_x[:, None, :]
    return np.asarray(covered.mean(axis=(1, 2)), dtype=np.float32)


def missed_faces(detections: Faces, tracks: FaceTracks, params: AuditParams | None = None) -> I64:
    """Return the rows of `detections` that no treatment covers.

    Args:
        detections: what the second detector finds in the decoded *output*, all frames.
        tracks: every box that was treated, same frame numbers.
        params: limits; defaults where None.

    Returns:
        Row numbers, in order. Empty when the clip may be published.
    """
    limits = params or AuditParams()
    sides = detections.boxes_xyxy_px[:, 2:] - detections.boxes_xyxy_px[:, :2]
    counts = (sides.min(axis=1, initial=np.inf) >= limits.min_side_px) & (
        detections.score >= limits.min_score
    )
    missed: list[npt.NDArray[np.int64]] = []
    for frame in np.unique(detections.frame_index[counts]):
        rows = np.flatnonzero(counts & (detections.frame_index == frame))
        treated = tracks.boxes_xyxy_px[tracks.frame_index == frame]
        share = covered_share(detections.boxes_xyxy_px[rows], treated, limits.mask_margin)
        missed.append(rows[share < limits.min_covered].astype(np.int64))
    return np.concatenate(missed) if missed else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A segment's counts, closed."""

    n_frames: int
    n_faces: int
    n_swapped: int
    n_redacted: int


def close_ledger(
    n_frames_in: int, n_frames_out: int, n_faces: int, n_swapped: int, n_redacted: int
) -> Ledger:
    """Return the counts of a segment, or stop the run where they do not add up.

    Raises:
        InvariantError: frames were lost or invented, a face has no treatment or two, or a count
            is negative.

    Example:
        >>> close_ledger(30, 30, 12, 10, 2).n_swapped
        10
    """
    counts = (n_frames_in, n_frames_out, n_faces, n_swapped, n_redacted)
    if min(counts) < 0:
        raise InvariantError(f"ledger: negative count in {counts}")
    if n_frames_in != n_frames_out:
        raise InvariantError(f"ledger: {n_frames_in} frames in, {n_frames_out} frames out")
    if n_faces != n_swapped + n_redacted:
        raise InvariantError(
            f"ledger: {n_faces} faces, but {n_swapped} swapped + {n_redacted} redacted "
            f"= {n_swapped + n_redacted}"
        )
    return Ledger(n_frames_in, n_faces, n_swapped, n_redacted)
