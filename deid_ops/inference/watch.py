"""Sessions that keep what they were fed: the job's own wrappers tell what a network really gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from deid_ops.inference.graphs import graph_macs, read_graph
from deid_ops.inference.session import Array, OrtModel, Runtime


def no_clock() -> float:
    """Stand in for a clock where times do not matter."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One run of one session.

    Attributes:
        model: what ran.
        feeds: input name to array, as the caller gave them.
        started: by the runtime's clock.
        ended: by the runtime's clock.
    """

    model: WatchedModel
    feeds: Mapping[str, Array]
    started: float
    ended: float


class WatchedModel(OrtModel):
    """A session that appends every run to a list.

    Args:
        model: path or serialised graph, kept as `graph`.
        runtime: providers, threads, the clock and the list.
        buckets: see `OrtModel`.
        name: see `OrtModel`.
    """

    def __init__(
        self, model: str | bytes, runtime: WatchedRuntime, buckets: tuple[int, ...], name: str
    ) -> None:
        super().__init__(model, runtime, buckets, name)
        # a graph given as bytes has its file's name here
        self.source, self.graph = name, model
        self._calls, self._clock = runtime.calls, runtime.clock

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run as `OrtModel` does, and note it."""
        started = self._clock()
        outputs = super().run(feeds)
        self._calls.append(Call(self, dict(feeds), started, self._clock()))
        return outputs


@dataclass(frozen=True, slots=True)
class WatchedRuntime(Runtime):
    """A runtime whose sessions note every run in `calls`, the oldest first.

    Example:
        >>> runtime = WatchedRuntime(threads=1)
        >>> swap = Generator("gen.onnx", "attributes.onnx", runtime)  # doctest: +SKIP
        >>> swap(crops_bgr, swap.read(crops_bgr), anchors_unit)  # doctest: +SKIP
        >>> [c.model.source for c in runtime.calls]  # doctest: +SKIP
        ['attributes.onnx', 'gen.onnx']
    """

    clock: Callable[[], float] = no_clock
    calls: list[Call] = field(default_factory=list)

    def open(self, model: str | bytes, buckets: tuple[int, ...], name: str) -> WatchedModel:
        """Open a model that is watched."""
        return WatchedModel(model, self, buckets if self.on_accelerator else (), name)


def busy_s(calls: Sequence[Call]) -> float:
    """Return for how long at least one call ran; calls of several threads may overlap."""
    total, reached = 0.0, float("-inf")
    for call in sorted(calls, key=lambda c: c.started):
        total += max(0.0, call.ended - max(call.started, reached))
        reached = max(reached, call.ended)
    return total


def gflop_of(calls: Sequence[Call]) -> float:
    """Return the work of some calls in 1e9, 2 for each multiply-accumulate of `graph_macs`."""
    models: dict[str, WatchedModel] = {c.model.source: c.model for c in calls}
    # equal shapes are counted once and multiplied
    shapes = Counter(
        (c.model.source, tuple((name, a.shape) for name, a in sorted(c.feeds.items())))
        for c in calls
    )
    total = 0.0
    for (source, inputs), count in shapes.items():
        if any(shape[0] == 0 for _, shape in inputs):
            continue  # a stage of `mtcnn` without a candidate
        model = models[source]
        types = {spec.name: spec.dtype for spec in model.inputs}
        feeds = {name: np.zeros(shape, types[name]) for name, shape in inputs}
        total += count * graph_macs(_graph(model), feeds)
    return 2.0 * total / 1e3


def _graph(model: WatchedModel) -> onnx.ModelProto:
    if isinstance(model.graph, str):
        return read_graph(model.graph)
    return onnx.load_from_string(model.graph)
