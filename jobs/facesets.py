"""Face sets from folders, tars and their landmark tables, for calibration, evaluation, attacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deid_ops.detect.base import Detector
from deid_ops.errors import SetupError
from deid_ops.metrics.faceset import FaceSet, number_people, person_of_file
from deid_ops.train.sources import (
    SourceImage,
    decode_bgr,
    iter_source,
    landmark_file_of,
    read_landmarks,
)
from deid_ops.types import F32, U8

_LOG = logging.getLogger("deid.facesets")
_BATCH = 8


@dataclass(frozen=True, slots=True)
class _Face:
    image_bgr: U8
    landmarks_xy_px: F32
    person: str


def load_face_set(
    source: Path,
    detector: Callable[[], Detector],
    *,
    limit: int | None = None,
    keep_people_together: bool = True,
) -> FaceSet:
    """Read a face set.

    People are named by their files (`NAME_0001.webp`) or folders. Landmarks come from
    `SOURCE_landmarks.csv` beside the source; otherwise the largest face of each picture is
    detected, and pictures without one are left out and counted in the log.

    Args:
        source: a folder or a tar of images.
        detector: called only when there are no landmarks.
        limit: most pictures to take; None takes all.
        keep_people_together: with a limit, take people who have several pictures first (they are
            the ones that retrieval can be asked about); false spreads the choice over all names.

    Raises:
        SetupError: the source is none, or no face could be read.
    """
    points = landmark_file_of(source)
    table = read_landmarks(points) if points else None
    images = list(iter_source(source, table))
    if limit is not None:
        images = _limited(images, limit) if keep_people_together else _spread(images, limit)
    faces = list(_with_points(images, detector))
    if len(faces) < 2:
        raise SetupError(f"{source}: {len(images)} pictures, but only {len(faces)} with a face")
    if len(faces) < len(images):
        _LOG.warning("%s: no face found in %d pictures", source, len(images) - len(faces))
    return FaceSet(
        source.stem,
        tuple(face.image_bgr for face in faces),
        np.stack([face.landmarks_xy_px for face in faces]),
        number_people([face.person for face in faces]),
    )


def _limited(images: list[SourceImage], limit: int) -> list[SourceImage]:
    by_person: dict[str, list[SourceImage]] = {}
    for image in images:
        by_person.setdefault(person_of_file(image.name), []).append(image)
    several = [i for group in by_person.values() if len(group) > 1 for i in group]
    single = [i for group in by_person.values() if len(group) == 1 for i in group]
    return (several + single)[:limit]


def _spread(images: list[SourceImage], limit: int) -> list[SourceImage]:
    """Return at most `limit` images, evenly over the sorted names (which often sort by age)."""
    if len(images) <= limit:
        return images
    return [images[int(i)] for i in np.linspace(0, len(images) - 1, limit)]


def _with_points(
    images: list[SourceImage], make_detector: Callable[[], Detector]
) -> Iterator[_Face]:
    detector: Detector | None = None
    for start in range(0, len(images), _BATCH):
        chunk = images[start : start + _BATCH]
        pictures = [decode_bgr(image) for image in chunk]
        missing = [i for i, image in enumerate(chunk) if image.landmarks_xy_px is None]
        found = {i: chunk[i].landmarks_xy_px for i in range(len(chunk)) if i not in missing}
        if missing:
            detector = detector or make_detector()
            hits = detector.detect([pictures[i] for i in missing])
            for i, faces in zip(missing, hits, strict=True):
                found[i] = _largest(faces.boxes_xyxy_px, faces.landmarks_xy_px)
        for i, (image, picture) in enumerate(zip(chunk, pictures, strict=True)):
            marks = found[i]
            if marks is not None:
                yield _Face(picture, marks, person_of_file(image.name))


def _largest(boxes_xyxy_px: F32, landmarks_xy_px: F32) -> F32 | None:
    if len(boxes_xyxy_px) == 0:
        return None
    sides = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
    return np.array(landmarks_xy_px[int(np.argmax(sides.prod(axis=1)))])
