"""`deid train appearance`: paint every anchor on a few faces; keep what a judge makes of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import Appearance, load_bank, save_bank
from deid_ops.errors import SetupError
from deid_ops.pipeline.appearance import painted_appearance
from deid_ops.swap.crop import TEMPLATE_PX
from deid_ops.swap.generator import Generator
from deid_ops.train.data import Pack, evenly
from deid_ops.types import F32, U8
from jobs.config import load_config
from jobs.models import judge_encoders, runtime_of
from jobs.weights import sha256_of

log = logging.getLogger("deid.train")
_REPORT_EVERY = 64


def run_appearance(
    models: Path, data: Path, anchors: Path, out: Path, faces: int
) -> dict[str, Any]:
    """Write the bank with its anchors' appearance; returns what was measured.

    Args:
        models: folder with `generator.onnx` and `attributes.onnx`.
        data: a pack; held-out faces of it are painted on.
        anchors: the bank.
        out: the bank to write, may be the same file.
        faces: how many faces each anchor is painted on.

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

    bank = load_bank(anchors)
    vectors = painted_appearance(
        generator, embed, _whole_faces(Pack(data), faces), bank.vectors_unit, report
    )
    sha256 = sha256_of(str(painter_file))
    save_bank(replace(bank, appearance=Appearance(vectors, name, sha256)), out)
    return {"anchors": len(bank), "encoder": name, "faces": faces, "painter_sha256": sha256}


def _whole_faces(pack: Pack, n: int) -> U8:
    """Return held-out crops [n, S, S, 3] BGR that lie inside their pictures, evenly drawn."""
    rows = pack.whole_rows(1)
    if len(rows) < n:
        raise SetupError(f"the pack has {len(rows)} held-out faces that fill their crop, not {n}")
    return np.ascontiguousarray(pack.columns["crops_rgb"][evenly(rows, n)][..., ::-1])
