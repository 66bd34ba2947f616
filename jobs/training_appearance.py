"""`deid train appearance`: paint every anchor on a few faces; keep what a judge makes of them.

Painted faces are more alike than the anchors are, so of a large bank those may be kept that differ
most once they are painted.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import AnchorBank, Appearance, load_bank, save_bank
from deid_ops.anchors.density import distances_report
from deid_ops.errors import SetupError
from deid_ops.identity.vectors import unit_rows
from deid_ops.pipeline.appearance import most_distinct, painted_appearance
from deid_ops.swap.crop import TEMPLATE_PX
from deid_ops.swap.generator import Generator
from deid_ops.train.data import Pack, evenly
from deid_ops.types import F32, U8
from jobs.config import load_config
from jobs.models import calibration_file, judge_encoders, runtime_of
from jobs.weights import sha256_of

log = logging.getLogger("deid.train")
_REPORT_EVERY = 64


def run_appearance(
    models: Path, data: Path, anchors: Path, out: Path, faces: int, keep: int | None = None
) -> dict[str, Any]:
    """Write the bank with its anchors' appearance; returns what was measured.

    Args:
        models: folder with `generator.onnx` and `attributes.onnx`.
        data: a pack; held-out faces of it are painted on.
        anchors: the bank.
        out: the bank to write, may be the same file.
        faces: how many faces each anchor is painted on.
        keep: so many anchors at most, the most distinct in the judge's view; None keeps all.

    Raises:
        SetupError: a file is missing, or the pack has no held-out face that fills its crop.
    """
    config = load_config(None)
    painter_file = models / "generator.onnx"
    generator = Generator(str(painter_file), str(models / "attributes.onnx"), runtime_of(config))
    name, judge = next(iter(judge_encoders(config).items()))
    points = TEMPLATE_PX[None]

    def embed(crops: U8) -> F32:
        return judge.embed_crops(np.concatenate([judge.crop(crop, points) for crop in crops]))

    def report(done: int) -> None:
        if done % _REPORT_EVERY == 0:
            log.info("anchors %d/%d", done, len(bank))

    bank, pack = load_bank(anchors), Pack(data)
    vectors = painted_appearance(
        generator, embed, _whole_faces(pack, faces), bank.vectors_unit, report
    )
    # As the file will hold them: keeping fewer later gives the same.
    stored = vectors.astype(np.float16).astype(np.float32)
    seen = Appearance(stored, name, sha256_of(str(painter_file)))
    bank = replace(bank, appearance=seen)
    if keep is not None and keep < len(bank):
        rows = most_distinct(unit_rows(calibration_file().centred(name, stored)), keep)
        bank = _described(bank.take(rows), len(bank), pack)
    save_bank(bank, out)
    return {
        "anchors": len(bank),
        "encoder": name,
        "faces": faces,
        "painter_sha256": seen.painter_sha256,
    }


def _described(bank: AnchorBank, taken_of: int, pack: Pack) -> AnchorBank:
    """Report the distances of the anchors that were kept, of so many, anew."""
    training_unit = np.asarray(pack.columns["identity_unit"])
    meta = json.loads(bank.meta) | distances_report(bank.vectors_unit, training_unit)
    meta["most_distinct_of"] = taken_of
    return replace(bank, meta=json.dumps(meta, sort_keys=True))


def _whole_faces(pack: Pack, n: int) -> U8:
    """Return held-out crops [n, S, S, 3] BGR that lie inside their pictures, evenly drawn."""
    rows = pack.whole_rows(1)
    if len(rows) < n:
        raise SetupError(f"the pack has {len(rows)} held-out faces that fill their crop, not {n}")
    return np.ascontiguousarray(pack.columns["crops_rgb"][evenly(rows, n)][..., ::-1])
