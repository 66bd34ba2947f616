"""Where training images come from: folders and tars of images, one face each, five points each.

Parquet is read by `jobs`, which hands the same `SourceImage` on. Points come from a CSV beside
the images (columns `file`, `eye_left_x_px`, ...), or from a detector the caller passes.
"""

from __future__ import annotations

import csv
import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deid_ops.errors import InputError, SetupError
from deid_ops.types import F32, U8

IMAGE_SUFFIXES = (".webp", ".jpg", ".jpeg", ".png")
POINT_COLUMNS = tuple(
    f"{point}_{axis}_px"
    for point in ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")
    for axis in ("x", "y")
)
# (image BGR) -> five points [5, 2] of its largest face, or None where there is none.
LandmarkFinder = Callable[[U8], F32 | None]


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One encoded image and, where known, its five points in pixels [5, 2]."""

    name: str
    data: bytes
    landmarks_xy_px: F32 | None


def read_landmarks(path: Path) -> dict[str, F32]:
    """Read a landmark CSV into `file -> [5, 2]`.

    Raises:
        SetupError: a column is missing.
    """
    with path.open(newline="") as handle:
        reader = csv.DictReader(handle)
        missing = {"file", *POINT_COLUMNS} - set(reader.fieldnames or ())
        if missing:
            raise SetupError(f"{path}: columns {sorted(missing)} are missing")
        return {
            row["file"]: np.array([float(row[c]) for c in POINT_COLUMNS], np.float32).reshape(5, 2)
            for row in reader
        }


def landmark_file_of(source: Path) -> Path | None:
    """Return `NAME_landmarks.csv` beside `NAME.tar` or `NAME/`, where it exists."""
    candidate = source.with_name(source.stem + "_landmarks.csv")
    return candidate if candidate.is_file() else None


def iter_source(source: Path, landmarks: dict[str, F32] | None = None) -> Iterator[SourceImage]:
    """Yield the images of a folder or tar, in the order of their names.

    Raises:
        SetupError: the path is neither a folder nor a tar.
    """
    points = landmarks or {}
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
            name = path.relative_to(source).as_posix()
            yield SourceImage(name, path.read_bytes(), points.get(name))
        return
    if not source.is_file() or not tarfile.is_tarfile(source):
        raise SetupError(f"{source}: expected a folder or a tar of {', '.join(IMAGE_SUFFIXES)}")
    with tarfile.open(source) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            handle = archive.extractfile(member)
            if handle is not None and member.name.lower().endswith(IMAGE_SUFFIXES):
                yield SourceImage(member.name, handle.read(), points.get(member.name))


def sample(images: Iterator[SourceImage], per_mille: int) -> Iterator[SourceImage]:
    """Keep a share of the images, chosen by a hash of their bytes (the same ones every time)."""
    for image in images:
        digest = hashlib.sha256(b"deid sample 1" + image.data).digest()
        if int.from_bytes(digest[:8], "big") % 1000 < per_mille:
            yield image


def decode_bgr(image: SourceImage) -> U8:
    """Decode to [h, w, 3] BGR.

    Raises:
        InputError: the bytes are no image.
    """
    raw = np.frombuffer(image.data, np.uint8)
    decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR) if len(raw) else None
    if decoded is None:
        raise InputError("not_an_image", image.name, "the bytes cannot be decoded", "remove it")
    return np.asarray(decoded, dtype=np.uint8)
