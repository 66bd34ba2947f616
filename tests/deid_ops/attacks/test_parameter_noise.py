import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deid_ops.attacks.parameter_noise import add_parameter_noise
from deid_ops.errors import SetupError


@pytest.fixture
def model(tmp_path, rng):
    weights = rng.normal(0, 2, (40, 30)).astype(np.float16)
    bias = rng.normal(0, 2, 40).astype(np.float16)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 30])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 40])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), str(path))
    return path, weights, bias


def weights_of(data):
    tensors = onnx.load_from_string(data).graph.initializer
    return {t.name: numpy_helper.to_array(t) for t in tensors}


def test_weights_move_by_the_share_asked_for_and_biases_stay(model):
    path, weights, bias = model
    noisy = weights_of(add_parameter_noise(path, 0.1, seed=1))
    change = (noisy["w"].astype(float) - weights).std()
    assert change == pytest.approx(0.1 * weights.astype(float).std(), rel=0.1)
    assert noisy["w"].dtype == np.float16
    assert np.array_equal(noisy["b"], bias)


def test_noise_follows_the_seed(model):
    first, again, other = (add_parameter_noise(model[0], 0.1, s) for s in (1, 1, 2))
    assert first == again != other


def test_other_files_are_refused(tmp_path):
    with pytest.raises(SetupError, match="cannot read"):
        add_parameter_noise(tmp_path / "none.onnx", 0.1, 0)
    empty = tmp_path / "empty.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [])), str(empty))
    with pytest.raises(SetupError, match="no weights"):
        add_parameter_noise(empty, 0.1, 0)
