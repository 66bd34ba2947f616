"""OrtModel: buckets, padding, providers, errors."""

import doctest

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from deid_ops.errors import InvariantError, SetupError
from deid_ops.inference import session
from deid_ops.inference.contracts import ModelContract, TensorSpec, check_contract
from deid_ops.inference.session import OrtModel, Runtime, bucket_slices


def graph_bytes(batch: int | str = "n", dtype: int = TensorProto.FLOAT) -> bytes:
    """`y = x + x`, `[batch, 3]`, and `count`, the length of the batch that was really run."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Expand", ["shape", "shape"], ["count"]),
    ]
    graph = helper.make_graph(
        nodes,
        "double",
        [helper.make_tensor_value_info("x", dtype, [batch, 3])],
        [
            helper.make_tensor_value_info("y", dtype, [batch, 3]),
            helper.make_tensor_value_info("count", TensorProto.INT64, [batch]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_doc_example_holds():
    assert doctest.testmod(session).failed == 0


@given(n=st.integers(1, 200), buckets=st.sets(st.integers(1, 40), max_size=5))
def test_slices_cover_the_batch_once(n, buckets):
    pieces = list(bucket_slices(n, tuple(sorted(buckets))))
    assert [i for start, stop, _ in pieces for i in range(start, stop)] == list(range(n))
    assert all(size >= stop - start for start, stop, size in pieces)
    assert all(not buckets or size in buckets for _, _, size in pieces)


@pytest.mark.parametrize("n", [0, 1, 2, 4, 5, 9, 40])
def test_batches_are_cut_and_padded_to_buckets(n):
    model = OrtModel(graph_bytes(), buckets=(1, 4, 8))
    x = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    out = model.run({"x": x})
    np.testing.assert_array_equal(out["y"], 2 * x)
    assert out["count"].shape == (n,)
    assert set(out["count"].tolist()) <= {1, 4, 8}


def test_without_buckets_the_batch_runs_whole():
    out = OrtModel(graph_bytes(), buckets=()).run({"x": np.ones((11, 3))})
    assert out["count"].tolist() == [11] * 11


def test_a_fixed_batch_is_its_only_bucket():
    model = OrtModel(graph_bytes(batch=2))
    assert model.buckets == (2,)
    np.testing.assert_array_equal(model.run({"x": np.ones((5, 3))})["y"], np.full((5, 3), 2.0))


def test_wrong_feeds_are_refused():
    model = OrtModel(graph_bytes())
    with pytest.raises(InvariantError, match=r"inputs \['z'\], expected \['x'\]"):
        model.run({"z": np.ones((1, 3))})


def test_missing_and_broken_files_name_the_file(tmp_path):
    with pytest.raises(SetupError, match=r"nowhere\.onnx"):
        OrtModel(str(tmp_path / "nowhere.onnx"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(SetupError, match=r"broken\.onnx.*cannot be opened"):
        OrtModel(str(broken))


def test_unknown_provider_is_refused():
    with pytest.raises(SetupError, match="tpu"):
        OrtModel(graph_bytes(), Runtime(("tpu",)))


def _has_cuda() -> bool:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return False
    try:
        return OrtModel(graph_bytes(), Runtime(("cuda",))).provider == "cuda"
    except SetupError:
        return False


def test_cuda_is_used_or_refused_never_replaced():
    if _has_cuda():
        model = OrtModel(graph_bytes(), Runtime(("cuda", "cpu"), gpu_mem_limit_bytes=1 << 30))
        assert model.provider == "cuda"
        np.testing.assert_array_equal(model.run({"x": np.ones((5, 3))})["y"], np.full((5, 3), 2.0))
        return
    with pytest.raises(SetupError, match=r"'cuda' was asked for.*set the provider to 'cpu'"):
        OrtModel(graph_bytes(), Runtime(("cuda", "cpu")))


def contract(**changes):
    x = {"name": "x", "dtype": "float32", "dims": ("n", 3)} | changes
    return ModelContract("double", (TensorSpec(**x),), (TensorSpec("y", "float32", (None, 3)),))


def test_a_fitting_model_passes_the_contract():
    check_contract(OrtModel(graph_bytes()), contract())
    check_contract(OrtModel(graph_bytes(batch=2)), contract(dims=(2, 3)))


@pytest.mark.parametrize(
    ("batch", "changes", "message"),
    [
        ("n", {"name": "crop"}, "input 'crop' is missing"),
        ("n", {"dtype": "uint8"}, "the type differs"),
        ("n", {"dims": ("n", 4)}, "dimension 1 differs"),
        ("n", {"dims": ("n", 3, 3)}, "number of dimensions differs"),
        (1, {}, "dimension 0 must be dynamic"),
    ],
)
def test_a_model_that_does_not_fit_says_why(batch, changes, message):
    model = OrtModel(graph_bytes(batch), name="gen.onnx")
    with pytest.raises(SetupError, match=rf"gen\.onnx does not fit.*{message}.*Export it again"):
        check_contract(model, contract(**changes))


def test_an_input_the_contract_does_not_know_is_refused():
    empty = ModelContract("none", (), ())
    with pytest.raises(SetupError, match="is not in the contract"):
        check_contract(OrtModel(graph_bytes()), empty)
