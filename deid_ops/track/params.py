"""Settings of tracking; every default in one place."""

from __future__ import annotations

from dataclasses import dataclass

from deid_ops.errors import SetupError


@dataclass(frozen=True, slots=True)
class TrackParams:
    """How boxes become tracks.

    None of these can lose a box: they only decide which boxes share a track and how many are
    added between and around the detections.

    Attributes:
        max_gap_frames: longest run of frames without detection that is interpolated.
        extend_frames: frames added before the first and after the last detection of each run.
        extend_growth: growth of a box beyond an end per frame of distance to the detection, as a
            fraction of its size (0.04: 4 % wider and higher each frame).
        gap_growth: the same for an interpolated box and the nearer of its two detections.
        accept_distance: cosine distance below which two faces are the same person (0.63: the
            operating point at FAR 1e-3 that the anchor geometry is built on).
        overlap_distance: the looser bound that holds where boxes overlap by `overlap_iou`.
        overlap_iou: see `overlap_distance`.
        iou_weight: weight of `1 - IoU` in the cost beside the identity distance.
        unknown_distance: stands in for the identity distance where a face has no embedding.
        motion_iou_min: overlap that is enough without embeddings.
        motion_reach_sizes: distance of centres, in box sizes, that is enough without embeddings.
        motion_size_ratio_max: a face does not change its size by more, without embeddings.
        motion_memory_frames: frames after which position alone says nothing any more.
        jump_sizes_per_frame: fastest believable motion when only the identity agrees, in box
            sizes per frame; after a long absence this allows every place in the frame.
        embedding_momentum: memory of a track's running embedding.
        embedding_weight_min: embeddings of worse faces are left out of the assignment.
    """

    max_gap_frames: int = 30
    extend_frames: int = 5
    extend_growth: float = 0.04
    gap_growth: float = 0.015
    accept_distance: float = 0.63
    overlap_distance: float = 0.8
    overlap_iou: float = 0.5
    iou_weight: float = 0.3
    unknown_distance: float = 0.4
    motion_iou_min: float = 0.2
    motion_reach_sizes: float = 0.75
    motion_size_ratio_max: float = 1.8
    motion_memory_frames: int = 30
    jump_sizes_per_frame: float = 1.5
    embedding_momentum: float = 0.9
    embedding_weight_min: float = 0.05

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("max_gap_frames", "extend_frames", "motion_memory_frames"):
            if getattr(self, name) < 0:
                raise SetupError(f"TrackParams.{name} is {getattr(self, name)}; it cannot be < 0")
        for name in ("accept_distance", "overlap_distance", "unknown_distance"):
            if not 0 <= getattr(self, name) <= 2:
                raise SetupError(f"TrackParams.{name} is {getattr(self, name)}, outside [0, 2]")
        if not 0 <= self.embedding_momentum < 1:
            raise SetupError(
                f"TrackParams.embedding_momentum is {self.embedding_momentum}, outside [0, 1)"
            )
        if min(self.extend_growth, self.gap_growth) < 0 or self.motion_size_ratio_max < 1:
            raise SetupError("TrackParams: growth must be >= 0, motion_size_ratio_max >= 1")
