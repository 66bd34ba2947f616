"""Linear motion of boxes: prediction during tracking, extrapolation at the ends of a track.

Convention
    A state is `(centre x, centre y, width, height)` in pixels; time is in frames and may be
    negative (the backward pass counts down). Sizes never fall below one pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

MIN_SIZE_PX = 1.0
MAX_RELATIVE_GROWTH = 2.0  # a linear fit of sizes may not run away over a long gap


def states_from_boxes(boxes_xyxy_px: npt.NDArray[Any]) -> F64:
    """Return `[n, 4]` states (centre x, centre y, width, height) of `[n, 4]` boxes.

    Example:
        >>> states_from_boxes(np.array([[0, 0, 4, 2]])).tolist()
        [[2.0, 1.0, 4.0, 2.0]]
    """
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, size], axis=1)


def boxes_from_states(states: npt.NDArray[Any]) -> F64:
    """Return the `[n, 4]` boxes of `[n, 4]` states; the inverse of `states_from_boxes`."""
    s = np.asarray(states, dtype=np.float64).reshape(-1, 4)
    half = s[:, 2:] / 2
    return np.concatenate([s[:, :2] - half, s[:, :2] + half], axis=1)


def sizes_px(boxes_xyxy_px: npt.NDArray[Any]) -> F64:
    """Return the mean of width and height, `[n]`, at least `MIN_SIZE_PX`."""
    size: F64 = np.maximum(states_from_boxes(boxes_xyxy_px)[:, 2:].mean(axis=1), MIN_SIZE_PX)
    return size


def predict(states: F64, velocities: F64, elapsed: npt.NDArray[Any]) -> F64:
    """Move `[n, 4]` states by `elapsed` frames; sizes stay within a factor of 2.

    Args:
        states: last seen states.
        velocities: `[n, 4]` change of the state per frame.
        elapsed: `[n]` frames since then.
    """
    moved = states + velocities * np.asarray(elapsed, dtype=np.float64)[:, None]
    low = states[:, 2:] / MAX_RELATIVE_GROWTH
    high = states[:, 2:] * MAX_RELATIVE_GROWTH
    moved[:, 2:] = np.clip(moved[:, 2:], np.minimum(low, high), np.maximum(low, high))
    return moved


def fit_velocity(frames: npt.NDArray[Any], states: F64) -> F64:
    """Return the least-squares slope of `[k, 4]` states over time; zero for one state.

    Example:
        >>> fit_velocity(np.array([0, 1]), np.array([[0.0, 5, 9, 9], [2, 5, 9, 9]])).tolist()
        [2.0, 0.0, 0.0, 0.0]
    """
    t = np.asarray(frames, dtype=np.float64)
    t = t - t.mean()
    spread = float((t**2).sum())
    if spread == 0:
        return np.zeros(4)
    slope: F64 = (t[:, None] * (states - states.mean(axis=0))).sum(axis=0) / spread
    return slope


def extrapolate(
    frames: npt.NDArray[Any], boxes_xyxy_px: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> F64:
    """Continue the motion of a few boxes linearly to other frames.

    The line has the least-squares slope of all given boxes and passes through the one that is
    nearest in time to each target, so that the continuation joins the track without a jump.

    Args:
        frames: `[k]` ascending frame numbers, `k >= 1`.
        boxes_xyxy_px: `[k, 4]` boxes at these frames.
        targets: `[m]` frame numbers before the first or after the last frame.

    Returns:
        `[m, 4]` boxes.
    """
    states = states_from_boxes(boxes_xyxy_px)
    velocity = fit_velocity(frames, states)
    t = np.asarray(targets)
    nearest = np.where(t < frames[0], 0, len(frames) - 1)
    elapsed = t - np.asarray(frames)[nearest]
    return boxes_from_states(
        predict(states[nearest], np.broadcast_to(velocity, (len(t), 4)), elapsed)
    )


def grow(boxes_xyxy_px: npt.NDArray[Any], factors: npt.NDArray[Any]) -> F64:
    """Scale `[n, 4]` boxes about their centres by `[n]` factors.

    Example:
        >>> grow(np.array([[0.0, 0, 2, 2]]), np.array([2.0])).tolist()
        [[-1.0, -1.0, 3.0, 3.0]]
    """
    states = states_from_boxes(boxes_xyxy_px)
    states[:, 2:] *= np.asarray(factors, dtype=np.float64)[:, None]
    return boxes_from_states(states)
