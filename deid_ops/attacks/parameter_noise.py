"""Noise on a network's weights, the thesis' third cheap defence (Table 5.8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from deid_ops.errors import SetupError


def add_parameter_noise(model_path: Path, eps: float, seed: int) -> bytes:
    """Return an ONNX graph whose weights carry Gaussian noise.

    Every float weight of two or more dimensions gets noise of `eps` times its own standard
    deviation; biases, scales and constants stay.

    Args:
        model_path: an ONNX file.
        eps: relative strength; the thesis uses 0.10.
        seed: of the noise.

    Raises:
        SetupError: the file is no ONNX graph, or holds no weights.
    """
    try:
        model = onnx.load(str(model_path))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise SetupError(f"{model_path}: cannot read the network: {error}") from error
    rng = np.random.default_rng(seed)
    changed = 0
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype.kind != "f" or weights.ndim < 2 or weights.size < 2:
            continue
        noise = rng.standard_normal(weights.shape) * eps * float(weights.astype(np.float64).std())
        noisy = (weights.astype(np.float64) + noise).astype(weights.dtype)
        tensor.CopyFrom(numpy_helper.from_array(noisy, tensor.name))
        changed += 1
    if changed == 0:
        raise SetupError(f"{model_path}: the graph holds no weights")
    return bytes(model.SerializeToString())
