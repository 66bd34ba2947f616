"""Training data: aligned crops with teacher labels, stored for fast reading.

One call of `pack` writes a folder:

==================  ==========================  ================================================
file                shape, type                 meaning
==================  ==========================  ================================================
crops_rgb.npy       [n, 128, 128, 3] uint8      the crop of `deid_ops/swap/crop.py`
inside_bits.npy     [n, 2048] uint8             packed bits: crop pixels that lie in the image
mesh_xyz_px.npy     [n, 478, 3] float32         landmarks in crop pixels
expression.npy      [n, 52] float32             expression coefficients in [0, 1]
identity_unit.npy   [n, 128] float32            the teacher's identity vector
split.npy           [n] uint8                   0 train, 1 validation
source_index.npy    [n] uint8                   which source, in the order of `meta.json`
names.txt           n lines                     `source:file`
meta.json           -                           counts, thresholds, hashes: what made this folder
==================  ==========================  ================================================

The split depends on the image's bytes alone, so that a copy of an image under another name, or
another order, lands on the same side. Two runs over the same files give the same folder.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import InputError, SetupError
from deid_ops.swap.crop import CROP_SIZE_PX, crop_matrices, warp_crop
from deid_ops.swap.layout import MESH_POINTS
from deid_ops.train.sources import LandmarkFinder, SourceImage, decode_bgr
from deid_ops.train.teachers import MESH_SIZE_PX, Labels, Teachers, sharpness
from deid_ops.types import F32, U8, Bool

FORMAT_VERSION = 1
COLUMNS: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
    "crops_rgb": ((CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8),
    "inside_bits": ((CROP_SIZE_PX * CROP_SIZE_PX // 8,), np.uint8),
    "mesh_xyz_px": ((MESH_POINTS, 3), np.float32),
    "expression": ((52,), np.float32),
    "identity_unit": ((128,), np.float32),
    "split": ((), np.uint8),
    "source_index": ((), np.uint8),
}


@dataclass(frozen=True, slots=True)
class PackConfig:
    """What is kept and how it is split."""

    min_eye_distance_px: float = 20.0  # in the source image
    min_sharpness: float = 12.0  # variance of the Laplacian of the crop
    min_presence: float = 0.5  # the mesh network's confidence
    validation_per_mille: int = 40
    batch: int = 32


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One face before labelling."""

    name: str
    source: int
    split: int
    crop_rgb: U8
    fine_rgb: U8
    inside_bits: U8


def split_of(data: bytes, validation_per_mille: int) -> int:
    """Return 1 (validation) or 0 (train) from the image's own bytes.

    Example:
        >>> split_of(b"a", 1000), split_of(b"a", 0)
        (1, 0)
    """
    digest = hashlib.sha256(b"deid split 1" + data).digest()
    return int(int.from_bytes(digest[:8], "big") % 1000 < validation_per_mille)


def prepare(
    image: SourceImage, source: int, config: PackConfig, find: LandmarkFinder | None
) -> _Prepared | str:
    """Decode, align and filter one image; returns the reason where it is dropped."""
    try:
        frame = decode_bgr(image)
    except InputError as error:
        return error.reason
    points = image.landmarks_xy_px
    if points is None:
        points = find(frame) if find is not None else None
    if points is None:
        return "no_landmarks"
    if float(np.linalg.norm(points[1] - points[0])) < config.min_eye_distance_px:
        return "too_small"
    matrix = crop_matrices(points[None])[0]
    crop = warp_crop(frame, matrix)[..., ::-1]
    if sharpness(np.ascontiguousarray(crop)) < config.min_sharpness:
        return "blurred"
    ones = np.ones(frame.shape[:2], np.uint8)
    inside = cv2.warpAffine(ones, matrix, (CROP_SIZE_PX, CROP_SIZE_PX), flags=cv2.INTER_NEAREST)
    return _Prepared(
        image.name,
        source,
        split_of(image.data, config.validation_per_mille),
        np.ascontiguousarray(crop),
        np.ascontiguousarray(warp_crop(frame, matrix, MESH_SIZE_PX)[..., ::-1]),
        np.packbits(inside.reshape(-1).astype(np.uint8)),
    )


def pack(
    sources: Sequence[tuple[str, Iterable[SourceImage]]],
    out: Path,
    teachers: Teachers,
    config: PackConfig,
    *,
    find: LandmarkFinder | None = None,
    limit: int | None = None,
    report: Callable[[int, Counter[str]], None] | None = None,
) -> dict[str, Any]:
    """Write the folder described at the top.

    Args:
        sources: (name, images) in a fixed order.
        out: the folder; it must not hold a finished pack.
        teachers: the labelling networks.
        config: thresholds.
        find: five points of an image without them.
        limit: stop after this many images.
        report: called once a batch with the number kept and the drop reasons.

    Returns:
        What is written to `meta.json`.

    Raises:
        SetupError: `out` holds a finished pack already, or no face was kept.
    """
    if (out / "meta.json").exists():
        raise SetupError(f"{out}: holds a finished pack; remove it or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    dropped: Counter[str] = Counter()
    names: list[str] = []
    files = {name: (out / f"{name}.raw").open("wb") for name in COLUMNS}
    try:
        for batch in _batches(_faces(sources, config, find, limit, dropped), config.batch):
            fine, crops = (
                np.stack([f.fine_rgb for f in batch]),
                np.stack([f.crop_rgb for f in batch]),
            )
            labels = teachers.label(fine, crops)
            keep = labels.presence >= config.min_presence
            dropped["no_mesh"] += int((~keep).sum())
            for name, values in _columns(batch, crops, labels, keep).items():
                files[name].write(np.ascontiguousarray(values, COLUMNS[name][1]).tobytes())
            names += [
                f"{sources[f.source][0]}:{f.name}" for f, k in zip(batch, keep, strict=True) if k
            ]
            if report is not None:
                report(len(names), dropped)
    finally:
        for handle in files.values():
            handle.close()
    if not names:
        raise SetupError(f"no usable face in the sources: {dict(dropped)}")
    meta = {"identity_only": teachers.identity_only, "sources": [name for name, _ in sources]}
    return _finish(out, names, meta, config, dropped)


def _faces(
    sources: Sequence[tuple[str, Iterable[SourceImage]]],
    config: PackConfig,
    find: LandmarkFinder | None,
    limit: int | None,
    dropped: Counter[str],
) -> Iterator[_Prepared]:
    seen = 0
    for index, (_, images) in enumerate(sources):
        for image in images:
            if limit is not None and seen >= limit:
                return
            seen += 1
            face = prepare(image, index, config, find)
            if isinstance(face, str):
                dropped[face] += 1
            else:
                yield face


def _batches(faces: Iterable[_Prepared], size: int) -> Iterator[list[_Prepared]]:
    batch: list[_Prepared] = []
    for face in faces:
        batch.append(face)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _columns(batch: list[_Prepared], crops: U8, labels: Labels, keep: Bool) -> dict[str, Any]:
    return {
        "crops_rgb": crops[keep],
        "inside_bits": np.stack([f.inside_bits for f in batch])[keep],
        "mesh_xyz_px": labels.mesh_xyz_px[keep],
        "expression": labels.expression[keep],
        "identity_unit": labels.identity_unit[keep],
        "split": np.array([f.split for f in batch])[keep],
        "source_index": np.array([f.source for f in batch])[keep],
    }


def _finish(
    out: Path, names: list[str], about: dict[str, Any], config: PackConfig, dropped: Counter[str]
) -> dict[str, Any]:
    """Turn the raw columns into .npy files by writing the header in front; then the metadata."""
    hashes = {}
    for column, (shape, dtype) in COLUMNS.items():
        raw = np.memmap(out / f"{column}.raw", dtype=dtype, mode="r", shape=(len(names), *shape))
        np.save(out / f"{column}.npy", raw)
        hashes[column] = hashlib.sha256(raw.tobytes()).hexdigest()
        (out / f"{column}.raw").unlink()
    (out / "names.txt").write_text("\n".join(names) + "\n")
    split = np.load(out / "split.npy")
    meta: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "n": len(names),
        "n_validation": int(split.sum()),
        **about,
        "dropped": dict(sorted(dropped.items())),
        "config": asdict(config),
        "sha256": hashes,
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=1))
    return meta


def evenly(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return at most so many of some rows, evenly drawn, and so from all sources of a pack.

    Example:
        >>> evenly(np.arange(10, 20), 3).tolist(), evenly(np.arange(2), 3).tolist()
        ([10, 14, 19], [0, 1])
    """
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


class Pack:
    """A finished pack, memory-mapped.

    Raises:
        SetupError: the folder holds no finished pack, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "meta.json").is_file():
            raise SetupError(f"{folder}: no finished pack; run `deid train data SOURCE --out DIR`")
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        if self.meta["format_version"] != FORMAT_VERSION:
            raise SetupError(f"{folder}: pack format {self.meta['format_version']}, not 1")
        self.columns: dict[str, npt.NDArray[Any]] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS
        }

        self._folder = folder

    def __len__(self) -> int:
        return int(self.meta["n"])

    def names(self) -> list[str]:
        """Return `source:file` of every row."""
        return (self._folder / "names.txt").read_text(encoding="utf-8").splitlines()

    def rows(self, split: int) -> npt.NDArray[np.int64]:
        """Return the row numbers [k] of one split (0 train, 1 validation)."""
        return np.flatnonzero(self.columns["split"] == split)

    def rows_of_source(self, name: str) -> npt.NDArray[np.int64]:
        """Return the row numbers [k] of one source, of both splits.

        Raises:
            SetupError: the pack has no such source.
        """
        known: list[str] = self.meta["sources"]
        if name not in known:
            raise SetupError(f"the pack has no source {name!r}; it has {', '.join(known)}")
        return np.flatnonzero(self.columns["source_index"] == known.index(name))

    def whole_rows(self, split: int) -> npt.NDArray[np.int64]:
        """Return the row numbers of a split's crops that lie inside their pictures."""
        rows = self.rows(split)
        whole = (self.columns["inside_bits"][rows] == 255).all(axis=1)
        return rows[np.flatnonzero(whole)]

    def inside(self, rows: npt.NDArray[np.int64]) -> F32:
        """Return [n, 128, 128]: 1 where a crop shows the image, 0 where its border repeats."""
        bits = np.unpackbits(self.columns["inside_bits"][rows], axis=1)
        return bits.reshape(len(rows), CROP_SIZE_PX, CROP_SIZE_PX).astype(np.float32)
