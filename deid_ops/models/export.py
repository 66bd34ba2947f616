"""Write trained networks as ONNX files, and read their weights back for further training.

Convention: weights are stored in half precision and cast to float32 when the graph is loaded (ONNX
Runtime folds the casts away), so inputs, outputs and arithmetic stay float32 and the file is half
as large. Names of initialisers are those of the PyTorch state dict, which is what lets a training
start from a shipped file.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from deid_ops.errors import InvariantError, SetupError
from deid_ops.inference.contracts import ModelContract

OPSET = 17
HALF_FROM = 256  # initialisers with fewer values stay float32
HALF_PREFIX = "half::"


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the file's output is from PyTorch's, over the outputs."""

    largest: float
    mean: float


def export_onnx(
    net: nn.Module,
    examples: Sequence[Tensor],
    contract: ModelContract,
    metadata: Mapping[str, str],
    *,
    half: bool = True,
) -> onnx.ModelProto:
    """Trace a network into an ONNX graph with a dynamic batch.

    Args:
        net: takes the contract's inputs in order, returns its outputs in order.
        examples: one tensor for each input, batch 2.
        contract: names of inputs and outputs.
        metadata: written to the file's metadata.
        half: store large weights in half precision.
    """
    net.eval()
    inputs, outputs = [s.name for s in contract.inputs], [s.name for s in contract.outputs]
    buffer = io.BytesIO()
    torch.onnx.export(
        net,
        tuple(examples),
        buffer,  # type: ignore[arg-type]
        input_names=inputs,
        output_names=outputs,
        dynamic_axes={name: {0: "n"} for name in (*inputs, *outputs)},
        opset_version=OPSET,
        do_constant_folding=False,
        # Not EVAL: that would merge normalisations into convolutions and lose their weights.
        training=torch.onnx.TrainingMode.PRESERVE,
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    if half:
        store_half(model)
    del model.metadata_props[:]
    helper.set_model_props(model, {"contract": contract.name, **metadata})
    model.producer_name, model.producer_version, model.doc_string = "deid-lake", "1", ""
    onnx.checker.check_model(model)
    return model


def store_half(model: onnx.ModelProto, keep: Collection[str] = ()) -> None:
    """Turn large float32 initialisers, except those in `keep`, into float16 ones with a cast."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < HALF_FROM or tensor.name in keep:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise InvariantError(f"{tensor.name}: too large for half precision")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), HALF_PREFIX + name))
        casts.append(helper.make_node("Cast", [HALF_PREFIX + name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def check_parity(
    net: nn.Module, model: onnx.ModelProto, inputs: Mapping[str, Tensor], limit: float
) -> Parity:
    """Compare the file with the network on the given inputs.

    Raises:
        InvariantError: an output differs by more than `limit` anywhere.
    """
    with torch.no_grad():
        wanted = net(*inputs.values())
    wanted = (wanted,) if isinstance(wanted, Tensor) else tuple(wanted)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    gaps = [np.abs(a - b.numpy()) for a, b in zip(got, wanted, strict=True)]
    parity = Parity(max(float(g.max()) for g in gaps), max(float(g.mean()) for g in gaps))
    if not parity.largest <= limit:
        raise InvariantError(f"ONNX differs from PyTorch by {parity.largest:.4g} (limit {limit})")
    return parity


def load_weights(net: nn.Module, model: onnx.ModelProto, prefix: str = "net.") -> nn.Module:
    """Copy an exported file's weights into a network of the same architecture.

    Args:
        net: takes the weights.
        model: a file written by `export_onnx`.
        prefix: what the exporting wrapper put before the names.

    Raises:
        SetupError: a weight is missing or has another shape.
    """
    found = {t.name.removeprefix(HALF_PREFIX): t for t in model.graph.initializer}
    state = net.state_dict()
    missing = []
    for name, value in state.items():
        tensor = found.get(prefix + name)
        if tensor is None:
            missing.append(name)
            continue
        array = numpy_helper.to_array(tensor).astype(np.float32)
        if array.shape != tuple(value.shape):
            raise SetupError(f"{name}: file has {array.shape}, network {tuple(value.shape)}")
        state[name] = torch.from_numpy(array.copy()).to(value.dtype)
    missing = [n for n in missing if not n.endswith("num_batches_tracked")]
    if missing:
        raise SetupError(f"the file lacks {len(missing)} weights, for example {missing[0]}")
    net.load_state_dict(state)
    return net
