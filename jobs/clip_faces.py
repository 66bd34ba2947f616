"""Faces of a clip before and after, for `jobs/evaluate_clips.py`.

Faces are detected in the *source*, five points and all, and matched with the boxes of the sidecar
(`OUTPUT.json`, written by `deid run`). The judges look at the output where the same detector finds
the face there, as a searcher would, and, where it finds none, where the source shows it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ops.detect.base import Detector
from deid_ops.errors import SetupError
from deid_ops.geometry import iou_matrix
from deid_ops.judge.audit import covered_share
from deid_ops.judge.protocol import Judge
from deid_ops.metrics.image import psnr
from deid_ops.metrics.utility import READER_SIZE_PX
from deid_ops.swap.crop import INNER_MASK, crop_matrices, invert_matrices, warp_crop
from deid_ops.types import F32, U8, Bool
from jobs.media import Media, open_media

_SAME_FACE_IOU = 0.3
_SURE = 0.5
_MARGIN = 0.5  # of the box: outside it no treatment may have changed a pixel


@dataclass(frozen=True)
class SidecarFaces:
    """Boxes of an output, `n` rows."""

    frame: np.ndarray  # [n]
    track: np.ndarray  # [n]
    person: np.ndarray  # [n] str
    boxes_xyxy_px: F32  # [n, 4]
    swapped: Bool  # [n]


@dataclass
class Sampled:
    """Faces found in sampled frames of the source, and the same places in the outputs."""

    release: list[int] = field(default_factory=list)  # which of the outputs
    track: list[int] = field(default_factory=list)
    person: list[str] = field(default_factory=list)
    eye_distance_px: list[float] = field(default_factory=list)
    swapped: list[bool] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)  # of every detection, matched or not
    before: dict[str, list[F32]] = field(default_factory=dict)
    after: dict[str, list[F32]] = field(default_factory=dict)  # where the output shows the face
    after_in_place: dict[str, list[F32]] = field(default_factory=dict)  # where the source shows it
    faceless: dict[str, list[F32]] = field(default_factory=dict)  # of the source, the face grey
    crops_before: list[U8] = field(default_factory=list)
    crops_after: list[U8] = field(default_factory=list)
    psnr_outside_db: list[float] = field(default_factory=list)


def read_sidecar(path: Path) -> SidecarFaces:
    """Read the boxes that `deid run` wrote beside a clip.

    Raises:
        SetupError: the file is missing or has another form.
    """
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        faces = tree["faces"]
        person_of = {
            entry["track"]: entry["person"] or f"track {entry['track']}" for entry in tree["tracks"]
        }
        return SidecarFaces(
            np.array([f["frame"] for f in faces], dtype=np.int64),
            np.array([f["track"] for f in faces], dtype=np.int64),
            np.array([person_of[f["track"]] for f in faces], dtype=np.str_),
            np.array([f["box_xyxy_px"] for f in faces], dtype=np.float32).reshape(-1, 4),
            np.array([f["treatment"] == "swapped" for f in faces], dtype=np.bool_),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{path}: no sidecar of `deid run` ({type(error).__name__}: {error}); "
            "make the output with `deid run` and keep the JSON file beside it"
        ) from error


def sample_clip(
    source: Path,
    outputs: Sequence[Path],
    judges: Sequence[Judge],
    detector: Detector,
    n_frames: int,
) -> Sampled:
    """Return the faces of frames sampled evenly over a clip.

    Args:
        source: the original.
        outputs: what was published, with `OUTPUT.json` beside it; more than one are releases
            under different keys, each compared with the source.
        judges: encoders that look at each face.
        detector: finds faces in the source, and again in the output.
        n_frames: frames sampled.

    Raises:
        SetupError: no sidecar, another number of frames, or no face in the sampled ones.
    """
    sampled = Sampled()
    for release, output in enumerate(outputs):
        sidecar = read_sidecar(output.with_name(f"{output.name}.json"))
        for index, before, after in _frame_pairs(source, output, n_frames):
            _sample(sampled, sidecar, index, before, after, judges, detector)
        sampled.release.extend([release] * (len(sampled.track) - len(sampled.release)))
    if not sampled.track:
        raise SetupError(f"{source}: no face of the sidecar was found in {n_frames} sampled frames")
    return sampled


def _frame_pairs(source: Path, output: Path, n_frames: int) -> Iterator[tuple[int, U8, U8]]:
    first, second = (open_media(str(path), None) for path in (source, output))
    n_source, n_output = len(first.pts()), len(second.pts())
    if n_source != n_output:
        raise SetupError(f"{output}: {n_output} frames, the source has {n_source}")
    wanted = {int(i) for i in np.linspace(0, n_source - 1, n_frames)}
    with _whole(first) as before, _whole(second) as after:
        shown = iter(after)
        number, image_after = next(shown, (n_source, None))
        for index, image_before in before:
            # frames that cannot be decoded are left out, of either file
            while number < index:
                number, image_after = next(shown, (n_source, None))
            if number == index and index in wanted and image_after is not None:
                yield index, image_before, image_after


def _whole(media: Media) -> AbstractContextManager[Iterable[tuple[int, U8]]]:
    """Give `(frame index, BGR)` of all frames, however many segments a job would cut."""
    (span,) = media.spans(math.inf)
    return media.images(span)


def _sample(
    sampled: Sampled,
    sidecar: SidecarFaces,
    index: int,
    before: U8,
    after: U8,
    judges: Sequence[Judge],
    detector: Detector,
) -> None:
    sure, sure_after = (h.take(h.score >= _SURE) for h in detector.detect([before, after]))
    rows = np.flatnonzero(sidecar.frame == index)
    boxes = sidecar.boxes_xyxy_px[rows]
    sampled.covered.extend((covered_share(sure.boxes_xyxy_px, boxes, 0.35) >= 0.6).tolist())
    sampled.psnr_outside_db.append(_psnr_outside(before, after, boxes))
    if len(rows) == 0 or len(sure) == 0:
        return
    overlap = iou_matrix(boxes, sure.boxes_xyxy_px)
    again = iou_matrix(boxes, sure_after.boxes_xyxy_px)
    for k, row in enumerate(rows):
        best = int(overlap[k].argmax())
        if overlap[k, best] < _SAME_FACE_IOU:
            continue
        points = sure.landmarks_xy_px[best][None]
        found = bool(again.shape[1] and again[k].max() >= _SAME_FACE_IOU)
        found_points = sure_after.landmarks_xy_px[int(again[k].argmax())][None] if found else points
        sampled.track.append(int(sidecar.track[row]))
        sampled.person.append(str(sidecar.person[row]))
        sampled.eye_distance_px.append(float(np.linalg.norm(points[0, 0] - points[0, 1])))
        sampled.swapped.append(bool(sidecar.swapped[row]))
        sampled.found.append(found)
        matrix = crop_matrices(points)[0]
        sampled.crops_before.append(warp_crop(before, matrix, READER_SIZE_PX))
        sampled.crops_after.append(warp_crop(after, matrix, READER_SIZE_PX))
        seen = _Seen(points, found_points, without_face(before, matrix))
        for judge in judges:
            _embed(sampled, judge, before, after, seen)


@dataclass(frozen=True)
class _Seen:
    """Where the judges look at one face, points [1, 5, 2] of either frame, and its surroundings."""

    points: F32
    points_after: F32
    faceless: U8


def _embed(sampled: Sampled, judge: Judge, before: U8, after: U8, seen: _Seen) -> None:
    """Add a judge's vectors of one face."""
    for vectors, image, points in (
        (sampled.before, before, seen.points),
        (sampled.after, after, seen.points_after),
        (sampled.after_in_place, after, seen.points),
        (sampled.faceless, seen.faceless, seen.points),
    ):
        vectors.setdefault(judge.name, []).append(judge.embed(image, points)[0])


def without_face(image_bgr: U8, crop_from_frame: F32) -> U8:
    """Return a picture [h, w, 3] with all that may be replaced of a face painted grey.

    Args:
        image_bgr: the picture, not changed.
        crop_from_frame: [2, 3] of the face's crop.
    """
    size = (image_bgr.shape[1], image_bgr.shape[0])
    inverse = invert_matrices(crop_from_frame[None])[0]
    mask = cv2.warpAffine(INNER_MASK.astype(np.uint8), inverse, size, flags=cv2.INTER_NEAREST)
    grey: U8 = np.where(mask[..., None] > 0, np.uint8(128), image_bgr)
    return grey


def _psnr_outside(before: U8, after: U8, boxes_xyxy_px: F32) -> float:
    outside = np.ones(before.shape[:2], dtype=np.bool_)
    for x0, y0, x1, y1 in boxes_xyxy_px:
        grow_x, grow_y = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
        rows = slice(max(0, int(y0 - grow_y)), int(y1 + grow_y) + 1)
        outside[rows, max(0, int(x0 - grow_x)) : int(x1 + grow_x) + 1] = False
    return min(100.0, psnr(before, after, outside)) if outside.any() else 100.0
