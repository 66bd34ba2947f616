"""From frames to `Faces`: detection, quality and identity vectors of one segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from deid_ops.detect import quality
from deid_ops.detect.base import Detections, Detector
from deid_ops.detect.nms import without_ghosts
from deid_ops.detect.scores import confirmed_rows, scores_for
from deid_ops.errors import SetupError
from deid_ops.geometry import (
    as_f32,
    iou_matrix,
    quarter_turns,
    rotate_boxes,
    rotate_image,
    rotate_points,
)
from deid_ops.identity.encoders import Encoder
from deid_ops.types import F32, U8, Bool, Faces

_SAME_FACE_IOU = 0.3


@dataclass(frozen=True, slots=True)
class DetectParams:
    """What counts as a face and how often its identity is taken.

    Attributes:
        score_min: smallest score of a face; None for the detector's own thresholds, with weak
            hits confirmed by strong ones (see `scores`).
        score_sure: a run of hits needs one that reaches this; None for the default.
        nms_iou: overlap above which the weaker of two detections goes.
        min_face_px: detections whose longer side is below are dropped.
        embed_every_n_frames: identity vectors are taken on frames whose index is a multiple of
            it, and always for a face that no face of the frame before overlaps.
        batch: frames given to the detector at once.
        guard_eyes_min_px: smaller faces are not shown to the guard: they will not be replaced.
        tile_px: frames with a longer side are looked at in tiles of at most this size.
        overlap_px: least overlap of tiles.
    """

    score_min: float | None = None
    score_sure: float | None = None
    nms_iou: float = 0.4
    min_face_px: float = 6.0
    embed_every_n_frames: int = 5
    batch: int = 1
    guard_eyes_min_px: float = 12.0
    tile_px: int = 2560
    overlap_px: int = 256

    def __post_init__(self) -> None:
        """Refuse settings that would hide faces or never embed."""
        if self.embed_every_n_frames < 1 or self.batch < 1:
            raise SetupError("detect: embed_every_n_frames and batch must be 1 or more")
        if not 0 < self.nms_iou < 1:
            raise SetupError("detect: nms_iou must lie between 0 and 1")


def find_faces(
    frames: Iterable[tuple[int, U8]],
    detector: Detector,
    encoder: Encoder | None,
    params: DetectParams,
    rotation_deg: int = 0,
    guard: Encoder | None = None,
) -> Faces:
    """Find, measure and (on a stride) recognise the faces of a segment.

    Args:
        frames: `(frame index, image BGR [h, w, 3])` in rising order, in coded orientation.
        detector: sees the frames upright.
        encoder: gives the identity vectors; None for none.
        params: thresholds and strides.
        rotation_deg: counter-clockwise turn from the coded to the shown frame, as PyAV's
            `VideoFrame.rotation` (a multiple of 90).
        guard: a judge whose view of the faces helps to choose their anchors; None for none.

    Returns:
        Faces in coded frame pixels, sorted by frame, best score first within a frame. Landmarks
        keep the names they have in the upright frame.
    """
    scores = scores_for(detector.name, params.score_min, params.score_sure)
    n_frames = 0
    dims = [0 if network is None else network.dim for network in (encoder, guard)]
    parts: list[Faces] = [Faces.empty(*dims)]
    previous = (-2, np.zeros((0, 4), np.float32))
    for chunk in _chunks(frames, params.batch):
        n_frames += len(chunk)
        upright = [rotate_image(image, rotation_deg) for _, image in chunk]
        found = [without_ghosts(_large(d, params.min_face_px)) for d in detector.detect(upright)]
        wanted: list[Bool] = []
        for (index, _), faces in zip(chunk, found, strict=True):
            before = previous[1] if previous[0] == index - 1 else previous[1][:0]
            wanted.append(_to_embed(index, faces, before, params))
            previous = (index, faces.boxes_xyxy_px)
        large = [
            rows & (quality.eye_distances_px(faces.landmarks_xy_px) >= params.guard_eyes_min_px)
            for rows, faces in zip(wanted, found, strict=True)
        ]
        vectors = _embeddings(upright, found, wanted, encoder)
        guarded = _embeddings(upright, found, large, guard)
        for k, (index, _) in enumerate(chunk):
            described = _described(index, upright[k], found[k], rotation_deg)
            known = wanted[k] if encoder is not None else np.zeros(len(described), np.bool_)
            parts.append(
                replace(
                    described,
                    embedding=_spread(vectors[k], wanted[k]),
                    has_embedding=known,
                    guard_vector=_spread(guarded[k], large[k]),
                )
            )
    hits = _joined(parts)
    return hits.take(
        confirmed_rows(hits.frame_index, hits.boxes_xyxy_px, hits.score, scores, n_frames)
    )


def _chunks(frames: Iterable[tuple[int, U8]], length: int) -> Iterator[list[tuple[int, U8]]]:
    stream = iter(frames)
    while chunk := list(islice(stream, length)):
        yield chunk


def _large(found: Detections, min_face_px: float) -> Detections:
    sides = found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]
    return found.take(sides.max(axis=1, initial=0.0) >= min_face_px)


def _to_embed(index: int, faces: Detections, boxes_before: F32, params: DetectParams) -> Bool:
    # five points on one spot cannot be aligned
    spread = np.ptp(faces.landmarks_xy_px, axis=1).max(axis=1, initial=0.0)
    usable: Bool = spread > 1.0
    if index % params.embed_every_n_frames == 0:
        return usable
    overlap = iou_matrix(faces.boxes_xyxy_px, boxes_before).max(axis=1, initial=0.0)
    new: Bool = usable & (overlap < _SAME_FACE_IOU)
    return new


def _embeddings(
    images: Sequence[U8],
    found: Sequence[Detections],
    wanted: Sequence[Bool],
    encoder: Encoder | None,
) -> list[F32]:
    """Vectors of the wanted faces of each image, all of the chunk in one run."""
    if encoder is None:
        return [np.zeros((int(rows.sum()), 0), np.float32) for rows in wanted]
    crops = [
        encoder.crop(image, faces.landmarks_xy_px[rows])
        for image, faces, rows in zip(images, found, wanted, strict=True)
    ]
    counts = np.cumsum([len(c) for c in crops])[:-1]
    return list(np.split(encoder.embed_crops(np.concatenate(crops)), counts))


def _spread(vectors: F32, rows: Bool) -> F32:
    """Return [n, d] with the given vectors in the chosen rows, zeros elsewhere."""
    out = np.zeros((len(rows), vectors.shape[1]), np.float32)
    out[rows] = vectors
    return out


def _described(index: int, upright: U8, faces: Detections, rotation_deg: int) -> Faces:
    """Faces of one frame with their measures, moved to the coded frame; no vectors yet."""
    size_wh = (upright.shape[1], upright.shape[0])
    boxes = rotate_boxes(faces.boxes_xyxy_px, size_wh, -rotation_deg)
    marks = rotate_points(faces.landmarks_xy_px, size_wh, -rotation_deg)
    limit = (size_wh if quarter_turns(rotation_deg) % 2 == 0 else size_wh[::-1]) * 2
    return Faces(
        frame_index=np.full(len(faces), index, np.int32),
        boxes_xyxy_px=as_f32(np.clip(boxes, 0, limit)),
        landmarks_xy_px=as_f32(marks),
        score=faces.score,
        eye_distance_px=quality.eye_distances_px(faces.landmarks_xy_px),
        blur=quality.blurs(upright, faces.boxes_xyxy_px),
        turn=quality.turns(faces.landmarks_xy_px),
        embedding=np.zeros((len(faces), 0), np.float32),
        has_embedding=np.zeros(len(faces), np.bool_),
    )


def _joined(parts: Sequence[Faces]) -> Faces:
    return Faces(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in Faces.__dataclass_fields__
        )
    )
