"""What the job feeds its networks, for faces of a pack.

The wrappers that the job itself uses are run and watched, so a network is calibrated and judged on
what it will really get, whatever its inputs are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deid_ops.diffuse.bare import BarePainter
from deid_ops.errors import SetupError
from deid_ops.identity.encoders import Encoder
from deid_ops.inference.session import Array, Runtime
from deid_ops.inference.watch import WatchedRuntime
from deid_ops.swap.attributes import AttributeReader
from deid_ops.swap.conditions import to_bgr, to_planes
from deid_ops.swap.crop import ENCODER_SLICE
from deid_ops.train.data import Pack
from deid_ops.train.painting import GeneratorTraining, as_filmed
from deid_ops.types import F32, U8

_BATCH = 16
_SEED = 8
_FOOTAGE_SHARE = 0.5  # of the faces look like footage, the others are portraits

_NEEDS = {"generator": ("attributes",), "denoiser": ("attributes", "generator")}
_Step = Callable[[U8, F32, int], object]  # crops, anchors, number of the batch


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces and the identities to paint over them."""

    crops_bgr: U8  # [n, 128, 128, 3]
    anchors_unit: F32  # [n, 128]


def faces_of(pack: Pack, split: int, n: int, identities_unit: F32 | None = None) -> Faces:
    """Take faces spread over one split, half of them made to look like footage.

    Args:
        pack: crops.
        split: 0 train, 1 validation.
        n: at most this many.
        identities_unit: `[m, 128]` to draw the anchors from; None for the pack's own faces.

    Raises:
        SetupError: the split is empty.
    """
    rows = pack.rows(split)
    if not len(rows):
        raise SetupError(f"split {split} of the pack holds no faces")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, n).astype(int))]
    rng = np.random.default_rng(_SEED + split)
    planes = to_planes(np.ascontiguousarray(pack.columns["crops_rgb"][rows][..., ::-1]))
    filmed = as_filmed(torch.from_numpy(planes), GeneratorTraining(), rng).numpy()
    chosen = rng.random(len(rows)) < _FOOTAGE_SHARE
    planes = np.where(chosen[:, None, None, None], filmed, planes).astype(np.float32)
    drawn = (
        np.asarray(pack.columns["identity_unit"]) if identities_unit is None else identities_unit
    )
    return Faces(to_bgr(planes), drawn[rng.integers(0, len(drawn), len(rows))])


def feeds_of(
    contract: str,
    files: Mapping[str, str],
    faces: Faces,
    noise_strengths: Sequence[float],
    threads: int,
) -> list[Mapping[str, Array]]:
    """Return what the job would feed a network for these faces, in batches.

    Args:
        contract: `encoder`, `attributes`, `generator` or `denoiser`.
        files: contract to path; the generator needs the attribute network, the denoiser both.
        faces: what to show.
        noise_strengths: of the denoiser, in turns.
        threads: CPU threads.

    Raises:
        SetupError: a network is missing or does not fit its contract.
    """
    runtime = WatchedRuntime(threads=threads)
    missing = set(_NEEDS.get(contract, ())) - set(files)
    if missing:
        raise SetupError(f"{files[contract]}: needs {sorted(missing)} in the same folder")
    step = {
        "encoder": _encoding,
        "attributes": _reading,
        "generator": _painting,
        "denoiser": _denoising,
    }[contract](files, runtime, noise_strengths)
    for number, start in enumerate(range(0, len(faces.crops_bgr), _BATCH)):
        part = slice(start, start + _BATCH)
        step(faces.crops_bgr[part], faces.anchors_unit[part], number)
    return [c.feeds for c in runtime.calls if c.model.source == files[contract]]


def _encoding(files: Mapping[str, str], runtime: Runtime, _strengths: Sequence[float]) -> _Step:
    encoder, (rows, columns) = Encoder("own", files["encoder"], runtime), ENCODER_SLICE
    return lambda crops, _anchors, _number: encoder.embed_crops(crops[:, rows, columns])


def _reading(files: Mapping[str, str], runtime: Runtime, _strengths: Sequence[float]) -> _Step:
    reader = AttributeReader(files["attributes"], runtime)
    return lambda crops, _anchors, _number: reader.read(to_planes(crops))


def _painting(files: Mapping[str, str], runtime: Runtime, _strengths: Sequence[float]) -> _Step:
    paint = BarePainter(files["generator"], files["attributes"], None, runtime)
    return lambda crops, anchors, _number: paint(crops, anchors)


def _denoising(files: Mapping[str, str], runtime: Runtime, strengths: Sequence[float]) -> _Step:
    paint = BarePainter(files["generator"], files["attributes"], files["denoiser"], runtime)
    return lambda crops, anchors, number: paint(
        crops, anchors, strengths[number % len(strengths)], number
    )
