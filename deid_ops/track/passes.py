"""One pass over the detections in time: the Identity Tracking Module.

State per track: a running unit embedding (exponential average, weighted by quality), the last box
and its velocity. A track that is lost stays until the end, so that a person who returns is
recognised by the embedding. Embeddings live in this state only and die with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deid_ops.track.assign import Candidates, assign
from deid_ops.track.motion import boxes_from_states, predict, states_from_boxes
from deid_ops.track.params import TrackParams
from deid_ops.types import Faces

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

EYE_DISTANCE_FULL_WEIGHT_PX = 40.0
EYE_DISTANCE_WEIGHT_MIN = 0.1
VELOCITY_GAIN = 0.4  # share of the newest displacement in the velocity


def embedding_weights(faces: Faces) -> F64:
    """Return how far each face's embedding can be trusted, `[n]` in [0, 1]; 0 without one.

    Score, sharpness and frontality multiply; the size counts up to 40 px between the eyes.
    """
    size = np.clip(
        faces.eye_distance_px.astype(np.float64) / EYE_DISTANCE_FULL_WEIGHT_PX,
        EYE_DISTANCE_WEIGHT_MIN,
        1.0,
    )
    quality = np.clip(faces.score, 0, 1) * np.clip(1.0 - faces.blur, 0.05, 1)
    weights: F64 = quality * np.clip(1.0 - faces.turn, 0.05, 1) * size
    return np.where(faces.has_embedding, weights, 0.0)


@dataclass
class _Live:
    """All tracks of a pass, one row each."""

    states: F64
    velocities: F64
    last_seen: I64
    embedding: F64
    weight: F64
    hits: I64 = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def empty(cls, dim: int) -> _Live:
        return cls(
            np.zeros((0, 4)),
            np.zeros((0, 4)),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, dim)),
            np.zeros(0),
        )

    def candidates(self, now: int) -> Candidates:
        boxes = boxes_from_states(predict(self.states, self.velocities, now - self.last_seen))
        return Candidates(boxes, self.embedding, self.weight > 0)

    def born(self, states: F64, now: int) -> I64:
        """Add tracks without identity; return their numbers."""
        n, first = len(states), len(self.hits)
        self.states = np.concatenate([self.states, states])
        self.velocities = np.concatenate([self.velocities, np.zeros((n, 4))])
        self.last_seen = np.concatenate([self.last_seen, np.full(n, now)])
        dim = self.embedding.shape[1]
        self.embedding = np.concatenate([self.embedding, np.zeros((n, dim))])
        self.weight = np.concatenate([self.weight, np.zeros(n)])
        self.hits = np.concatenate([self.hits, np.ones(n, dtype=np.int64)])
        return np.arange(first, first + n)

    def seen(self, rows: I64, states: F64, now: int, memory_frames: int) -> None:
        """Move tracks to their new boxes; a velocity over a long absence means nothing."""
        elapsed = (now - self.last_seen[rows]).astype(np.float64)
        step = (states - self.states[rows]) / np.maximum(elapsed, 1.0)[:, None]
        gain = np.where(self.hits[rows] == 1, 1.0, VELOCITY_GAIN)[:, None]
        velocity = (1 - gain) * self.velocities[rows] + gain * step
        self.velocities[rows] = np.where((elapsed <= memory_frames + 1)[:, None], velocity, 0.0)
        self.states[rows] = states
        self.last_seen[rows] = now
        self.hits[rows] += 1

    def learn(self, rows: I64, embedding: F64, weight: F64, momentum: float) -> None:
        """Update running embeddings: a weighted mean at first, then an exponential average."""
        total = self.weight[rows] + weight
        share = np.divide(weight, total, out=np.zeros_like(total), where=total > 0)
        share = np.where(weight > 0, np.maximum(share, (1 - momentum) * np.minimum(weight, 1)), 0)
        mixed = (1 - share)[:, None] * self.embedding[rows] + share[:, None] * embedding
        norm = np.linalg.norm(mixed, axis=1, keepdims=True)
        self.embedding[rows] = np.divide(mixed, norm, out=np.zeros_like(mixed), where=norm > 1e-9)
        self.weight[rows] = np.where(norm[:, 0] > 1e-9, total, 0.0)


def run_pass(faces: Faces, weights: F64, params: TrackParams, *, backward: bool) -> I64:
    """Label every detection with a track number of this pass.

    Args:
        faces: detections of one segment.
        weights: `[n]` trust in each embedding, see `embedding_weights`.
        params: thresholds.
        backward: run from the last frame to the first.

    Returns:
        `[n]` labels; two detections of one frame never share one.
    """
    labels = np.full(len(faces), -1, dtype=np.int64)
    usable = weights >= max(params.embedding_weight_min, 1e-12)
    trusted = np.where(usable, weights, 0.0)
    live = _Live.empty(faces.embedding.shape[1])
    frames, starts = np.unique(faces.frame_index, return_index=True)
    ends = np.append(starts[1:], len(faces))
    order = range(len(frames) - 1, -1, -1) if backward else range(len(frames))
    for i in order:
        rows = np.arange(starts[i], ends[i])
        now = -int(frames[i]) if backward else int(frames[i])
        labels[rows] = _step(live, faces.take(rows), trusted[rows], now, params)
    return labels


def _step(live: _Live, faces: Faces, trusted: F64, now: int, params: TrackParams) -> I64:
    """Continue or start tracks with the faces of one frame."""
    boxes = faces.boxes_xyxy_px.astype(np.float64)
    embedding = faces.embedding.astype(np.float64)
    found = Candidates(boxes, embedding, trusted > 0)
    pairs = assign(live.candidates(now), found, now - live.last_seen, params)
    labels = np.full(len(boxes), -1, dtype=np.int64)
    states = states_from_boxes(boxes)
    if pairs:
        matched = np.array(pairs, dtype=np.int64)
        labels[matched[:, 1]] = matched[:, 0]
        live.seen(matched[:, 0], states[matched[:, 1]], now, params.motion_memory_frames)
    fresh = np.flatnonzero(labels < 0)
    labels[fresh] = live.born(states[fresh], now)
    live.learn(labels, embedding, trusted, params.embedding_momentum)
    return labels
