"""Reading ONNX files as graphs that can be rewritten, and counting their work."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, serialization

from deid_ops.errors import SetupError
from deid_ops.inference.session import Array

# protobuf is a dependency of onnx, not of this project
_DECODE_ERROR = serialization.google.protobuf.message.DecodeError  # type: ignore[attr-defined]


def read_graph(path: str) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        SetupError: the file is missing or is not ONNX.
    """
    try:
        return onnx.load(path)
    except (OSError, _DECODE_ERROR) as error:
        raise SetupError(f"{path}: cannot be read as an ONNX model: {error}") from error


def graph_macs(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> float:
    """Return the multiply-accumulates of convolutions and dense layers over a batch, in 1e6.

    Sizes come from a run on `feeds`, with every product's output fetched. Products of two computed
    tensors are left out. Weights may be stored in half precision or in integers.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    weights = _weight_shapes(probe)
    kinds = {n.output[0]: n for n in probe.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")}
    known = {o.name for o in probe.graph.output}
    probe.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in kinds if name not in known
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    total = 0.0
    for name, value in zip(names, session.run(names, dict(feeds)), strict=True):
        node = kinds.get(name)
        shape = weights.get(node.input[1]) if node is not None else None
        if node is None or shape is None:
            continue
        per_output = int(np.prod(shape[1:])) if node.op_type == "Conv" else shape[0]
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            per_output = shape[1]
        total += value.size * per_output
    return total / 1e6


def _weight_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every stored tensor, under the name of its decoded form too."""
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for stored in (a.t for a in node.attribute if a.HasField("t")):
                shapes[node.output[0]] = tuple(stored.dims)
        elif node.op_type in ("Cast", "DequantizeLinear") and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
    return shapes
