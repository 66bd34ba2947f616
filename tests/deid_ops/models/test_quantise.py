"""Quantisation: which convolutions become integer, what the file keeps, and who refuses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from drawn_pack import write_pack
from random_networks import Files, export_random
from torch import nn

from deid_ops.diffuse.denoiser import Denoiser
from deid_ops.errors import SetupError
from deid_ops.inference.graphs import graph_macs
from deid_ops.inference.session import OrtModel, Runtime
from deid_ops.models import int8_check
from deid_ops.models.export import export_onnx
from deid_ops.models.int8_check import differences, failures, quantise_within_limits
from deid_ops.models.quantise import QUANTISED_KEY, Quantiser, folded, integer_convolutions
from deid_ops.models.ship import ENCODER
from deid_ops.swap.aim import ROUNDS
from deid_ops.swap.attributes import read_face_shape
from deid_ops.swap.crop import INNER_MASK
from deid_ops.train.feeds import faces_of, feeds_of

ONE = Runtime(threads=1)
CONTRACTS = ("attributes", "generator", "denoiser", "encoder")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return export_random(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def feeds(files: Files, tmp_path_factory: pytest.TempPathFactory):
    """`feeds[contract]`: calibration and held-out batches."""
    pack = write_pack(tmp_path_factory.mktemp("pack") / "pack", 60)
    paths = {name: getattr(files, name) for name in CONTRACTS}
    calibration, held_out = faces_of(pack, 0, 32), faces_of(pack, 1, 12)
    return {
        name: tuple(
            feeds_of(name, paths, faces, (1.0, 1.5), 1) for faces in (calibration, held_out)
        )
        for name in CONTRACTS
    }


def test_feeds_are_those_of_the_job(files: Files, feeds) -> None:
    """Every input of the file is fed, and the denoiser sees each noise strength."""
    for name in CONTRACTS:
        wanted = {i.name for i in onnx.load(getattr(files, name)).graph.input}
        assert set(feeds[name][0][0]) == wanted
        runs = 2 * (ROUNDS + 1) if name == "generator" else 2  # it paints to aim, and for good
        faces = 32 if name == "attributes" else 16  # it reads mirrored faces, too
        assert [len(next(iter(f.values()))) for f in feeds[name][0]] == [faces] * runs
    ratios = [float(f["noise_ratio"][0, 0]) for f in feeds["denoiser"][0]]
    assert ratios == [2.0, 3.0]
    assert not np.array_equal(
        feeds["denoiser"][0][0]["noised"][0], feeds["denoiser"][0][1]["noised"][0]
    )


@pytest.mark.parametrize("name", CONTRACTS)
def test_inner_convolutions_become_integer_and_nothing_else(files: Files, feeds, name: str) -> None:
    original = onnx.load(getattr(files, name))
    n_convolutions = sum(n.op_type == "Conv" for n in folded(original).graph.node)
    quantiser = Quantiser.of(original, feeds[name][0])
    # the first and the last one; second looks at two eyes and a mouth have a last one each
    n_float = 4 if name == "attributes" else 2
    assert len(quantiser.convolutions) == n_convolutions - n_float
    model = quantiser.quantised(quantiser.convolutions)
    decoded = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    stored = {t.name: t for t in model.graph.initializer}
    integer = [
        n
        for n in model.graph.node
        if n.op_type == "Conv" and n.input[0] in decoded and n.input[1] in decoded
    ]
    assert len(integer) == n_convolutions - n_float
    for node in integer:
        weight = onnx.numpy_helper.to_array(stored[decoded[node.input[1]]])
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= 64  # 7 bits
    rounded = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    float_kinds = ("Exp", "MatMul", "Gemm", "Sigmoid", "InstanceNormalization", "Softmax")
    for node in model.graph.node:
        if node.op_type in float_kinds:
            assert not set(node.output) & rounded or node.op_type == "Sigmoid", node.name
            assert not any(i in decoded and node.op_type == "MatMul" for i in node.input)
    inputs = {i.name for i in model.graph.input}
    assert not inputs & rounded


def test_metadata_contract_and_work_are_kept(files: Files, feeds, tmp_path: Path) -> None:
    for name in ("denoiser", "attributes"):
        original = onnx.load(getattr(files, name))
        quantiser = Quantiser.of(original, feeds[name][0])
        model = quantiser.quantised(quantiser.convolutions)
        before = {p.key: p.value for p in original.metadata_props}
        after = {p.key: p.value for p in model.metadata_props}
        assert after.pop(QUANTISED_KEY).startswith(f"{len(quantiser.convolutions)} conv")
        assert after == before
        one = {k: v[:1] for k, v in feeds[name][1][0].items()}
        assert graph_macs(model, one) == pytest.approx(graph_macs(original, one))
        (tmp_path / f"{name}.int8.onnx").write_bytes(model.SerializeToString())
    quantised = str(tmp_path / "attributes.int8.onnx")
    assert np.array_equal(
        read_face_shape(quantised).mean_xyz, read_face_shape(files.attributes).mean_xyz
    )
    denoiser = Denoiser(str(tmp_path / "denoiser.int8.onnx"), ONE)
    assert (denoiser.ratio_base, denoiser.ratio_min, denoiser.ratio_max) == (2.0, 1.2, 3.5)


def test_what_cannot_be_quantised_is_named(files: Files, feeds) -> None:
    original = onnx.load(files.attributes)
    with pytest.raises(SetupError, match="no calibration feeds"):
        Quantiser.of(original, [])
    quantiser = Quantiser.of(original, feeds["attributes"][0])
    again = quantiser.quantised(quantiser.convolutions)
    with pytest.raises(SetupError, match="quantised already"):
        Quantiser.of(again, feeds["attributes"][0])
    with pytest.raises(SetupError, match="no limits for 'face'"):
        quantise_within_limits(original, "face", feeds["attributes"][0], [], ONE)
    with pytest.raises(SetupError, match="no held-out feeds"):
        quantise_within_limits(original, "attributes", feeds["attributes"][0], [], ONE)
    assert integer_convolutions(onnx.ModelProto()) == ()


@pytest.mark.parametrize("name", ["attributes", "encoder"])
def test_a_file_within_the_limits_is_returned(files: Files, feeds, name: str) -> None:
    original = onnx.load(getattr(files, name))
    calibration, held_out = feeds[name]
    verdict = quantise_within_limits(original, name, calibration, held_out, ONE)
    assert verdict.failures == ()
    assert verdict.model is not None
    assert verdict.n_integer == verdict.n_convolutions
    found = OrtModel(verdict.model.SerializeToString(), ONE, ()).run(held_out[0])
    wanted = OrtModel(getattr(files, name), ONE, ()).run(held_out[0])
    figures = differences(name, wanted, found)
    assert figures == pytest.approx(verdict.figures)
    assert max(figures.values()) > 0  # it is not the float file


def _steep_encoder() -> onnx.ModelProto:
    """An encoder whose activations grow with the brightness of the picture."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(a, b, 3, 2, bias=False) for a, b in ((3, 16), (16, 16), (16, 128))]
    body = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.Flatten(2))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, faces_rgb):
            return nn.functional.normalize(self.body(faces_rgb).mean(2), dim=1)

    return export_onnx(Net(), [torch.rand(2, 3, 112, 112)], ENCODER, {})


def test_ranges_that_do_not_hold_refuse_the_file() -> None:
    """Calibrated on dark pictures, the activations of bright ones are cut off."""
    original, rng = _steep_encoder(), np.random.default_rng(0)
    seen, unseen = ([{"faces_rgb": rng.random((8, 3, 112, 112), np.float32)}] for _ in range(2))
    dark = [{"faces_rgb": 0.1 * seen[0]["faces_rgb"]}]
    for calibration, held_out, refused in (
        (seen, unseen, False),
        (dark, unseen, True),
        (dark, dark, False),
    ):
        verdict = quantise_within_limits(original, "encoder", calibration, held_out, ONE)
        assert set(verdict.figures) == set(int8_check.LIMITS["encoder"])
        assert (verdict.model is None) == refused, verdict.figures
        assert bool(verdict.failures) == refused


def test_sensitive_convolutions_stay_float(files: Files, feeds, monkeypatch) -> None:
    """A limit between all convolutions and none is kept by leaving some out."""
    original, (calibration, held_out) = onnx.load(files.attributes), feeds["attributes"]
    every = quantise_within_limits(original, "attributes", calibration, held_out, ONE)
    tight = {k: 0.8 * v for k, v in every.figures.items()}
    monkeypatch.setitem(int8_check.LIMITS, "attributes", tight)
    some = quantise_within_limits(original, "attributes", calibration, held_out, ONE)
    assert 0 < some.n_integer < some.n_convolutions == every.n_integer
    assert some.figures["points_mean_px"] < every.figures["points_mean_px"]
    nothing = dict.fromkeys(every.figures, 1e-12)
    monkeypatch.setitem(int8_check.LIMITS, "attributes", nothing)
    none = quantise_within_limits(original, "attributes", calibration, held_out, ONE)
    assert none.model is None
    assert "points_mean_px is" in none.failures[0]


def test_figures_of_known_differences() -> None:
    crop = np.full((2, 3, 128, 128), 0.5, np.float32)
    other = crop.copy()
    other[1][:, INNER_MASK] += 2 / 255
    other[:, :, ~INNER_MASK] = 0.9  # outside nothing is painted
    found = differences("generator", {"crop_rgb": crop}, {"crop_rgb": other})
    assert found == pytest.approx({"mean_codes": 1.0, "worst_face_codes": 2.0}, rel=1e-3)

    wanted = {
        "points_px": np.zeros((2, 136, 2), np.float32),
        "pose_deg": np.zeros((2, 3), np.float32),
        "expression": np.zeros((2, 52), np.float32),
    }
    moved = {k: v.copy() for k, v in wanted.items()}
    moved["points_px"][0] += np.array([0.3, -0.4], np.float32)
    moved["pose_deg"][1, 2] = -3.0
    moved["expression"][0, 0] = 1.04
    assert differences("attributes", wanted, moved) == pytest.approx(
        {
            "points_mean_px": 0.25,
            "points_p99_px": 0.495,
            "pose_mean_deg": 0.5,
            "expression_mean": 0.01,
        }
    )

    unit = np.eye(128, dtype=np.float32)[:2]
    turned = np.roll(unit, 1, axis=0)
    assert differences("encoder", {"identity_unit": unit}, {"identity_unit": turned}) == {
        "cosine_distance_mean": 1.0,
        "cosine_distance_p99": 1.0,
    }
    assert failures("encoder", {"cosine_distance_mean": 0.01, "cosine_distance_p99": 0.0}) == ()
    assert len(failures("denoiser", {"mean_codes": np.nan, "worst_face_codes": 4.0})) == 2
