"""`deid train appearance`: paint every anchor on a few faces; keep what a judge makes of them.

Not every anchor becomes a person when it is painted, so of a large bank those may be kept that do
(`deid_ops/anchors/audition.py`).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.audition import audition
from deid_ops.anchors.bank import AnchorBank, Appearance, load_bank, save_bank
from deid_ops.anchors.density import DensityConfig, Mixture, distances_report, fit_mixture
from deid_ops.errors import SetupError
from deid_ops.identity.encoders import Encoder
from deid_ops.pipeline.appearance import EmbedCrops, PaintedAnchors, paint_anchors
from deid_ops.swap.crop import TEMPLATE_PX
from deid_ops.swap.generator import Generator
from deid_ops.train.data import Pack, evenly
from deid_ops.types import F32, U8
from jobs.config import load_config
from jobs.models import conditioning_encoder, judge_encoders, runtime_of
from jobs.training_bank import Suitable, learn_suitable, rows_of_density
from jobs.weights import sha256_of

log = logging.getLogger("deid.train")
_REPORT_EVERY = 64


def run_appearance(
    models: Path, data: Path, anchors: Path, out: Path, faces: int, share: float | None = None
) -> dict[str, Any]:
    """Write the bank with its anchors' appearance; returns what was measured.

    Args:
        models: folder with `generator.onnx` and `attributes.onnx`.
        data: a pack; held-out faces of it are painted on.
        anchors: the bank.
        out: the bank to write, may be the same file.
        faces: how many faces each anchor is painted on.
        share: of the anchors that pass each comparison of the audition, in (0, 1]; None keeps all.

    Raises:
        SetupError: a file is missing, the pack has no held-out face that fills its crop, or an
            audition is asked for and the bank is not of `deid train anchors`, or nobody passes.
    """
    bank, pack = load_bank(anchors), Pack(data)
    selection = None if share is None else _Selection.fitted(bank, pack, share)
    painted, seen = _painted(bank, models, _whole_faces(pack, faces))
    bank = replace(bank, appearance=seen)
    if selection is not None:
        bank = selection.of_bank(bank, painted)
    save_bank(bank, out)
    return {
        "anchors": len(bank),
        "encoder": seen.encoder,
        "faces": faces,
        "painter_sha256": seen.painter_sha256,
        "audition": json.loads(bank.meta).get("audition"),
    }


def _painted(bank: AnchorBank, models: Path, crops: U8) -> tuple[PaintedAnchors, Appearance]:
    """Paint the anchors on crops [n, S, S, 3] with the networks of a folder."""
    config = load_config(None)
    painter_file = models / "generator.onnx"
    generator = Generator(str(painter_file), str(models / "attributes.onnx"), runtime_of(config))
    name, judge = next(iter(judge_encoders(config).items()))
    own = conditioning_encoder(config)
    if own is None:
        raise SetupError("replace.encoder is null: the anchors' space has no encoder")

    def report(done: int) -> None:
        if done % _REPORT_EVERY == 0:
            log.info("anchors %d/%d", done, len(bank))

    encoders = (_on_crops(judge), _on_crops(own))
    painted = paint_anchors(generator, *encoders, crops, bank.vectors_unit, report)
    return painted, Appearance(painted.judged, painted.own, name, sha256_of(str(painter_file)))


def _on_crops(encoder: Encoder) -> EmbedCrops:
    points = TEMPLATE_PX[None]

    def embed(crops: U8) -> F32:
        return encoder.embed_crops(np.concatenate([encoder.crop(crop, points) for crop in crops]))

    return embed


@dataclass(frozen=True)
class _Selection:
    """What a bank was drawn from, fitted again to the pack, and which share of it passes."""

    mixture: Mixture
    suitable: Suitable
    training_unit: F32  # [n, d] every face of the pack
    share: float  # see `audition`

    @classmethod
    def fitted(cls, bank: AnchorBank, pack: Pack, share: float) -> _Selection:
        """Fit the density.

        Raises:
            SetupError: the bank is not of `deid train anchors`, or not of this pack's faces.
        """
        meta = json.loads(bank.meta)
        if "density_of" not in meta:
            raise SetupError("the bank does not say its density; draw it with `deid train anchors`")
        vectors = np.asarray(pack.columns["identity_unit"])
        rows = rows_of_density(pack, meta["density_of"])
        mixture = fit_mixture(vectors[rows], DensityConfig(**meta["config"]))
        return cls(mixture, learn_suitable(pack, rows)[0], vectors, share)

    def of_bank(self, bank: AnchorBank, painted: PaintedAnchors) -> AnchorBank:
        """Keep the anchors that pass; their distances are reported anew.

        Raises:
            SetupError: nobody passes.
        """
        result = audition(painted.own, painted.glare, self.mixture, self.suitable, self.share)
        counts = result.counts() | {"share": self.share}
        if not result.passed.any():
            raise SetupError(f"no anchor passes the audition ({counts}); raise the share")
        kept = bank.take(np.flatnonzero(result.passed))
        meta = json.loads(bank.meta) | distances_report(kept.vectors_unit, self.training_unit)
        return replace(kept, meta=json.dumps(meta | {"audition": counts}, sort_keys=True))


def _whole_faces(pack: Pack, n: int) -> U8:
    """Return held-out crops [n, S, S, 3] BGR that lie inside their pictures, evenly drawn."""
    rows = pack.whole_rows(1)
    if len(rows) < n:
        raise SetupError(f"the pack has {len(rows)} held-out faces that fill their crop, not {n}")
    return np.ascontiguousarray(pack.columns["crops_rgb"][evenly(rows, n)][..., ::-1])
