"""`deid train quantise`: 8-bit files of exported networks, each judged before it is written.

Imports torch; keep it out of the import path of other commands.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import load_bank
from deid_ops.errors import SetupError
from deid_ops.inference.graphs import read_graph
from deid_ops.inference.session import Array, OrtModel, Runtime
from deid_ops.models.int8_check import LIMITS, Verdict, quantise_within_limits
from deid_ops.models.quantise import QUANTISED_KEY, SUFFIX, Feeds
from deid_ops.train.data import Pack
from deid_ops.train.feeds import faces_of, feeds_of
from jobs.config import JobConfig

_BATCHES = (1, 16)


@dataclass(frozen=True, slots=True)
class QuantiseOptions:
    """What the command is given.

    Attributes:
        models: folder of exported files; other files in it are left alone.
        data: a pack made by `deid train data`.
        out: folder of the results.
        anchors: identities to paint; None for `anchors.npz` beside the models, else the pack's own.
        n_calibration: faces of the training split, for the ranges.
        n_held_out: faces of the validation split, for the verdict.
        repeats: of each timing.
        threads: CPU threads.
    """

    models: Path
    data: Path
    out: Path
    anchors: Path | None = None
    n_calibration: int = 256
    n_held_out: int = 256
    repeats: int = 15
    threads: int = 2


def run_quantise(options: QuantiseOptions) -> dict[str, dict[str, Any]]:
    """Quantise every exported file of a folder; returns its figures by file name.

    Raises:
        SetupError: no file of a known contract, a target is there already, the pack or a network
            that another one needs is missing.
    """
    files = exported_files(options.models)
    targets = {name: options.out / f"{path.stem}{SUFFIX}" for name, path in files.items()}
    for target in targets.values():
        if target.exists():
            raise SetupError(f"{target}: is there already; remove it or choose another folder")
    pack, runtime = Pack(options.data), Runtime(threads=options.threads)
    identities = _identities(options)
    calibration = faces_of(pack, 0, options.n_calibration, identities)
    held_out = faces_of(pack, 1, options.n_held_out, identities)
    strengths, paths = JobConfig().replace.noise_strengths, {k: str(v) for k, v in files.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    done = {}
    for contract, path in files.items():
        seen, unseen = (
            feeds_of(contract, paths, faces, strengths, options.threads)
            for faces in (calibration, held_out)
        )
        original = read_graph(str(path))
        verdict = quantise_within_limits(original, contract, seen, unseen, runtime)
        row: dict[str, Any] = {"contract": contract, **_figures(verdict)}
        if verdict.model is not None:
            target = targets[contract]
            content = verdict.model.SerializeToString()
            row |= _speed(str(path), content, unseen[0], options.repeats, runtime)
            row["mb"] = {"float": _mb(path.stat().st_size), "int8": _mb(len(content))}
            part = target.with_suffix(".part")
            part.write_bytes(content)
            os.replace(part, target)
            row["written"] = str(target)
        done[path.name] = row
    return done


def exported_files(folder: Path) -> dict[str, Path]:
    """Return contract to file of the exported networks in a folder, quantised ones left out.

    Raises:
        SetupError: there are none, or two of one contract.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.onnx")):
        properties = {p.key: p.value for p in read_graph(str(path)).metadata_props}
        contract = properties.get("contract", "")
        if contract not in LIMITS or QUANTISED_KEY in properties:
            continue
        if contract in found:
            raise SetupError(
                f"{folder}: {found[contract].name} and {path.name} are both {contract}"
            )
        found[contract] = path
    if not found:
        raise SetupError(f"{folder}: no file written by `deid train export` ({', '.join(LIMITS)})")
    return found


def _identities(options: QuantiseOptions) -> Array | None:
    beside = options.models / "anchors.npz"
    path = options.anchors or (beside if beside.is_file() else None)
    return None if path is None else load_bank(path).vectors_unit


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        "written": None,
        "refused": list(verdict.failures),
        "figures": {k: float(f"{v:.4g}") for k, v in verdict.figures.items()},
        "convolutions": {"integer": verdict.n_integer, "could_be": verdict.n_convolutions},
    }


def _speed(
    path: str, quantised: bytes, feeds: Feeds, repeats: int, runtime: Runtime
) -> dict[str, Any]:
    """Time both files in turns, so that a busy moment of the machine falls on both."""
    sessions = [OrtModel(m, runtime, ()) for m in (path, quantised)]
    ms: dict[str, dict[str, float]] = {"float": {}, "int8": {}}
    ratio = {}
    for n in _BATCHES:
        part = {k: _tiled(v, n) for k, v in feeds.items()}
        taken: Sequence[list[float]] = ([], [])
        for _ in range(1 + repeats):
            for session, times in zip(sessions, taken, strict=True):
                started = time.perf_counter()
                session.run(part)
                times.append(1000.0 * (time.perf_counter() - started) / n)
        medians = [statistics.median(times[1:]) for times in taken]  # the first run warms up
        for kind, value in zip(ms, medians, strict=True):
            ms[kind][str(n)] = round(value, 3)
        ratio[str(n)] = round(medians[0] / medians[1], 3)
    return {"ms_per_face_at_batch": ms, "speed_ratio_at_batch": ratio}


def _tiled(values: Array, n: int) -> Array:
    return values[np.arange(n) % len(values)]


def _mb(n_bytes: int) -> float:
    return round(n_bytes / 1e6, 3)
