"""Reading ONNX files as graphs that can be rewritten."""

from __future__ import annotations

import onnx
from onnx import serialization

from deid_ops.errors import SetupError

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
