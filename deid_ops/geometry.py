"""Alignment and box arithmetic: similarities, crops, overlaps, quarter turns.

Convention
    Points are `(x, y)` in pixels, `x` to the right, `y` down, pixel centres at integers
    (OpenCV's convention: `cv2.warpAffine(image, crop_from_frame, (S, S))` takes the matrices
    of this module as they are). Boxes are `(x0, y0, x1, y1)`.
    A matrix named `b_from_a` is `[2, 3]` and maps source to destination:
    `p_b = M[:, :2] @ p_a + M[:, 2]`.
    Five landmarks: left eye, right eye, nose, left mouth corner, right mouth corner, left and
    right as seen in the image.
    All functions are pure, batched over the first axis, and compute in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.types import F32, U8

F64 = npt.NDArray[np.float64]
Points = npt.NDArray[Any]

ARCFACE_TEMPLATE_112: F64 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where the five landmarks lie in a 112 px crop (the template of ArcFace and its successors)."""
ARCFACE_TEMPLATE_112.flags.writeable = False


def arcface_template(size_px: int, zoom: float = 1.0) -> F64:
    """Return the ArcFace landmark template for a crop of `size_px`.

    Args:
        size_px: side of the square crop.
        zoom: 1 is the plain template; below 1 keeps more context around the face (the template
            shrinks towards the crop centre: `t * zoom + 56 * (1 - zoom)` at 112 px).

    Returns:
        `[5, 2]` points in crop pixels.

    Example:
        >>> arcface_template(256).round(1)[0].tolist()
        [87.5, 118.2]
    """
    points: F64 = (ARCFACE_TEMPLATE_112 * zoom + 56.0 * (1.0 - zoom)) * (size_px / 112.0)
    return points


def similarity_from_points(source: Points, target: Points) -> F64:
    """Least-squares similarity (rotation, uniform scale, shift) from `source` to `target`.

    Umeyama (1991), "Least-squares estimation of transformation parameters between two point
    patterns": with `A = 1/n sum (q - mean q)(p - mean p)^T = U S V^T`, the rotation is
    `U diag(1, sign det A) V^T` and the scale `trace(S diag(1, sign)) / var(p)`. A mirror image is
    never returned.

    Args:
        source: `[k, 2]` or `[n, k, 2]` points, `k >= 2`.
        target: the same number of points, `[k, 2]` or `[n, k, 2]`.

    Returns:
        `[2, 3]` or `[n, 2, 3]` matrices `target_from_source`.

    Raises:
        InvariantError: all points of one source pattern coincide.

    Example:
        >>> square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
        >>> similarity_from_points(square, square * 3 + [5, 7]).round(6).tolist()
        [[3.0, 0.0, 5.0], [0.0, 3.0, 7.0]]
    """
    p = np.asarray(source, dtype=np.float64)
    q = np.broadcast_to(np.asarray(target, dtype=np.float64), p.shape)
    single = p.ndim == 2
    if single:
        p, q = p[None], q[None]
    if len(p) == 0:
        return np.zeros((0, 2, 3))
    mean_p, mean_q = p.mean(axis=1, keepdims=True), q.mean(axis=1, keepdims=True)
    pc, qc = p - mean_p, q - mean_q
    variance = (pc**2).sum(axis=(1, 2)) / p.shape[1]
    if not np.all(variance > 1e-12):
        raise InvariantError("similarity_from_points: all points of a pattern coincide")
    covariance = np.einsum("nki,nkj->nij", qc, pc) / p.shape[1]
    u, s, vt = np.linalg.svd(covariance)
    # the determinant of U V^T, not of the covariance: it keeps its sign for collinear points
    sign = np.sign(np.linalg.det(u @ vt))
    flip = np.stack([np.ones_like(sign), sign], axis=1)
    linear = (u * flip[:, None, :]) @ vt * ((s * flip).sum(axis=1) / variance)[:, None, None]
    shift = mean_q[:, 0] - np.einsum("nij,nj->ni", linear, mean_p[:, 0])
    matrices = np.concatenate([linear, shift[:, :, None]], axis=2)
    return matrices[0] if single else matrices


def crop_matrices(landmarks_xy_px: Points, template_xy_px: Points) -> F64:
    """Similarities `crop_from_frame` that bring landmarks to a template; `[n, 2, 3]`.

    Args:
        landmarks_xy_px: `[n, 5, 2]` in the frame.
        template_xy_px: `[5, 2]` in the crop, see `arcface_template`.
    """
    return similarity_from_points(np.asarray(landmarks_xy_px).reshape(-1, 5, 2), template_xy_px)


def invert_affine(matrices: Points) -> F64:
    """Invert `[..., 2, 3]` affine matrices: `a_from_b` of `b_from_a`.

    Example:
        >>> invert_affine(np.array([[2.0, 0, 4], [0, 2, 6]])).tolist()
        [[0.5, 0.0, -2.0], [0.0, 0.5, -3.0]]
    """
    m = np.asarray(matrices, dtype=np.float64)
    linear = np.linalg.inv(m[..., :2])
    shift = -np.einsum("...ij,...j->...i", linear, m[..., 2])
    # + 0.0 turns -0.0 into 0.0
    return np.concatenate([linear, shift[..., None]], axis=-1) + 0.0


def transform_points(matrices: Points, points_xy_px: Points) -> F64:
    """Apply `[2, 3]` or `[n, 2, 3]` matrices to `[..., k, 2]` points.

    Example:
        >>> transform_points(np.array([[0.0, -1, 10], [1, 0, 0]]), np.array([[2.0, 3]])).tolist()
        [[7.0, 2.0]]
    """
    m = np.asarray(matrices, dtype=np.float64)
    points = np.asarray(points_xy_px, dtype=np.float64)
    moved: F64 = np.einsum("...ij,...kj->...ki", m[..., :2], points) + m[..., None, :, 2]
    return moved


def transform_boxes(matrix: Points, boxes_xyxy_px: Points) -> F64:
    """Axis-parallel hulls of `[n, 4]` boxes mapped by one `[2, 3]` matrix."""
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = transform_points(matrix, corners)
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def intersection_areas(a_xyxy_px: Points, b_xyxy_px: Points) -> F64:
    """Pairwise intersection areas of `[n, 4]` and `[m, 4]` boxes, `[n, m]`, px^2."""
    a = np.asarray(a_xyxy_px, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(b_xyxy_px, dtype=np.float64).reshape(1, -1, 4)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    areas: F64 = np.clip(high - low, 0.0, None).prod(axis=-1)
    return areas


def box_areas(boxes_xyxy_px: Points) -> F64:
    """Areas of `[n, 4]` boxes, `[n]`, px^2; inverted boxes have none."""
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    areas: F64 = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1)
    return areas


def iou_matrix(a_xyxy_px: Points, b_xyxy_px: Points) -> F64:
    """Pairwise intersection over union, `[n, m]` in [0, 1]; 0 where both areas are 0.

    Example:
        >>> float(iou_matrix(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]]))[0, 0].round(4))
        0.3333
    """
    inter = intersection_areas(a_xyxy_px, b_xyxy_px)
    union = box_areas(a_xyxy_px)[:, None] + box_areas(b_xyxy_px)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def covered_fraction_matrix(a_xyxy_px: Points, b_xyxy_px: Points) -> F64:
    """Fraction of each box of `a` that lies inside each box of `b`, `[n, m]` in [0, 1].

    Example:
        >>> float(covered_fraction_matrix(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 9, 9]]))[0, 0])
        0.5
    """
    inter = intersection_areas(a_xyxy_px, b_xyxy_px)
    area = np.broadcast_to(box_areas(a_xyxy_px)[:, None], inter.shape)
    return np.divide(inter, area, out=np.zeros_like(inter), where=area > 0)


def quarter_turns(rotation_deg: int) -> int:
    """Number of counter-clockwise quarter turns (0..3) in a display rotation.

    Raises:
        InvariantError: not a multiple of 90 degrees.

    Example:
        >>> quarter_turns(-90)
        3
    """
    if rotation_deg % 90:
        raise InvariantError(f"display rotation {rotation_deg} is not a multiple of 90 degrees")
    return rotation_deg // 90 % 4


def rotate_image(image: U8, rotation_deg: int) -> U8:
    """Turn an image counter-clockwise by a multiple of 90 degrees (a contiguous copy, or itself).

    `rotation_deg` is what the container stores and PyAV calls `VideoFrame.rotation`: the
    counter-clockwise turn from the coded frame to the frame as shown.
    """
    turns = quarter_turns(rotation_deg)
    return image if turns == 0 else np.ascontiguousarray(np.rot90(image, turns))


def rotate_points(points_xy_px: Points, size_wh_px: tuple[int, int], rotation_deg: int) -> F64:
    """Map `[..., 2]` points as `rotate_image` maps the pixels of an image of `size_wh_px`.

    To go back, turn by `-rotation_deg` and give the size of the turned image.

    Example:
        >>> rotate_points(np.array([[9.0, 0.0]]), (10, 4), 90).tolist()  # top right -> top left
        [[0.0, 0.0]]
    """
    points = np.array(points_xy_px, dtype=np.float64)
    width, height = size_wh_px
    for _ in range(quarter_turns(rotation_deg)):
        points = np.stack([points[..., 1], width - 1.0 - points[..., 0]], axis=-1)
        width, height = height, width
    return points


def rotate_boxes(boxes_xyxy_px: Points, size_wh_px: tuple[int, int], rotation_deg: int) -> F64:
    """Map `[n, 4]` boxes as `rotate_points` maps their corners.

    Example:
        >>> rotate_boxes(np.array([[6.0, 0, 9, 1]]), (10, 4), 90).tolist()
        [[0.0, 0.0, 1.0, 3.0]]
    """
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 2, 2)
    corners = rotate_points(boxes, size_wh_px, rotation_deg)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def as_f32(array: Points) -> F32:
    """Cast to contiguous float32."""
    return np.ascontiguousarray(array, dtype=np.float32)
