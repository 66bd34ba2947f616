"""Export: same output, half the size, and weights that can be read back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deid_ops.diffuse.contract import DENOISER
from deid_ops.errors import InvariantError, SetupError
from deid_ops.inference.graphs import graph_macs
from deid_ops.models.attributes import AttributeConfig, AttributeNet
from deid_ops.models.export import HALF_PREFIX, check_parity, load_weights
from deid_ops.models.generator import GeneratorConfig, GeneratorExport, LeakProofGenerator
from deid_ops.models.ship import ship_attributes, ship_denoiser, ship_generator
from deid_ops.swap.attributes import read_face_shape
from deid_ops.swap.contract import GENERATOR
from deid_ops.swap.layout import N_POINTS
from deid_ops.swap.retarget import FaceShape

SMALL = GeneratorConfig(style=16, channels=(8, 8, 16, 16), blocks=(0, 1, 1, 1))


def _generator(seed: int = 0) -> LeakProofGenerator:
    torch.manual_seed(seed)
    net = LeakProofGenerator(SMALL)
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)
    nn.init.normal_(net.out.weight, std=0.1)
    return net.eval()


def _shape() -> FaceShape:
    rng = np.random.default_rng(3)
    return FaceShape(
        rng.normal(0, 1, (N_POINTS, 3)).astype(np.float32),
        rng.normal(0, 0.1, (52, N_POINTS, 3)).astype(np.float32),
    )


def test_generator_file_holds_half_weights_and_its_contract() -> None:
    shipped = ship_generator(_generator(), {"note": "test"})
    assert shipped.parity.largest < 0.02
    halves = [t for t in shipped.model.graph.initializer if t.name.startswith(HALF_PREFIX)]
    assert len(halves) > 20
    assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in halves)
    assert [i.name for i in shipped.model.graph.input] == [s.name for s in GENERATOR.inputs]
    properties = {p.key: p.value for p in shipped.model.metadata_props}
    assert properties == {"contract": "generator", "note": "test"}


def test_training_can_start_from_the_file() -> None:
    net = _generator(1)
    model = ship_generator(net, {}).model
    again = load_weights(LeakProofGenerator(SMALL), model)
    for name, value in net.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, atol=2e-3), name
    wider = GeneratorConfig(style=32, channels=(8, 8, 16, 16), blocks=(0, 1, 1, 1))
    with pytest.raises(SetupError, match="network"):
        load_weights(LeakProofGenerator(wider), model)


def test_parity_check_can_fail() -> None:
    net = _generator(2)
    model = ship_generator(net, {}).model
    nn.init.normal_(net.stem.weight, std=1.0)
    g = torch.Generator().manual_seed(0)
    feeds = {
        "surroundings_rgb": torch.rand((1, 3, 128, 128), generator=g),
        "mask": torch.ones((1, 1, 128, 128)),
        "light_rgb": torch.rand((1, 3, 8, 8), generator=g),
        "points_px": torch.rand((1, N_POINTS, 2), generator=g) * 128,
        "detail_rms": torch.full((1, 6), 0.1),
        "anchor_unit": torch.randn((1, 128), generator=g),
    }
    with pytest.raises(InvariantError, match="differs"):
        check_parity(GeneratorExport(net), model, feeds, 0.02)


def test_denoiser_metadata() -> None:
    shipped = ship_denoiser(_generator(3), (2.0, 1.2, 3.5), {})
    properties = {p.key: p.value for p in shipped.model.metadata_props}
    assert properties["noise_ratio_base"] == "2"
    assert [i.name for i in shipped.model.graph.input] == [s.name for s in DENOISER.inputs]


def test_attribute_file_carries_its_mean_face(tmp_path) -> None:
    torch.manual_seed(0)
    net = AttributeNet(torch.rand(N_POINTS, 2) * 128, AttributeConfig((8, 8, 8, 8, 8), 16))
    for _ in range(2):
        net(torch.rand(4, 3, 128, 128))
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)
    shipped = ship_attributes(net, _shape(), {})
    path = tmp_path / "attributes.onnx"
    path.write_bytes(shipped.model.SerializeToString())
    shape = read_face_shape(str(path))
    assert np.allclose(shape.mean_xyz, _shape().mean_xyz)
    assert np.allclose(shape.basis_xyz, _shape().basis_xyz, atol=1e-3)
    blank = AttributeNet(torch.zeros(N_POINTS, 2), AttributeConfig((8, 8, 8, 8, 8), 16))
    again = load_weights(blank, shipped.model).eval()
    x = torch.rand(2, 3, 128, 128)
    assert torch.allclose(again(x)[0], net.eval()(x)[0], atol=0.3)


def test_macs_of_a_known_layer() -> None:
    from deid_ops.inference.contracts import ModelContract, TensorSpec
    from deid_ops.models.export import export_onnx

    contract = ModelContract(
        "conv",
        (TensorSpec("x", "float32", ("n", 3, 8, 8)),),
        (TensorSpec("y", "float32", ("n", 4, 8, 8)),),
    )
    model = export_onnx(nn.Conv2d(3, 4, 3, 1, 1), [torch.rand(2, 3, 8, 8)], contract, {})
    macs = graph_macs(model, {"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert macs == pytest.approx(64 * 4 * 3 * 9 / 1e6)
