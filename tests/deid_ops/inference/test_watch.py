"""Watched sessions: what they note, how long they were busy, how much they computed."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deid_ops.inference.graphs import graph_macs
from deid_ops.inference.watch import Call, WatchedRuntime, busy_s, gflop_of


def _graph(stored: str) -> onnx.ModelProto:
    """3 to 4 channels, 3x3, and a dense layer; weights `plain` or behind a `cast` or `constant`."""
    kernel = np.ones((4, 3, 3, 3), np.float32 if stored == "plain" else np.float16)
    tensor = numpy_helper.from_array(kernel, "stored")
    nodes, initial = [], [numpy_helper.from_array(np.ones((5, 4), np.float32), "dense")]
    if stored == "constant":
        nodes.append(helper.make_node("Constant", [], ["stored"], value=tensor))
    else:
        initial.append(tensor)
    name = "stored"
    if stored != "plain":
        nodes.append(helper.make_node("Cast", ["stored"], ["kernel"], to=TensorProto.FLOAT))
        name = "kernel"
    nodes += [
        helper.make_node("Conv", ["x", name], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["maps"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["mean", "dense"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        initializer=initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.mark.parametrize("stored", ["plain", "cast", "constant"])
def test_work_of_a_known_graph(stored: str) -> None:
    x = np.zeros((2, 3, 8, 6), np.float32)
    assert graph_macs(_graph(stored), {"x": x}) == pytest.approx(2 * (8 * 6 * 4 * 27 + 20) / 1e6)


def test_calls_are_noted_with_times_and_work() -> None:
    ticks = itertools.count()
    runtime = WatchedRuntime(threads=1, clock=lambda: float(next(ticks)))
    model = runtime.open(_graph("cast").SerializeToString(), (), "net.onnx")
    x = np.ones((2, 3, 8, 8), np.float32)
    assert model.run({"x": x})["y"].shape == (2, 5)
    model.run({"x": x[:1]})
    model.run({"x": x[:0]})
    assert [c.model.source for c in runtime.calls] == ["net.onnx"] * 3
    assert runtime.calls[0].feeds["x"] is x
    assert [(c.started, c.ended) for c in runtime.calls] == [(0, 1), (2, 3), (4, 5)]
    assert busy_s(runtime.calls) == 3
    assert gflop_of(runtime.calls) == pytest.approx(2 * 3 * (64 * 4 * 27 + 20) / 1e9)


def test_overlapping_calls_count_once() -> None:
    def call(started: float, ended: float) -> Call:
        return Call(SimpleNamespace(source="x"), {}, started, ended)  # type: ignore[arg-type]

    assert busy_s([call(3, 5), call(0, 4), call(1, 2), call(7, 8)]) == 6
    assert busy_s([]) == 0
