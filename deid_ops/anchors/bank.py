"""The bank of synthetic identities that faces are given instead of their own.

A bank is a matrix of unit vectors in the embedding space of the conditioning encoder. It never
holds the vector of a real person. Two sources:

- an `.npz` file with `vectors_unit` (`float32 [m, d]`) and `meta` (a JSON object as a string:
  how the vectors were made), shipped with trained generator weights, and with what two encoders
  make of each anchor's painted faces (`Appearance`);
- `density_bank`: a density model of the embedding space, for the time before such a file exists.
  The model is the uniform density on the sphere. It is the density of largest entropy, assumes
  nothing about real people, and is close to what recognisers with an angular margin are trained
  towards: real adults' vectors have a mean pairwise cosine of only about 0.05. A generator that
  conditions on embeddings sees plausible but not typical identities, so the trained bank is
  better where there is a generator; for redaction and for linkage both serve alike.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError
from deid_ops.types import F32, I64

UNIT_TOLERANCE = 1e-3
CANDIDATE_BATCH = 256
ROUNDS_WITHOUT_SUCCESS = 8


@dataclass(frozen=True, slots=True)
class Appearance:
    """How two encoders see the faces painted with each anchor, one that took no part in training.

    An anchor is a wish; what is painted lies elsewhere, and differently so under every encoder.

    Attributes:
        judged: `[m, g]` mean of the judge's unit vectors over some faces, float32.
        own: `[m, d]` the same of the conditioning encoder.
        encoder: the judge's name in the calibration.
        painter_sha256: generator that painted the faces.
    """

    judged: F32
    own: F32
    encoder: str
    painter_sha256: str


@dataclass(frozen=True, slots=True)
class AnchorBank:
    """Synthetic identities; an anchor's id is its row.

    Attributes:
        vectors_unit: `[m, d]` unit vectors, read-only.
        meta: how they were made (model, data, licence, seed).
        appearance: of its anchors, where it was measured.
    """

    vectors_unit: F32
    meta: str = "{}"
    appearance: Appearance | None = None

    def __post_init__(self) -> None:
        """Refuse a bank that is empty, not finite or not of unit length."""
        vectors = np.ascontiguousarray(self.vectors_unit, dtype=np.float32)
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise SetupError(f"anchor bank: expected [m, d] vectors, got shape {vectors.shape}")
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not np.all(np.abs(norms - 1) <= UNIT_TOLERANCE):
            worst = int(np.nanargmax(np.abs(norms - 1))) if np.isfinite(norms).any() else 0
            raise SetupError(f"anchor bank: vector {worst} has length {norms[worst]:.4f}, not 1")
        for seen in (self.appearance.judged, self.appearance.own) if self.appearance else ():
            if len(seen) != len(vectors):
                raise SetupError(f"anchor bank: {len(seen)} appearances of {len(vectors)} anchors")
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors_unit", vectors)

    def __len__(self) -> int:
        return len(self.vectors_unit)

    def take(self, rows: I64) -> AnchorBank:
        """Return the anchors of some rows [k]; `meta` stays as it is."""
        seen = self.appearance
        kept = seen and replace(seen, judged=seen.judged[rows], own=seen.own[rows])
        return replace(self, vectors_unit=self.vectors_unit[rows], appearance=kept)

    @property
    def dim(self) -> int:
        """Length of one vector."""
        return int(self.vectors_unit.shape[1])

    @property
    def sha256(self) -> str:
        """Hash of shape and values, for the lineage."""
        head = f"{len(self)}x{self.dim}:float32:".encode()
        little_endian = self.vectors_unit.astype("<f4").tobytes()
        return hashlib.sha256(head + little_endian).hexdigest()


def load_bank(path: Path) -> AnchorBank:
    """Read a bank from an `.npz` file.

    Raises:
        SetupError: the file is missing, is no `.npz`, lacks `vectors_unit`, or holds vectors that
            are not of unit length.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            vectors: npt.NDArray[Any] = data["vectors_unit"]
            meta = str(data["meta"]) if "meta" in data else "{}"
            # an older bank has the judge's view alone: as if it had never been measured
            names = ("appearance", "appearance_own") if "appearance_own" in data else ()
            seen = [data[name].astype(np.float32) for name in names]
    except FileNotFoundError as error:
        raise SetupError(f"{path}: anchor bank not found; give another path or none") from error
    except KeyError as error:
        raise SetupError(f"{path}: anchor bank without the array `vectors_unit`") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SetupError(f"{path}: not an anchor bank (.npz): {error}") from error
    try:
        tree = json.loads(meta)
    except json.JSONDecodeError as error:
        raise SetupError(f"{path}: `meta` is not JSON: {error}") from error
    appearance = None
    try:
        if seen:
            about = tree.get("appearance", {})
            judged, own = seen
            encoder, painter = about.get("encoder", ""), about.get("painter_sha256", "")
            appearance = Appearance(judged, own, encoder, painter)
        return AnchorBank(vectors, meta, appearance)
    except SetupError as error:
        raise SetupError(f"{path}: {error}") from error


def save_bank(bank: AnchorBank, path: Path) -> None:
    """Write a bank as `load_bank` reads it."""
    arrays: dict[str, npt.NDArray[Any]] = {"vectors_unit": bank.vectors_unit}
    meta = json.loads(bank.meta)
    if bank.appearance is not None:
        arrays["appearance"] = bank.appearance.judged.astype(np.float16)
        arrays["appearance_own"] = bank.appearance.own.astype(np.float16)
        meta["appearance"] = {
            "encoder": bank.appearance.encoder,
            "painter_sha256": bank.appearance.painter_sha256,
        }
    with path.open("wb") as file:
        np.savez(file, **arrays, meta=np.array(json.dumps(meta, sort_keys=True)))  # type: ignore[arg-type]


def density_bank(n: int, dim: int, seed: int, apart_min: float = 0.5) -> AnchorBank:
    """Draw a bank from the uniform density on the sphere, no two vectors closer than asked.

    Args:
        n: number of anchors.
        dim: dimensions of the embedding space.
        seed: the same seed gives the same bank. The bank is public; what is secret is the key
            that chooses from it (see `anchors.choose`).
        apart_min: smallest cosine distance between two anchors.

    Raises:
        SetupError: so many vectors do not fit so far apart.

    Example:
        >>> bank = density_bank(100, 128, seed=1)
        >>> bool((bank.vectors_unit @ bank.vectors_unit.T - np.eye(100)).max() <= 0.5)
        True
    """
    if n < 1 or dim < 2:
        raise SetupError(f"density_bank: n is {n}, dim is {dim}")
    rng = np.random.Generator(np.random.PCG64(seed))
    kept = np.zeros((0, dim))
    failed = 0
    while len(kept) < n:
        before = len(kept)
        draws = rng.standard_normal((CANDIDATE_BATCH, dim))
        draws /= np.linalg.norm(draws, axis=1, keepdims=True)
        for vector in draws[: n - len(kept)]:
            if len(kept) == 0 or float((kept @ vector).max()) <= 1.0 - apart_min:
                kept = np.concatenate([kept, vector[None]])
        failed = failed + 1 if len(kept) == before else 0
        if failed == ROUNDS_WITHOUT_SUCCESS:
            raise SetupError(
                f"density_bank: only {len(kept)} of {n} vectors fit at cosine distance "
                f"{apart_min} in {dim} dimensions; ask for fewer anchors or a smaller distance"
            )
    meta = {"source": "uniform density on the sphere", "seed": seed, "apart_min": apart_min}
    return AnchorBank(kept.astype(np.float32), json.dumps(meta, sort_keys=True))
