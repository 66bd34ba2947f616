"""Exported networks with random weights, for whatever runs networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deid_ops.swap.layout import N_POINTS
from deid_ops.swap.retarget import FaceShape


@dataclass(frozen=True)
class Files:
    generator: str
    denoiser: str
    attributes: str
    encoder: str


def export_random(folder: Path) -> Files:
    """Export small random networks; skipped where PyTorch is not installed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from torch import nn

    from deid_ops.models.attributes import AttributeConfig, AttributeNet
    from deid_ops.models.encoder import CompactEncoder
    from deid_ops.models.generator import GeneratorConfig, LeakProofGenerator
    from deid_ops.models.ship import (
        ship_attributes,
        ship_denoiser,
        ship_encoder,
        ship_generator,
    )

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shape = FaceShape(
        rng.normal(0, 1, (N_POINTS, 3)).astype(np.float32),
        rng.normal(0, 0.05, (52, N_POINTS, 3)).astype(np.float32),
    )
    painter = LeakProofGenerator(GeneratorConfig(style=16, channels=(8, 8, 16, 16)))
    reader = AttributeNet(torch.rand(N_POINTS, 2) * 128, AttributeConfig((8, 8, 8, 8, 8), 16))
    for p in (*painter.parameters(), *reader.parameters()):
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)
    nn.init.normal_(painter.out.weight, std=0.2)
    encoder = CompactEncoder((8, 8, 8), wide=0)  # last, so that the others' weights do not change
    files = {
        "generator": ship_generator(painter.eval(), {}),
        "denoiser": ship_denoiser(painter.eval(), (2.0, 1.2, 3.5), {}),
        "attributes": ship_attributes(reader.eval(), shape, {}),
        "encoder": ship_encoder(encoder.eval(), {}),
    }
    paths = {}
    for name, shipped in files.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(shipped.model.SerializeToString())
        paths[name] = str(path)
    return Files(**paths)
