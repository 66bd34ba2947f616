"""The values that flow between the steps: frozen, checked at birth, arrays read-only.

Convention
    Pixels: `x` to the right, `y` down, pixel centres at integers (OpenCV's convention), in the
    *coded* frame, i.e. before the container's display rotation is applied.
    Boxes are `(x0, y0, x1, y1)`, landmarks `(left eye, right eye, nose, left mouth, right mouth)`
    as seen in the image (the left eye has the smaller `x` in an upright face).
    Frames are numbered from 0 in presentation order within their segment.
    Time is integer presentation timestamps (`pts`) in the stream's own `time_base`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


def frozen_array(value: Any, dtype: npt.DTypeLike, shape: tuple[int, ...], name: str) -> Any:
    """Return `value` as a read-only array of `dtype`; -1 in `shape` matches any length.

    Raises:
        InvariantError: the shape differs, or a float array holds a value that is not finite.
    """
    array = np.ascontiguousarray(np.asarray(value, dtype=dtype).reshape(np.shape(value)))
    if array.size == 0 and shape and shape[0] in (-1, 0):
        array = array.reshape((0, *(max(n, 0) for n in shape[1:])))
    matches = len(array.shape) == len(shape) and all(
        want in (-1, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not matches:
        raise InvariantError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvariantError(f"{name}: holds values that are not finite")
    view = array.view()
    view.flags.writeable = False
    return view


class BoxOrigin(IntEnum):
    """Where a box in a track comes from."""

    DETECTED = 0
    INTERPOLATED = 1  # between two detections of the same track
    EXTENDED = 2  # the margin before the first and after the last detection
    REPAIRED = 3  # found by the audit in the output, treated in a second pass


class Treatment(StrEnum):
    """What was done to one face."""

    SWAPPED = "swapped"
    REDACTED = "redacted"


class Reason(StrEnum):
    """Why a face ended where it did on the ladder."""

    REPLACED = "replaced"  # first choice: generator and denoiser, judged far enough
    REPLACED_STRONGER = "replaced_stronger"  # after another anchor or a stronger noise
    NO_GENERATOR = "no_generator"
    NO_LANDMARKS = "no_landmarks"
    TOO_SMALL = "too_small"
    TOO_TURNED = "too_turned"
    TOO_BLURRED = "too_blurred"
    NOT_DETECTED = "not_detected"  # filled box: no landmarks of its own, or on another's head
    LOW_SCORE = "low_score"
    TOO_CLOSE = "judged_too_close"
    NOT_FOUND_AGAIN = "not_found_again"  # no detector finds a face in the replacement
    MISPLACED = "misplaced"  # the replacement would lie beside the face
    TOO_BRIEF = "too_brief"  # replaced for a few frames only, between redacted ones
    NO_ANCHOR = "no_anchor"  # no synthetic identity at a safe distance is left
    POLICY = "policy"  # the configuration redacts everything
    AUDIT_REPAIR = "audit_repair"


@dataclass(frozen=True, slots=True)
class Faces:
    """All detections of one segment, as a structure of arrays with `n` rows.

    Rows are sorted by `frame_index`. `embedding` is the conditioning encoder's unit vector, or a
    row of zeros where `has_embedding` is false (embeddings are taken on a stride, not everywhere).
    `guard_vector` is a judge's, taken of fewer faces still: a row of zeros where it was not. Both
    exist in memory and on one Ray edge only, never in a table.
    """

    frame_index: I32  # [n]
    boxes_xyxy_px: F32  # [n, 4]
    landmarks_xy_px: F32  # [n, 5, 2]
    score: F32  # [n] in [0, 1]
    eye_distance_px: F32  # [n]
    blur: F32  # [n] in [0, 1], 0 sharp, 1 no detail left (see detect/quality.py)
    turn: F32  # [n] in [0, 1], 0 frontal, 1 profile
    embedding: F32  # [n, d]
    has_embedding: Bool  # [n]
    guard_vector: F32 = field(default_factory=lambda: np.zeros(0, np.float32))  # [n, g]

    def __post_init__(self) -> None:
        """Freeze the arrays and compare their lengths."""
        n = len(self.frame_index)
        if np.ndim(self.guard_vector) < 2:
            _set(self, "guard_vector", np.zeros((n, 0), np.float32))
        _set(self, "frame_index", frozen_array(self.frame_index, np.int32, (n,), "frame_index"))
        _set(self, "boxes_xyxy_px", frozen_array(self.boxes_xyxy_px, np.float32, (n, 4), "boxes"))
        marks = frozen_array(self.landmarks_xy_px, np.float32, (n, 5, 2), "landmarks_xy_px")
        _set(self, "landmarks_xy_px", marks)
        for name in ("score", "eye_distance_px", "blur", "turn"):
            _set(self, name, frozen_array(getattr(self, name), np.float32, (n,), name))
        for name in ("embedding", "guard_vector"):
            vectors = getattr(self, name)
            dim = np.shape(vectors)[-1] if np.ndim(vectors) == 2 else 0
            _set(self, name, frozen_array(vectors, np.float32, (n, dim), name))
        _set(self, "has_embedding", frozen_array(self.has_embedding, np.bool_, (n,), "has_emb"))
        if n and np.any(np.diff(self.frame_index) < 0):
            raise InvariantError("Faces: rows are not sorted by frame_index")

    def __len__(self) -> int:
        return len(self.frame_index)

    @classmethod
    def empty(cls, embedding_dim: int = 0, guard_dim: int = 0) -> Faces:
        """No faces at all."""
        z: Any = np.zeros(0)  # each array is cast to its own type at birth
        boxes, points, vectors = (_no_rows(4), _no_rows(5, 2), _no_rows(embedding_dim))
        return cls(z, boxes, points, z, z, z, z, vectors, z, _no_rows(guard_dim))

    def take(self, rows: npt.NDArray[Any]) -> Faces:
        """Return the given rows (indices or a boolean mask), in that order."""
        return Faces(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class FaceTracks:
    """Every face box of a segment after tracking, `n` rows sorted by `(frame_index, track)`.

    Each detection is one row with `origin == DETECTED`; the rest was filled in. `track` counts
    from 0 within the segment. Rows that are not detections carry interpolated landmarks
    (`has_landmarks` false where none could be interpolated).
    """

    frame_index: I32  # [n]
    track: I32  # [n]
    boxes_xyxy_px: F32  # [n, 4]
    landmarks_xy_px: F32  # [n, 5, 2]
    has_landmarks: Bool  # [n]
    origin: U8  # [n], BoxOrigin
    score: F32  # [n]
    eye_distance_px: F32  # [n]
    blur: F32  # [n]
    turn: F32  # [n]

    def __post_init__(self) -> None:
        """Freeze the arrays and compare their lengths."""
        n = len(self.frame_index)
        shapes: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
            "frame_index": (np.int32, (n,)),
            "track": (np.int32, (n,)),
            "boxes_xyxy_px": (np.float32, (n, 4)),
            "landmarks_xy_px": (np.float32, (n, 5, 2)),
            "has_landmarks": (np.bool_, (n,)),
            "origin": (np.uint8, (n,)),
        }
        for f in fields(self):
            dtype, shape = shapes.get(f.name, (np.float32, (n,)))
            _set(self, f.name, frozen_array(getattr(self, f.name), dtype, shape, f.name))
        if n and np.any(np.diff(self.frame_index) < 0):
            raise InvariantError("FaceTracks: rows are not sorted by frame_index")

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def n_tracks(self) -> int:
        """Number of tracks; tracks are numbered 0..n_tracks-1."""
        return int(self.track.max()) + 1 if len(self) else 0

    @classmethod
    def empty(cls) -> FaceTracks:
        """No tracks at all."""
        z: Any = np.zeros(0)
        return cls(z, z, _no_rows(4), _no_rows(5, 2), z, z, z, z, z, z)

    def take(self, rows: npt.NDArray[Any]) -> FaceTracks:
        """Return the given rows (indices or a boolean mask), in that order."""
        return FaceTracks(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class FaceCrops:
    """Replacement crops of a segment, one row per treated face that has one.

    `row` points into the segment's `FaceTracks`. `crop_from_frame` is the 2x3 similarity that
    maps frame pixels to crop pixels. Crops are BGR, uint8. `weight` says how much of each of their
    pixels is drawn into the frame, of 255; it is 0 where nothing was replaced.
    """

    row: I32  # [k]
    crops_bgr: U8  # [k, S, S, 3]
    crop_from_frame: F32  # [k, 2, 3]
    weight: U8  # [k, S, S]

    def __post_init__(self) -> None:
        """Freeze the arrays and compare their lengths."""
        k = len(self.row)
        size = np.shape(self.crops_bgr)[1] if np.ndim(self.crops_bgr) == 4 else 0
        _set(self, "row", frozen_array(self.row, np.int32, (k,), "row"))
        crops = frozen_array(self.crops_bgr, np.uint8, (k, size, size, 3), "crops_bgr")
        _set(self, "crops_bgr", crops)
        matrix = frozen_array(self.crop_from_frame, np.float32, (k, 2, 3), "crop_from_frame")
        _set(self, "crop_from_frame", matrix)
        _set(self, "weight", frozen_array(self.weight, np.uint8, (k, size, size), "weight"))

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def empty(cls, size: int) -> FaceCrops:
        """No crops."""
        z: Any = np.zeros(0)
        return cls(z, _no_rows(size, size, 3), _no_rows(2, 3), _no_rows(size, size))


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open interval `[pts_start, pts_end)` of one video stream.

    `pts_end` is None when the span runs to the end of the stream. `n_frames` is the number of
    frames the container index promises for it.
    """

    stream_index: int
    pts_start: int
    pts_end: int | None
    n_frames: int
    time_base: Fraction

    def __post_init__(self) -> None:
        """Refuse empty spans."""
        if self.pts_end is not None and self.pts_end <= self.pts_start:
            raise InvariantError(f"Span: empty: [{self.pts_start}, {self.pts_end})")
        if self.n_frames < 1:
            raise InvariantError(f"Span: n_frames is {self.n_frames}")

    def contains(self, pts: int) -> bool:
        """Tell whether a presentation timestamp lies in the span."""
        return self.pts_start <= pts and (self.pts_end is None or pts < self.pts_end)


def _no_rows(*shape: int) -> Any:
    return np.zeros((0, *shape))


def _set(obj: object, name: str, value: object) -> None:
    object.__setattr__(obj, name, value)
