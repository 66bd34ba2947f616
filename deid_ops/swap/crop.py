"""The face crop that every network of this project sees: template, size, masks and warps.

Convention
    A crop is `CROP_SIZE_PX` square. Its template is the ArcFace template for 112 px moved by
    `CROP_OFFSET_XY_PX`, at the same scale: a recogniser's 112 px input is a plain slice of the
    crop (`ENCODER_SLICE`), no second resampling. 8 px are added at the left and right, 16 px
    below (the chin), none above (the template already holds the forehead).
    `crop_from_frame` is the 2x3 similarity that maps frame pixels to crop pixels; pixel centres
    lie at integers on both sides.
    `INNER_MASK` marks the pixels of the crop that may be replaced; which of them are is said by
    the mask of each face (`face_mask.py`).

Similarities and templates come from `deid_ops.geometry` (Umeyama 1991; Deng et al. 2019).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.geometry import (
    ARCFACE_TEMPLATE_112,
    as_f32,
    invert_affine,
    similarity_from_points,
    transform_points,
)
from deid_ops.types import F32, U8, Bool

CROP_SIZE_PX = 128
CROP_OFFSET_XY_PX = (8, 0)
ENCODER_SIZE_PX = 112
ENCODER_SLICE = (slice(0, 112), slice(8, 120))  # rows, columns of the crop
TEMPLATE_PX: F32 = as_f32(ARCFACE_TEMPLATE_112 + np.array(CROP_OFFSET_XY_PX))
EYE_DISTANCE_PX = float(np.linalg.norm(TEMPLATE_PX[1] - TEMPLATE_PX[0]))
MASK_CENTRE_XY_PX = (63.5, 66.0)
MASK_HALF_AXES_PX = (46.0, 54.0)
MASK_POWER = 2.6  # exponent of the superellipse: 2 is an ellipse, larger is boxier
BLEND_RAMP_PX = 7.0  # the blend rises from 0 at the mask's rim to 1 this far inside
MAX_SUPERSAMPLING = 4


def crop_matrices(landmarks_xy_px: F32, template_px: F32 = TEMPLATE_PX) -> F32:
    """Least-squares similarities that map each face's five points onto the template.

    Args:
        landmarks_xy_px: [n, 5, 2] in frame pixels, in the order of `deid_ops.types`.
        template_px: [5, 2] target points.

    Returns:
        `crop_from_frame`, [n, 2, 3] float32.

    Raises:
        InvariantError: the five points of a face coincide.

    Example:
        >>> bool(np.allclose(crop_matrices(TEMPLATE_PX[None])[0], [[1, 0, 0], [0, 1, 0]]))
        True
    """
    return as_f32(similarity_from_points(landmarks_xy_px, template_px))


def invert_matrices(crop_from_frame: F32) -> F32:
    """Return `frame_from_crop` [n, 2, 3] of the similarities `crop_from_frame` [n, 2, 3]."""
    return as_f32(invert_affine(crop_from_frame))


def apply_matrices(matrices: F32, points_xy_px: F32) -> F32:
    """Map points [n, k, 2] with one 2x3 matrix each; returns [n, k, 2]."""
    return as_f32(transform_points(matrices, points_xy_px))


def warp_crop(frame: U8, crop_from_frame: F32, size_px: int = CROP_SIZE_PX) -> U8:
    """Cut one crop out of a frame, averaging over source pixels where the face is larger.

    A plain bilinear warp aliases as soon as the face is shrunk; the crop is therefore sampled
    on a grid up to `MAX_SUPERSAMPLING` times finer and averaged. Outside the frame the border
    pixel repeats.

    Args:
        frame: [h, w, 3] uint8.
        crop_from_frame: [2, 3] for a crop of `CROP_SIZE_PX`.
        size_px: side of the result; the field of view stays that of the crop.

    Returns:
        [size_px, size_px, 3] uint8.
    """
    matrix = np.asarray(crop_from_frame, dtype=np.float64)
    zoom = size_px / CROP_SIZE_PX
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0])) * zoom
    factor = int(np.clip(np.ceil(1.0 / max(scale, 1e-6) - 0.25), 1, MAX_SUPERSAMPLING))
    fine = scale_matrix(matrix, zoom * factor)
    warped = cv2.warpAffine(
        frame,
        fine,
        (size_px * factor, size_px * factor),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if factor > 1:
        warped = cv2.resize(warped, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, dtype=np.uint8)


def paste_crop(image_bgr: U8, crop_bgr: U8, crop_from_frame: F32, weights: F32) -> tuple[U8, Bool]:
    """Blend a crop back into its picture.

    Args:
        image_bgr: `[h, w, 3]`, not changed.
        crop_bgr: `[s, s, 3]`.
        crop_from_frame: `[2, 3]`.
        weights: `[s, s]` in [0, 1], for example `blend_mask()`.

    Returns:
        The picture and `[h, w]` where its pixels may have changed (weight above 0).
    """
    inverse = invert_matrices(crop_from_frame[None])[0]
    size = (image_bgr.shape[1], image_bgr.shape[0])
    warped = cv2.warpAffine(
        crop_bgr, inverse, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    weight = cv2.warpAffine(weights, inverse, size, flags=cv2.INTER_LINEAR)[..., None]
    blended = weight * warped.astype(np.float32) + (1.0 - weight) * image_bgr.astype(np.float32)
    inside = weight[..., 0] > 0
    out = image_bgr.copy()
    out[inside] = np.clip(np.rint(blended[inside]), 0, 255).astype(np.uint8)
    return out, np.asarray(inside)


def as_shown(crops_bgr: U8, crop_from_frame: F32) -> U8:
    """Return crops as detailed as they are once they lie in their pictures.

    A crop of a small face has more pixels than its place in the frame. Whoever looks at the crop
    itself sees detail that is not published: a network reads landmarks off it that it will not read
    off the frame (at 18 px between the eyes head pose was 3.1 degrees off instead of 2.6), a guard
    finds it further from the original than it will be.

    Args:
        crops_bgr: [n, s, s, 3].
        crop_from_frame: [n, 2, 3].

    Returns:
        [n, s, s, 3]; crops of faces that are as large in their pictures as they were.
    """
    side = crops_bgr.shape[1]
    shown = np.array(crops_bgr)
    for k, scale in enumerate(np.hypot(crop_from_frame[:, 0, 0], crop_from_frame[:, 1, 0])):
        there = max(round(side / float(scale)), 1)
        if there < side:
            small = cv2.resize(crops_bgr[k], (there, there), interpolation=cv2.INTER_AREA)
            shown[k] = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    return shown


def scale_matrix(crop_from_frame: npt.ArrayLike, zoom: float) -> F32:
    """Return the matrix of the same crop rendered `zoom` times larger (pixel areas aligned)."""
    matrix = np.asarray(crop_from_frame, dtype=np.float64) * zoom
    matrix[:, 2] += 0.5 * (zoom - 1.0)
    return matrix.astype(np.float32)


def _mask_radius() -> F32:
    """Superellipse radius of every crop pixel: below 1 inside, above 1 outside."""
    axis = np.arange(CROP_SIZE_PX, dtype=np.float64)
    dx = np.abs(axis - MASK_CENTRE_XY_PX[0]) / MASK_HALF_AXES_PX[0]
    dy = np.abs(axis - MASK_CENTRE_XY_PX[1]) / MASK_HALF_AXES_PX[1]
    radius = (dx[None, :] ** MASK_POWER + dy[:, None] ** MASK_POWER) ** (1.0 / MASK_POWER)
    return np.asarray(radius, dtype=np.float32)


def inner_mask() -> Bool:
    """Return the pixels that may be replaced, [128, 128] bool."""
    return np.asarray(_mask_radius() <= 1.0)


def blend_weights(inside: Bool) -> F32:
    """Return the soft weight of a replacement when it is pasted back, [128, 128] in [0, 1].

    0 outside `inside` [128, 128], a smooth ramp of `BLEND_RAMP_PX` inside its rim, 1 further in.
    """
    framed = np.pad(inside.astype(np.uint8), 1)  # what lies beyond the crop is outside
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32)
    ramp = np.clip(depth / BLEND_RAMP_PX, 0.0, 1.0)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), dtype=np.float32)


def blend_mask() -> F32:
    """Return `blend_weights` of the whole `INNER_MASK`."""
    return blend_weights(INNER_MASK)


INNER_MASK: Bool = inner_mask()
INNER_MASK.flags.writeable = False
