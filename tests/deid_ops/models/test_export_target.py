"""Export of the target-oriented swap: the output of PyTorch, in a small file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deid_ops.errors import InvariantError
from deid_ops.models import ship
from deid_ops.models.export import HALF_PREFIX
from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig, FaceDancerExport
from deid_ops.models.ship import ship_target_oriented
from deid_ops.swap.target import TARGET_ORIENTED, TargetOrientedSwap

SMALL = FaceDancerConfig(style=32, channels=(8, 8, 16, 16, 16))


def _net(config: FaceDancerConfig, seed: int = 0) -> FaceDancer:
    torch.manual_seed(seed)
    net = FaceDancer(config)
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)
    return net.eval()


def test_the_file_paints_what_pytorch_paints(tmp_path) -> None:
    net = _net(SMALL)
    shipped = ship_target_oriented(net, {"note": "test"})
    assert shipped.parity.largest < 0.02
    assert shipped.parity.mean > 0  # half precision was really in use
    halves = [t for t in shipped.model.graph.initializer if t.name.startswith(HALF_PREFIX)]
    assert len(halves) > 20
    assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in halves)
    assert [i.name for i in shipped.model.graph.input] == [s.name for s in TARGET_ORIENTED.inputs]
    properties = {p.key: p.value for p in shipped.model.metadata_props}
    assert properties == {"contract": "target_oriented", "note": "test"}

    path = tmp_path / "target_oriented.onnx"
    path.write_bytes(shipped.model.SerializeToString())
    rng = np.random.default_rng(1)
    crops = rng.integers(0, 256, (5, 128, 128, 3), dtype=np.uint8)
    anchors = rng.normal(size=(5, 128)).astype(np.float32)
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    planes = torch.from_numpy(crops[..., ::-1].transpose(0, 3, 1, 2) / np.float32(255))
    with torch.no_grad():
        wanted = FaceDancerExport(net)(planes, torch.from_numpy(anchors)).numpy() * 255
    painted = TargetOrientedSwap(str(path))(crops, anchors)
    gap = np.abs(painted[..., ::-1].transpose(0, 3, 1, 2) - wanted)
    assert gap.max() < 0.02 * 255 + 0.5


def test_a_file_that_differs_is_not_shipped(monkeypatch) -> None:
    monkeypatch.setitem(ship.LIMITS, "target_oriented", 1e-9)
    with pytest.raises(InvariantError, match="differs from PyTorch"):
        ship_target_oriented(_net(SMALL), {})
