"""Turn an exported file into one with 8-bit integer convolutions (static, QDQ).

Method: post-training quantisation, weights symmetric per output channel (int8), activations
asymmetric per tensor (uint8) over the range that all but the oddest of the calibration faces stay
in (Jacob et al. 2018; Nagel et al. 2021, "A White Paper on Neural Network Quantization"). ONNX
Runtime fuses each dequantise-convolve-quantise into one integer kernel.

Weights take 7 of the 8 bits. x86 processors without VNNI instructions add two 8-bit products in 16
bits, which overflows silently; with 7 bits a file that passed its check on one machine is right on
the others too, and the eighth bit gains nothing that could be measured.

Only convolutions become integer, with the ReLU and the residual sum right behind them. All else
stays float: exponentials and heat maps, norms, dense layers (a style or an identity vector moves
every pixel), and the first and last convolutions: what is fed may be unbounded (noise), and what
the last one rounds is seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from deid_ops.errors import SetupError
from deid_ops.inference.session import Array
from deid_ops.models.export import store_half

Feeds = Mapping[str, Array]
#: Metadata of a quantised file: how it was made. A file that has it is not quantised again.
QUANTISED_KEY = "quantised"
SUFFIX = ".int8.onnx"
# A few pictures in a hundred drive a measuring network's activations to thirty times the usual. A
# range that held them all would leave three bits to the others; one without them all would misread
# them. Chosen among 0, 0.01 and 0.02 on held-out faces: at 0 landmarks are nearly twice as far off,
# at 0.02 the encoder is refused.
_ODD_FACES = 0.01
_FOLDED, _RANGES = "folded.onnx", "ranges.json"  # in a quantiser's folder


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with float32 weights, constants computed, norms merged into convolutions.

    Exported files keep half-precision weights behind casts and norms apart, both for training to
    start from them; a quantiser sees neither through.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        out = onnx.load(options.optimized_model_filepath)
    used = {n.domain for n in out.graph.node}
    imports = [i for i in out.opset_import if i.domain in used]
    del out.opset_import[:]
    out.opset_import.extend(imports)
    return out


def integer_convolutions(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the convolutions that may become integer, in the graph's order.

    Those with constant weights that have a convolution before them and one behind them.
    """
    weights = {t.name for t in model.graph.initializer}
    from_front, to_back = _behind_a_convolution(model, False), _behind_a_convolution(model, True)
    return tuple(
        n.name
        for n in model.graph.node
        if n.op_type == "Conv"
        and n.input[1] in weights
        and n.name in from_front
        and n.name in to_back
    )


def _behind_a_convolution(model: onnx.ModelProto, backwards: bool) -> set[str]:
    """Return the nodes that a convolution's output reaches, or that reach one."""
    reached: set[str] = set()  # tensors
    names = set()
    for node in reversed(model.graph.node) if backwards else model.graph.node:
        ends = (node.output, node.input) if backwards else (node.input, node.output)
        if any(t in reached for t in ends[0]):
            names.add(node.name)
        if node.name in names or node.op_type == "Conv":
            reached.update(t for t in ends[1] if t)
    return names


def _with_followers(model: onnx.ModelProto, convolutions: set[str]) -> list[str]:
    """Add what can follow in integers: ReLU, and the sum of two such maps before a ReLU."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    chosen, integer = list[str](), set[str]()
    for node in model.graph.node:
        relu_next = [r.op_type for r in readers.get(node.output[0], [])] == ["Relu"]
        follows = all(t in integer for t in node.input)
        if (
            node.name in convolutions
            or (node.op_type == "Relu" and follows)
            or (node.op_type == "Add" and follows and relu_next)
        ):
            chosen.append(node.name)
            integer.add(node.output[0])
    return chosen


def activation_ranges(
    model: onnx.ModelProto, nodes: Sequence[str], feeds: Sequence[Feeds]
) -> dict[str, tuple[Array, Array]]:
    """Return (lowest, highest) of the inputs and outputs of some nodes.

    Of each face's smallest and largest value, the quantiles that leave out `_ODD_FACES` of the
    faces at either end.

    Args:
        model: float graph.
        nodes: names.
        feeds: batches.

    Raises:
        SetupError: an activation is not finite.
    """
    stored = {t.name for t in model.graph.initializer}
    chosen = [n for n in model.graph.node if n.name in set(nodes)]
    wanted = sorted({t for n in chosen for t in (*n.input, *n.output) if t and t not in stored})
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {o.name for o in probe.graph.output}
    probe.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(t) for t in wanted if t not in known
    )
    options = ort.SessionOptions()
    # a fused graph no longer has the tensors in between
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ends: list[Array] = []  # of a batch: [tensor, 2, face]
    for batch in feeds:
        flat = [v.reshape(len(v), -1) for v in session.run(wanted, dict(batch))]
        ends.append(np.array([[v.min(axis=1), v.max(axis=1)] for v in flat], np.float32))
    faces = np.concatenate(ends, axis=2)
    if not np.isfinite(faces).all():
        raise SetupError("an activation is not finite on the calibration feeds")
    low = np.quantile(faces[:, 0], _ODD_FACES, axis=1).astype(np.float32)
    high = np.quantile(faces[:, 1], 1.0 - _ODD_FACES, axis=1).astype(np.float32)
    return {t: (low[i], high[i]) for i, t in enumerate(wanted)}


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Quantises one file again and again, with other convolutions each time.

    The ranges of the activations are found once, on the calibration feeds.

    Attributes:
        original: the exported file; metadata, inputs and outputs are taken over.
    """

    original: onnx.ModelProto
    _folded: onnx.ModelProto
    _folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def of(cls, original: onnx.ModelProto, calibration: Sequence[Feeds]) -> Quantiser:
        """Prepare a file.

        Raises:
            SetupError: it is quantised already, or there are no feeds.
        """
        if any(p.key == QUANTISED_KEY for p in original.metadata_props):
            raise SetupError("the file is quantised already; give the one it was made from")
        if not calibration:
            raise SetupError("no calibration feeds: the ranges of the activations are unknown")
        plain = folded(original)
        add_pre_process_metadata(plain)  # stops a warning that asks for what was just done
        folder = tempfile.TemporaryDirectory()
        # a file, since the quantiser empties a graph that it is given
        (Path(folder.name) / _FOLDED).write_bytes(plain.SerializeToString())
        nodes = _with_followers(plain, set(integer_convolutions(plain)))
        ranges = TensorsData(
            CalibrationMethod.MinMax, dict(activation_ranges(plain, nodes, calibration))
        )
        save_tensors_data(ranges, Path(folder.name) / _RANGES)
        return cls(original, plain, folder)

    @property
    def convolutions(self) -> tuple[str, ...]:
        """What may become integer."""
        return integer_convolutions(self._folded)

    def quantised(self, convolutions: Sequence[str]) -> onnx.ModelProto:
        """Return the file with these convolutions in integers.

        Args:
            convolutions: names, some of `convolutions`; at least one.
        """
        folder = Path(self._folder.name)
        target = folder / "quantised.onnx"
        quantize_static(
            folder / _FOLDED,
            target,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu", "Add"],
            nodes_to_quantize=_with_followers(self._folded, set(convolutions)),
            per_channel=True,
            reduce_range=True,  # 7 bits
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=folder / _RANGES,
        )
        return self._finished(onnx.load(target), len(convolutions))

    def _finished(self, model: onnx.ModelProto, n_integer: int) -> onnx.ModelProto:
        scales = {
            t
            for n in model.graph.node
            if n.op_type in ("QuantizeLinear", "DequantizeLinear")
            for t in n.input[1:]
        }
        store_half(model, keep=scales)
        how = f"{n_integer} convolutions, 8-bit activations, 7-bit weights"
        properties: dict[str, Any] = {p.key: p.value for p in self.original.metadata_props}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {**properties, QUANTISED_KEY: how})
        model.producer_name = self.original.producer_name
        model.producer_version = self.original.producer_version
        onnx.checker.check_model(model)
        return model
