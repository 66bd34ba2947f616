"""One ONNX Runtime session with fixed batch buckets and an honest provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from deid_ops.errors import InvariantError, SetupError
from deid_ops.inference.contracts import TensorSpec

Array = npt.NDArray[Any]
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
DEFAULT_BUCKETS = (1, 4, 8, 16, 32)
_SEVERITY_ERROR = 3  # exporters leave unused initializers behind; ORT warns about each of them


@dataclass(frozen=True, slots=True)
class Runtime:
    """How the sessions of a worker run.

    Attributes:
        providers: in order of preference, of `cpu`, `cuda` and `tensorrt`. Accelerators that are
            asked for must start: a silent fall back to the CPU is an error here.
        threads: CPU threads for one operator; 0 leaves the choice to ONNX Runtime.
        gpu_mem_limit_bytes: upper bound of a session's CUDA arena; 0 for none.
        spinning: threads that wait for the next operator of a run keep their core (a quarter faster
            where the worker has its cores for itself, slower where workers share them).
    """

    providers: tuple[str, ...] = ("cpu",)
    threads: int = 0
    gpu_mem_limit_bytes: int = 0
    spinning: bool = False

    def open(self, model: str | bytes, buckets: tuple[int, ...], name: str) -> OrtModel:
        """Open a model. On the CPU any batch length is as good as another: no buckets."""
        return OrtModel(model, self, buckets if self.on_accelerator else (), name)

    @property
    def on_accelerator(self) -> bool:
        """Whether anything but the CPU is asked for."""
        return any(p != "cpu" for p in self.providers)


CPU = Runtime()


class OrtModel:
    """An ONNX graph ready to run on batches of any length.

    A batch is cut into pieces whose lengths come from `buckets`, the last one padded with copies
    of its last item, so that the provider meets few shapes (a new shape costs CUDA a tuning
    round, and memory arenas never shrink). A graph with a fixed batch is run in pieces of it.

    Args:
        model: path of a file, or the serialised graph.
        runtime: providers and threads.
        buckets: allowed batch lengths; empty to run every batch as it comes.
        name: what messages call a graph given as bytes.

    Raises:
        SetupError: the file is missing or not a model, or an accelerator that was asked for does
            not start.

    Example:
        >>> model = OrtModel("encoder.onnx")  # doctest: +SKIP
        >>> model.run({"crops": crops})["embedding"].shape  # doctest: +SKIP
        (7, 128)
    """

    def __init__(
        self,
        model: str | bytes,
        runtime: Runtime = CPU,
        buckets: tuple[int, ...] = DEFAULT_BUCKETS,
        name: str = "model in memory",
    ) -> None:
        self.source = model if isinstance(model, str) else name
        self._session = _open(model, self.source, runtime)
        self.provider = _provider_in_use(self._session, runtime.providers, self.source)
        self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        fixed = {s.dims[0] for s in self.inputs if s.dims and isinstance(s.dims[0], int)}
        self.buckets = (fixed.pop(),) if len(fixed) == 1 else tuple(sorted(set(buckets)))
        if any(not isinstance(b, int) or b < 1 for b in self.buckets):
            raise SetupError(f"{self.source}: batch buckets {buckets} must be positive integers")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph on a batch.

        Args:
            feeds: input name to array, all with the same length `n` of the first axis (0 is
                allowed). Types are cast to those of the graph; shapes are not changed.

        Returns:
            Output name to array. Outputs whose first axis is the batch have length `n`.

        Raises:
            InvariantError: an input is missing, unknown, or lengths differ.
        """
        arrays = self._as_declared(feeds)
        n = len(next(iter(arrays.values())))
        if n == 0:
            one = self.buckets[0] if self.buckets else 1
            blank = {k: np.zeros((one, *a.shape[1:]), a.dtype) for k, a in arrays.items()}
            return {k: v[:0] for k, v in self._run_exactly(blank).items()}
        pieces = []
        for start, stop, size in bucket_slices(n, self.buckets):
            part = {k: _pad(a[start:stop], size) for k, a in arrays.items()}
            outputs = self._run_exactly(part)
            if size != stop - start:
                outputs = {k: v[: stop - start] for k, v in outputs.items()}
            pieces.append(outputs)
        if len(pieces) == 1:
            return pieces[0]
        return {k: np.concatenate([piece[k] for piece in pieces]) for k in pieces[0]}

    def _as_declared(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = {spec.name for spec in self.inputs}
        if set(feeds) != names:
            raise InvariantError(f"{self.source}: inputs {sorted(feeds)}, expected {sorted(names)}")
        if len({len(array) for array in feeds.values()}) != 1:
            shapes = {name: array.shape for name, array in feeds.items()}
            raise InvariantError(f"{self.source}: batch lengths differ: {shapes}")
        return {
            spec.name: np.ascontiguousarray(feeds[spec.name], dtype=spec.dtype)
            for spec in self.inputs
        }

    def _run_exactly(self, feeds: dict[str, Array]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        if self.provider == "cpu":
            return dict(zip(names, self._session.run(names, feeds), strict=True))
        # binding lets ORT copy inputs and outputs once, on the session's own stream
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))


def bucket_slices(n: int, buckets: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Cut `n` items into `(start, stop, padded length)` pieces.

    The largest bucket that is full is taken first; what remains goes into the smallest bucket
    that holds it.

    Example:
        >>> list(bucket_slices(38, (1, 4, 8, 16, 32)))
        [(0, 32, 32), (32, 38, 8)]
    """
    if not buckets:
        yield 0, n, n
        return
    start = 0
    while start < n:
        left = n - start
        size = min((b for b in buckets if b >= left), default=max(buckets))
        stop = min(n, start + size)
        yield start, stop, size
        start = stop


def _pad(array: Array, length: int) -> Array:
    missing = length - len(array)
    if missing == 0:
        return array
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def _open(model: str | bytes, source: str, runtime: Runtime) -> Any:
    providers = runtime.providers
    unknown = [p for p in providers if p not in PROVIDERS]
    if unknown or not providers:
        raise SetupError(f"{source}: providers {providers}: choose from {', '.join(PROVIDERS)}")
    options = ort.SessionOptions()
    options.log_severity_level = _SEVERITY_ERROR
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(runtime.spinning)))
    options.add_session_config_entry("session.force_spinning_stop", "1")  # at the end of a run
    for accelerator in (p for p in providers if p != "cpu"):
        _prepare_accelerator(accelerator, source)
    chosen = [
        (PROVIDERS[p], _cuda_options(runtime.gpu_mem_limit_bytes) if p == "cuda" else {})
        for p in providers
    ]
    try:
        return ort.InferenceSession(model, options, providers=chosen)
    except _ORT_ERRORS as error:
        raise SetupError(f"{source}: cannot be opened as an ONNX model: {error}") from error


def _prepare_accelerator(name: str, source: str) -> None:
    if PROVIDERS[name] not in ort.get_available_providers():
        raise SetupError(
            f"{source}: provider {name!r} was asked for, but this ONNX Runtime has only "
            f"{ort.get_available_providers()}. Install onnxruntime-gpu (`pip install "
            "'deid-lake[cuda]'`), or set the provider to 'cpu'."
        )
    ort.set_default_logger_severity(4)  # a failing start is reported by `_provider_in_use`, once
    ort.preload_dlls()


def _cuda_options(gpu_mem_limit_bytes: int) -> dict[str, str]:
    options = {
        "arena_extend_strategy": "kSameAsRequested",
        # the default tunes every new shape exhaustively
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if gpu_mem_limit_bytes:
        options["gpu_mem_limit"] = str(gpu_mem_limit_bytes)
    return options


def _provider_in_use(session: Any, asked: tuple[str, ...], source: str) -> str:
    active = session.get_providers()
    for name in (p for p in asked if p != "cpu"):
        if PROVIDERS[name] not in active:
            raise SetupError(
                f"{source}: provider {name!r} was asked for, but it did not start (no GPU, or its "
                "libraries are missing). Install `deid-lake[cuda]` on a machine with an NVIDIA "
                "driver, or set the provider to 'cpu'."
            )
    return next(name for name, ort_name in PROVIDERS.items() if ort_name == active[0])


def _spec(value: Any) -> TensorSpec:
    dims = tuple(d if isinstance(d, int) else (d or "?") for d in value.shape)
    return TensorSpec(value.name, _NUMPY_TYPES[value.type], dims)


_NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_states = ort.capi.onnxruntime_pybind11_state
_ORT_ERRORS = (
    _states.Fail,
    _states.InvalidArgument,
    _states.InvalidGraph,
    _states.InvalidProtobuf,
    _states.NoSuchFile,
    _states.NotImplemented,
    _states.RuntimeException,
)
