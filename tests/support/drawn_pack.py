"""A small pack of drawn faces."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from deid_ops.train.data import COLUMNS, FORMAT_VERSION, Pack
from tests.support.ball_head import ball_head


def write_pack(folder: Path, n: int, seed: int = 0) -> Pack:
    """Write a pack of random smooth crops whose landmarks lie near a common mean."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    crops = coarse.repeat(16, axis=1).repeat(16, axis=2)
    identity = rng.normal(size=(n, 128))
    columns = {
        "crops_rgb": crops,
        "inside_bits": np.full((n, 2048), 255),
        "mesh_xyz_px": ball_head() + rng.normal(0, 1.0, (n, 478, 3)),
        "expression": rng.random((n, 52)) * 0.5,
        "identity_unit": identity / np.linalg.norm(identity, axis=1, keepdims=True),
        "split": np.arange(n) % 5 == 4,
        "source_index": np.zeros(n),
    }
    hashes = {}
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", values.astype(COLUMNS[name][1]))
        hashes[name] = hashlib.sha256((folder / f"{name}.npy").read_bytes()).hexdigest()
    (folder / "names.txt").write_text("".join(f"drawn.tar:face_{i}.png\n" for i in range(n)))
    meta = {"format_version": FORMAT_VERSION, "n": n, "sha256": hashes}
    (folder / "meta.json").write_text(json.dumps(meta))
    return Pack(folder)
