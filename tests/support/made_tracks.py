"""Tracks out of landmarks, for tests of what follows detection and tracking."""

import numpy as np

from deid_ops.types import BoxOrigin, FaceTracks


def tracks_with(frame, track, landmarks_xy_px, eye_distance_px):
    """Detected, sharp, frontal faces at frames [n] of tracks [n] with five points [n, 5, 2]."""
    n, marks = len(frame), landmarks_xy_px.astype(np.float32)
    return FaceTracks(
        frame_index=frame.astype(np.int32),
        track=track.astype(np.int32),
        boxes_xyxy_px=np.concatenate([marks.min(axis=1), marks.max(axis=1)], axis=1),
        landmarks_xy_px=marks,
        has_landmarks=np.ones(n, np.bool_),
        origin=np.full(n, BoxOrigin.DETECTED, np.uint8),
        score=np.ones(n, np.float32),
        eye_distance_px=np.full(n, eye_distance_px, np.float32),
        blur=np.zeros(n, np.float32),
        turn=np.zeros(n, np.float32),
    )
