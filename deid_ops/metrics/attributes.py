"""What a replacement changed besides the identity: pose, gaze, expression, landmarks.

Convention
    Angles are degrees. Pose is `(roll, pitch, yaw)`; a rotation is `Rz(roll) Rx(pitch) Ry(yaw)`.
    Landmark shifts are in percent of the distance between the eyes of the original.
"""

from __future__ import annotations

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.types import F32


def rotation_from_euler(pose_deg: F32) -> F32:
    """Return `[n, 3, 3]` rotations of `[n, 3]` (roll, pitch, yaw) in degrees."""
    roll, pitch, yaw = np.radians(np.atleast_2d(pose_deg).astype(np.float64)).T
    zero, one = np.zeros_like(roll), np.ones_like(roll)

    def stack(rows: list[list[np.ndarray]]) -> np.ndarray:
        return np.moveaxis(np.array(rows), -1, 0)

    cos, sin = np.cos, np.sin
    rz = stack([[cos(roll), -sin(roll), zero], [sin(roll), cos(roll), zero], [zero, zero, one]])
    rx = stack([[one, zero, zero], [zero, cos(pitch), -sin(pitch)], [zero, sin(pitch), cos(pitch)]])
    ry = stack([[cos(yaw), zero, sin(yaw)], [zero, one, zero], [-sin(yaw), zero, cos(yaw)]])
    return np.asarray(rz @ rx @ ry, dtype=np.float32)


def pose_error_deg(original_deg: F32, output_deg: F32) -> F32:
    """Return `[n]` geodesic angles between head poses given as `[n, 3]` Euler angles.

    Example:
        >>> float(pose_error_deg(np.zeros((1, 3)), np.array([[0.0, 0.0, 10.0]]))[0].round(3))
        10.0
    """
    if np.shape(original_deg) != np.shape(output_deg):
        raise InvariantError(f"pose: {np.shape(original_deg)} and {np.shape(output_deg)} differ")
    return rotation_angle_deg(rotation_from_euler(original_deg), rotation_from_euler(output_deg))


def rotation_angle_deg(first: F32, second: F32) -> F32:
    """Return `[n]` geodesic angles in degrees between `[n, 3, 3]` rotations."""
    a, b = (r.astype(np.float64) for r in (first, second))
    # The chord |A - B| keeps its precision near zero, where arccos of the trace loses it.
    chord = np.sqrt(((a - b) ** 2).sum(axis=(1, 2)))
    half = np.arcsin(np.clip(chord / np.sqrt(8.0), 0, 1))
    return np.asarray(np.degrees(2 * half), dtype=np.float32)


def landmark_shift_percent(original_xy_px: F32, output_xy_px: F32, eye_distance_px: F32) -> F32:
    """Return `[n]` mean distances between landmarks, in percent of the eye distance.

    Args:
        original_xy_px: `[n, k, 2]`.
        output_xy_px: `[n, k, 2]`, in the same pixels.
        eye_distance_px: `[n]`, of the original, above 0.
    """
    if original_xy_px.shape != output_xy_px.shape or original_xy_px.ndim != 3:
        raise InvariantError(f"landmarks: {original_xy_px.shape} and {output_xy_px.shape}")
    if np.any(eye_distance_px <= 0):
        raise InvariantError("landmarks: an eye distance is not above 0")
    shift = np.linalg.norm(original_xy_px - output_xy_px, axis=2).mean(axis=1)
    return np.asarray(100.0 * shift / eye_distance_px, dtype=np.float32)


def expression_distance(original: F32, output: F32) -> F32:
    """Return `[n]` Euclidean distances between `[n, c]` expression coefficients."""
    if original.shape != output.shape or original.ndim != 2:
        raise InvariantError(f"expression: shapes {original.shape} and {output.shape}")
    return np.asarray(np.linalg.norm(original - output, axis=1), dtype=np.float32)
