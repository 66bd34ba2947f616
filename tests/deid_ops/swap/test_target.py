"""The target-oriented swap at run time: shapes, anchors, files of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deid_ops.errors import InvariantError, SetupError
from deid_ops.inference.session import Runtime
from deid_ops.swap.target import TargetOrientedSwap


@pytest.fixture(scope="module")
def target_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig
    from deid_ops.models.ship import ship_target_oriented

    torch.manual_seed(0)
    net = FaceDancer(FaceDancerConfig(style=32, channels=(8, 8, 16, 16, 16))).eval()
    path = tmp_path_factory.mktemp("target") / "target_oriented.onnx"
    path.write_bytes(ship_target_oriented(net, {}).model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def swap(target_file: Path) -> TargetOrientedSwap:
    return TargetOrientedSwap(str(target_file), Runtime(threads=1))


def _faces(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    crops = rng.integers(0, 256, (n, 128, 128, 3), dtype=np.uint8)
    anchors = rng.normal(size=(n, 128)).astype(np.float32)
    return crops, anchors / np.linalg.norm(anchors, axis=1, keepdims=True)


def test_face_and_anchor_both_count(swap: TargetOrientedSwap) -> None:
    crops, anchors = _faces(3)
    out = swap(crops, anchors)
    assert out.shape == crops.shape
    assert out.dtype == np.uint8
    assert np.abs(swap(crops, anchors[::-1]).astype(int) - out).mean() > 0.5
    assert np.abs(swap(crops[::-1], anchors).astype(int) - out).mean() > 0.5
    one_by_one = np.concatenate([swap(crops[i : i + 1], anchors[i : i + 1]) for i in range(3)])
    assert np.abs(one_by_one.astype(int) - out).max() <= 1


def test_the_length_of_an_anchor_does_not_count(swap: TargetOrientedSwap) -> None:
    crops, anchors = _faces(1)
    gap = swap(crops, 7 * anchors).astype(int) - swap(crops, anchors)
    assert np.abs(gap).max() <= 1


def test_no_faces_is_no_work(swap: TargetOrientedSwap) -> None:
    crops, anchors = _faces(1)
    assert swap(crops[:0], anchors[:0]).shape == (0, 128, 128, 3)


def test_wrong_shapes_are_refused(swap: TargetOrientedSwap) -> None:
    crops, anchors = _faces(2)
    for wrong in (
        (crops[:, :100], anchors),
        (crops.astype(np.float32), anchors),
        (crops, anchors[:1]),
        (crops, anchors[:, :64]),
    ):
        with pytest.raises(InvariantError, match="expected"):
            swap(*wrong)


def test_files_of_another_kind_are_refused(target_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"none\.onnx"):
        TargetOrientedSwap(str(tmp_path / "none.onnx"))
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    with pytest.raises(SetupError, match=r"text\.onnx.*cannot be opened"):
        TargetOrientedSwap(str(text))
    model = onnx.load(target_file)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == "anchor_unit":
                node.input[i] = "identity"
    model.graph.input[1].name = "identity"
    other = tmp_path / "other.onnx"
    other.write_bytes(model.SerializeToString())
    with pytest.raises(SetupError, match=r"'target_oriented'.*'anchor_unit' is missing"):
        TargetOrientedSwap(str(other))


def test_a_network_that_diverged_is_refused(target_file: Path, tmp_path: Path) -> None:
    model = onnx.load(target_file)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("stem.weight"):
            values = np.full(tuple(tensor.dims), np.nan)
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(kind), tensor.name))
    path = tmp_path / "diverged.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SetupError, match=r"diverged\.onnx.*not finite"):
        TargetOrientedSwap(str(path))(*_faces(1))
