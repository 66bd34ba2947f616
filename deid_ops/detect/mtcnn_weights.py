"""The three networks of MTCNN as ONNX graphs, from the weight files of `facenet-pytorch` (MIT).

The files `pnet.pt`, `rnet.pt` and `onet.pt` are state dictionaries in PyTorch's old (pre-zip) file
format: five pickles (magic number, protocol, system facts, the dictionary, the storage keys), then
every storage as a 64-bit count and raw float32 values. They are read here without PyTorch, by an
unpickler that can build an `OrderedDict` and tensors and nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deid_ops.errors import SetupError
from deid_ops.types import F32

_MAGIC = 0x1950A86A20F9469CFC6C
_VECTOR = 16  # float32 values in a register of AVX-512


@dataclass(slots=True)
class _Storage:
    """Values of one tensor storage, filled in after the pickles are read."""

    count: int
    values: F32 | None = None


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StateDictUnpickler(pickle.Unpickler):
    """Builds `OrderedDict`s of tensors; refuses every other class."""

    def __init__(self, file: io.BufferedIOBase, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any] | str] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch", "FloatStorage"): "float32",
            ("torch", "LongStorage"): "int64",
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weight file")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count, *_view = pid
        if kind != "storage" or dtype != "float32":
            raise pickle.UnpicklingError(f"unexpected storage {kind} of {dtype}")
        return self._storages.setdefault(str(key), _Storage(int(count)))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def read_state_dict(path: Path) -> dict[str, F32]:
    """Read a state dictionary of float32 tensors saved by `torch.save` before version 1.6.

    Raises:
        SetupError: the file is damaged or holds something else.
    """
    storages: dict[str, _Storage] = {}
    try:
        with path.open("rb") as file:
            magic = _StateDictUnpickler(file, storages).load()
            if magic != _MAGIC:
                raise SetupError(f"{path}: is not a weight file of facenet-pytorch 2.6.0")
            for _ in ("protocol", "system"):
                _StateDictUnpickler(file, storages).load()
            tensors = _StateDictUnpickler(file, storages).load()
            for key in _StateDictUnpickler(file, storages).load():
                _fill(storages[str(key)], file)
        return {name: _as_array(tensor) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as error:
        raise SetupError(
            f"{path}: cannot be read as weights: {error}. Fetch it again with `deid weights pull`."
        ) from error


def _fill(storage: _Storage, file: io.BufferedIOBase) -> None:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    values = np.frombuffer(file.read(4 * count), "<f4")
    if count != storage.count or len(values) != count:
        raise ValueError(f"a storage has {len(values)} of {storage.count} values")
    storage.values = values


def _as_array(tensor: _Tensor) -> F32:
    values = tensor.storage.values
    if values is None:
        raise ValueError("a tensor has no values")
    strides = [4 * s for s in tensor.strides]
    view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
    return np.array(view, dtype=np.float32)


class _Builder:
    """Adds layers one after the other; remembers weights."""

    def __init__(self, state: dict[str, F32]) -> None:
        self._state = state
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "frames_bgr"
        self._take_bytes()

    def _take_bytes(self) -> None:
        """Let the first convolution take BGR bytes as they come.

        The networks expect RGB as `(x - 127.5) / 128`. No convolution pads, so both that and the
        order of the channels go into the weights exactly.
        """
        weight = self._state["conv1.weight"] / np.float32(128.0)
        self._state["conv1.bias"] = self._state["conv1.bias"] - 127.5 * weight.sum((1, 2, 3))
        self._state["conv1.weight"] = np.ascontiguousarray(weight[:, ::-1])
        self.add("Transpose", [], "planes_u8", perm=[0, 3, 1, 2])
        self.add("Cast", [], "planes", to=TensorProto.FLOAT)

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        value = self._state[name] if shape is None else self._state[name].reshape(shape)
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, [self.last, *inputs], [output], **attributes))
        self.last = output
        return output

    def conv(self, number: int) -> None:
        names = [self.weight(f"conv{number}.weight"), self.weight(f"conv{number}.bias")]
        self.add("Conv", names, f"c{number}")
        slope = self.weight(f"prelu{number}.weight", (-1, 1, 1))
        self.add("PRelu", [slope], f"a{number}")

    def conv_pooled(self, number: int, size: int) -> None:
        """Add a convolution, its activation and a pooling, the activation last.

        The same function as in the file, at a fraction of the time on a CPU: the activation sees
        a quarter of the values. For slopes `a >= 0` it commutes with the pooling; for `a < 0` it
        is `max(x, a x)`, so pooling `x` and `a x` (further filters of the convolution) and taking
        the larger is the same. The channels come out in another order, which the next
        convolution's weights follow.
        """
        slope = self._state[f"prelu{number}.weight"]
        rising, falling = np.flatnonzero(slope >= 0), np.flatnonzero(slope < 0)
        order = np.concatenate([rising, falling])
        for part in ("weight", "bias"):
            values = self._state[f"conv{number}.{part}"]
            times = slope[falling].reshape(-1, *[1] * (values.ndim - 1))
            filters = np.concatenate([values[order], values[falling] * times])
            # whole vector registers, or ONNX Runtime leaves its fast layout before the pooling
            blank = -len(filters) % _VECTOR
            room = np.zeros((blank, *filters.shape[1:]), np.float32)
            self._state[f"conv{number}.{part}"] = np.concatenate([filters, room])
        self._state[f"prelu{number}.weight"] = slope[rising].reshape(-1, 1, 1)
        following = f"conv{number + 1}.weight"
        self._state[following] = self._state[following][:, order]

        names = [self.weight(f"conv{number}.weight"), self.weight(f"conv{number}.bias")]
        self.add("Conv", names, f"c{number}")
        shape = [size, size]
        self.add("MaxPool", [], f"p{number}", kernel_shape=shape, strides=[2, 2], ceil_mode=1)
        parts = [f"{part}{number}" for part in ("rising", "falling", "scaled", "blank")]
        self.split([len(rising), len(falling), len(falling), blank], parts)
        self.last = parts[0]
        self.add("PRelu", [self.weight(f"prelu{number}.weight")], f"{parts[0]}_a")
        self.last = parts[1]
        self.add("Max", [parts[2]], f"{parts[1]}_a")
        self.last = f"{parts[0]}_a"
        self.add("Concat", [f"{parts[1]}_a"], f"a{number}", axis=1)

    def split(self, sizes: list[int], outputs: list[str]) -> None:
        name = f"{outputs[0]}_sizes"
        self.weights.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
        self.nodes.append(helper.make_node("Split", [self.last, name], outputs, axis=1))

    def flatten(self) -> None:
        # the weights come from a framework that stores images as width, height, channel
        self.add("Transpose", [], "whc", perm=[0, 3, 2, 1])
        self.add("Flatten", [], "flat", axis=1)

    def dense(self, layer: str, output: str) -> str:
        names = [self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")]
        return self.add("Gemm", names, output, transB=1)


def proposal_graph(path: Path) -> onnx.ModelProto:
    """P-Net: `frames_bgr [n, h, w, 3]` to `face [n, 1, h', w']` and `shift [n, 4, h', w']`.

    The softmax of two classes is the sigmoid of their difference, which the last convolution
    computes beside the shifts.
    """
    state = read_state_dict(path)
    for part in ("weight", "bias"):
        classes = state[f"conv4_1.{part}"]
        heads = [classes[1:] - classes[:1], state[f"conv4_2.{part}"]]
        state[f"heads.{part}"] = np.concatenate(heads)

    b = _Builder(state)
    b.conv_pooled(1, 2)
    b.conv(2)
    b.conv(3)
    b.add("Conv", [b.weight("heads.weight"), b.weight("heads.bias")], "heads")
    b.split([1, 4], ["logit", "shift"])
    b.last = "logit"
    b.add("Sigmoid", [], "face")
    maps: dict[str, list[int | str]] = {"face": ["n", 1, "a", "b"], "shift": ["n", 4, "a", "b"]}
    return _model(b, ["n", "h", "w", 3], maps)


def refine_graph(path: Path) -> onnx.ModelProto:
    """R-Net: `frames_bgr [n, 24, 24, 3]` to `face [n, 2]` and `shift [n, 4]`."""
    b = _Builder(read_state_dict(path))
    b.conv_pooled(1, 3)
    b.conv_pooled(2, 3)
    b.conv(3)
    b.flatten()
    b.dense("dense4", "d4")
    b.add("PRelu", [b.weight("prelu4.weight")], "features")
    _heads(b, {"dense5_1": "face", "dense5_2": "shift"})
    outputs: dict[str, list[int | str]] = {"face": ["n", 2], "shift": ["n", 4]}
    return _model(b, ["n", 24, 24, 3], outputs)


def output_graph(path: Path) -> onnx.ModelProto:
    """O-Net: `frames_bgr [n, 48, 48, 3]` to `face [n, 2]`, `shift [n, 4]`, `points [n, 10]`."""
    b = _Builder(read_state_dict(path))
    for number, pool in ((1, 3), (2, 3), (3, 2)):
        b.conv_pooled(number, pool)
    b.conv(4)
    b.flatten()
    b.dense("dense5", "d5")
    b.add("PRelu", [b.weight("prelu5.weight")], "features")
    _heads(b, {"dense6_1": "face", "dense6_2": "shift", "dense6_3": "points"})
    outputs: dict[str, list[int | str]] = {"face": ["n", 2], "shift": ["n", 4], "points": ["n", 10]}
    return _model(b, ["n", 48, 48, 3], outputs)


def _heads(b: _Builder, heads: dict[str, str]) -> None:
    for layer, output in heads.items():
        b.last = "features"
        b.dense(layer, "logits" if output == "face" else output)
        if output == "face":
            b.add("Softmax", [], "face", axis=1)


def _model(
    b: _Builder, image_dims: list[int | str], outputs: dict[str, list[int | str]]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        b.nodes,
        "mtcnn",
        [helper.make_tensor_value_info("frames_bgr", TensorProto.UINT8, image_dims)],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        initializer=b.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
