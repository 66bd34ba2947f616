"""dlib's face ResNet: from its serialised `.dat` file to an ONNX graph.

File format (dlib, `serialize.h` and `dnn/core.h`)
    Integers: a control byte whose low four bits count the bytes that follow (little-endian) and
    whose top bit is the sign. Floats: mantissa and exponent as two such integers,
    `mantissa * 2 ** exponent`. Booleans: the characters `0` and `1`. Strings: length, bytes.
    Tensors: version 2, four sizes (samples, channels, rows, columns), raw little-endian float32.
    A network is nested: every layer writes its version, then the layers below it, then itself, so
    the versions come first (top to bottom) and the contents follow from the input upwards.

The network (King, dlib 19.3, `dnn_face_recognition_ex.cpp`; weights CC0) is a ResNet with 29
convolutions on 150 x 150 RGB chips, `(v - mean) / 256`, and 128 outputs. Its shortcuts differ from
the usual ones: a down-sampling block halves the shortcut by a 2 x 2 mean, and where the two
branches differ in size or channels the smaller one is filled up with zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deid_ops.errors import SetupError
from deid_ops.types import F32

CHIP_SIZE_PX = 150
DESCRIPTOR_DIM = 128
_BLOCKS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""From the input upwards: filters, blocks, whether the first block halves the size."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with the affine layer above it folded in."""

    weights: F32  # [filters, channels, rows, columns]
    bias: F32  # [filters]
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class FaceResNet:
    """Everything the file says: input mean, convolutions from the input upwards, last matrix."""

    mean_rgb: tuple[float, float, float]
    convs: tuple[Conv, ...]
    projection: F32  # [256, 128]


class _Reader:
    """Reads dlib's basic types."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("the file ends too early")
        self._at += count
        return part

    def integer(self) -> int:
        control = self.take(1)[0]
        size = control & 0x0F
        if control & 0x70 or size > 8:
            raise ValueError(f"no integer at byte {self._at - 1}")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        return float(mantissa * 2.0**exponent)

    def expect(self, *names: str) -> None:
        name = self.take(self.integer()).decode("latin-1")
        if name not in names:
            raise ValueError(f"found a layer {name!r} where {' or '.join(names)} belongs")

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def tensor(self) -> F32:
        version = self.integer()
        if version != 2:
            raise ValueError(f"tensor version {version} is not supported")
        shape = self.integers(4)
        count = int(np.prod(shape))
        return np.frombuffer(self.take(4 * count), "<f4").reshape(shape)

    def end_of_layer(self, *, at_input: bool = False) -> None:
        """Training state: three flags, gradient, cached output, parameter gradient."""
        if set(self.take(3)) - set(b"01"):
            raise ValueError(f"no flags at byte {self._at - 3}")
        for _ in range(3):
            self.tensor()
        if at_input:
            self.integer()


def read_face_resnet(path: Path) -> FaceResNet:
    """Read `dlib_face_recognition_resnet_model_v1.dat`.

    Raises:
        SetupError: the file is not this network, or is damaged.
    """
    try:
        return _parse(_Reader(path.read_bytes()))
    except (OSError, ValueError, struct.error) as error:
        raise SetupError(
            f"{path}: is not dlib's face recognition ResNet: {error}. Fetch it again with "
            "`deid weights pull dlib_resnet`."
        ) from error


def _parse(reader: _Reader) -> FaceResNet:
    reader.integer()
    reader.expect("loss_metric_2")
    reader.real(), reader.real()
    for wanted in _versions():
        found = reader.integer()
        if found != wanted:
            raise ValueError(f"layer version {found} where {wanted} belongs")
    reader.expect("input_rgb_image_sized")
    red, green, blue = reader.real(), reader.real(), reader.real()
    if reader.integers(2) != [CHIP_SIZE_PX, CHIP_SIZE_PX]:
        raise ValueError("the input is not 150 x 150")
    convs = [_read_conv(reader, at_input=True)]
    _read_relu(reader)
    _read_pool(reader, "max_pool_2")
    for _filters, count, halves in _BLOCKS:
        for i in range(count):
            convs.append(_read_conv(reader))
            _read_relu(reader)
            convs.append(_read_conv(reader))
            if halves and i == 0:
                _read_pool(reader, "avg_pool_2")
            reader.expect("add_prev_")
            reader.end_of_layer()
            _read_relu(reader)
    _read_pool(reader, "avg_pool_2")
    projection = _read_projection(reader)
    if reader.left:
        raise ValueError(f"{reader.left} bytes are left over")
    return FaceResNet((red, green, blue), tuple(convs), projection)


def _versions() -> Iterator[int]:
    """Version numbers from the top layer down: 2 a layer, 1 a tag or skip, 3 at the input."""
    yield from (2, 2)  # projection, mean over the image
    for _filters, count, halves in reversed(_BLOCKS):
        for i in reversed(range(count)):
            # relu, add, [mean, skip, tag], affine, conv, relu, affine, conv, tag
            shortcut = (2, 1, 1) if halves and i == 0 else ()
            yield from (2, 2, *shortcut, 2, 2, 2, 2, 2, 1)
    yield from (2, 2, 2, 3)  # max pool, relu, affine, conv at the input


def _read_relu(reader: _Reader) -> None:
    reader.expect("relu_")
    reader.end_of_layer()


def _read_pool(reader: _Reader, name: str) -> None:
    reader.expect(name)
    reader.integers(6)
    reader.end_of_layer()


def _read_conv(reader: _Reader, *, at_input: bool = False) -> Conv:
    reader.expect("con_4")
    params = reader.tensor().reshape(-1)
    filters, rows, columns, stride, _, padding, _ = reader.integers(7)
    _version, *shape = reader.integers(5)
    reader.integers(5)  # the biases' place in the parameters
    for _ in range(4):
        reader.real()  # learning rates and decays
    reader.end_of_layer(at_input=at_input)
    count = int(np.prod(shape))
    if (shape[0], shape[2], shape[3]) != (filters, rows, columns) or len(params) != count + filters:
        raise ValueError(f"a convolution of {filters} filters has {len(params)} parameters")

    reader.expect("affine_")
    affine = reader.tensor().reshape(-1).astype(np.float64)
    reader.integers(11)  # two places in the parameters, mode
    reader.end_of_layer()
    gamma, beta = affine[:filters], affine[filters:]
    weights = params[:count].reshape(shape) * gamma[:, None, None, None]
    bias = params[count:] * gamma + beta
    return Conv(weights.astype(np.float32), bias.astype(np.float32), stride, padding)


def _read_projection(reader: _Reader) -> F32:
    reader.expect("fc_2")
    outputs, inputs = reader.integers(2)
    params = reader.tensor().reshape(-1)
    reader.integers(11)  # two places in the parameters, bias mode
    for _ in range(4):
        reader.real()
    reader.end_of_layer()
    if (inputs, outputs) != (256, DESCRIPTOR_DIM) or len(params) != inputs * outputs:
        raise ValueError(f"the last layer maps {inputs} to {outputs} values")
    return params.reshape(inputs, outputs)


def face_resnet_graph(net: FaceResNet) -> onnx.ModelProto:
    """Build the ONNX graph: `chips_bgr` uint8 `[n, 150, 150, 3]` to `descriptor` `[n, 128]`.

    The descriptor is dlib's own (not of unit length): same person below a Euclidean distance of
    about 0.6.
    """
    graph = _GraphBuilder()
    mean_bgr = np.array(net.mean_rgb[::-1], np.float32).reshape(1, 3, 1, 1)
    graph.node("Transpose", "chips_bgr", perm=[0, 3, 1, 2])
    graph.node("Cast", graph.last, to=TensorProto.FLOAT)
    graph.node("Sub", graph.last, graph.constant(mean_bgr))
    graph.node("Mul", graph.last, graph.constant(np.array(1 / 256, np.float32)))
    convs = list(net.convs)
    first = convs.pop(0)
    size = graph.conv(Conv(first.weights[:, ::-1], *_rest(first)), CHIP_SIZE_PX)
    graph.node("Relu", graph.last)
    size = graph.pool("MaxPool", 3, size)
    for filters, count, halves in _BLOCKS:
        for i in range(count):
            size = graph.block(convs.pop(0), convs.pop(0), filters, size, halves and i == 0)
    graph.node("GlobalAveragePool", graph.last)
    graph.node("Flatten", graph.last)
    graph.node("MatMul", graph.last, graph.constant(net.projection), output="descriptor")
    return graph.model()


def _rest(conv: Conv) -> tuple[F32, int, int]:
    return conv.bias, conv.stride, conv.padding


class _GraphBuilder:
    """Adds nodes one after the other and keeps track of sizes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._channels = 32
        self.last = ""

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        self.last = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [self.last], **attributes))
        return self.last

    def constant(self, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        name = f"w{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(self, conv: Conv, size: int) -> int:
        kernel = int(conv.weights.shape[2])
        weights, bias = self.constant(conv.weights), self.constant(conv.bias)
        steps, pads = [conv.stride] * 2, [conv.padding] * 4
        self.node("Conv", self.last, weights, bias, strides=steps, pads=pads)
        return (size + 2 * conv.padding - kernel) // conv.stride + 1

    def pool(self, kind: str, kernel: int, size: int) -> int:
        self.node(kind, self.last, kernel_shape=[kernel] * 2, strides=[2, 2])
        return (size - kernel) // 2 + 1

    def block(self, lower: Conv, upper: Conv, filters: int, size: int, halves: bool) -> int:
        """Two convolutions and a shortcut; returns the new side length."""
        below, channels = self.last, self._channels
        branch_size = self.conv(lower, size)
        self.node("Relu", self.last)
        branch_size = self.conv(upper, branch_size)
        branch = self.last
        self.last = below
        short_size = self.pool("AveragePool", 2, size) if halves else size
        shortcut = self.last
        joined = max(branch_size, short_size)
        branch = self._fill(branch, 0, joined - branch_size)
        shortcut = self._fill(shortcut, filters - channels, joined - short_size)
        self.node("Add", branch, shortcut)
        self.node("Relu", self.last)
        self._channels = filters
        return joined

    def _fill(self, tensor: str, channels: int, pixels: int) -> str:
        """Append zero channels, and zero rows and columns at the bottom and on the right."""
        if not channels and not pixels:
            return tensor
        pads = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.node("Pad", tensor, self.constant(pads))

    def model(self) -> onnx.ModelProto:
        chip: list[int | str] = ["n", CHIP_SIZE_PX, CHIP_SIZE_PX, 3]
        graph = helper.make_graph(
            self._nodes,
            "dlib_face_resnet",
            [helper.make_tensor_value_info("chips_bgr", TensorProto.UINT8, chip)],
            [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["n", DESCRIPTOR_DIM])],
            initializer=self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model
