"""What a model must look like from outside, written down and checked when it is loaded.

Convention
    A dimension in a contract is an `int` (must be this size, or dynamic in the model), a `str`
    (must be dynamic in the model, e.g. the batch) or `None` (anything). A model's own dynamic
    dimensions are reported as strings.
    Order of tensors does not matter; names do. A model may have more outputs than the contract
    names, but not more inputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from deid_ops.errors import SetupError

Dims = tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: tensor name in the graph.
        dtype: numpy name, for example `float32`, `uint8`.
        dims: see the module's convention; the first is the batch.
        value_range: smallest and largest value that has a meaning, for readers and for checks of
            what a model returned; None where unbounded.
        doc: meaning, order of channels, units.
    """

    name: str
    dtype: str
    dims: Dims
    value_range: tuple[float, float] | None = None
    doc: str = ""

    def __str__(self) -> str:
        """For example `crop: float32[n, 3, 256, 256]`."""
        inner = ", ".join("?" if d is None else str(d) for d in self.dims)
        return f"{self.name}: {self.dtype}[{inner}]"


@dataclass(frozen=True, slots=True)
class ModelContract:
    """Everything a stage relies on in a model file."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class LoadedModel(Protocol):
    """What `check_contract` needs to know of a model; `OrtModel` has it."""

    @property
    def source(self) -> str:
        """File name, or how the graph was made."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs as they are in the file."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs as they are in the file."""


def check_contract(model: LoadedModel, contract: ModelContract) -> None:
    """Compare names, types, ranks and sizes of a model's tensors with a contract.

    Raises:
        SetupError: names the file, every difference, and what to do.

    Example:
        The message reads `gen.onnx does not fit the contract 'generator': input 'crop': expected
        crop: float32[n, 3, 256, 256], the file has crop: float32[1, 3, 256, 256] (dimension 0 must
        be dynamic). Export it again with these tensors, or name another file.`
    """
    problems = [
        *_compare("input", contract.inputs, model.inputs),
        *_compare("output", contract.outputs, model.outputs),
    ]
    wanted = {spec.name for spec in contract.inputs}
    extra = [str(spec) for spec in model.inputs if spec.name not in wanted]
    problems += [f"input {name!r} is not in the contract" for name in extra]
    if problems:
        raise SetupError(
            f"{model.source} does not fit the contract {contract.name!r}: {'; '.join(problems)}. "
            "Export it again with these tensors, or name another file."
        )


def _compare(
    kind: str, wanted: Iterable[TensorSpec], present: tuple[TensorSpec, ...]
) -> Iterable[str]:
    by_name = {spec.name: spec for spec in present}
    for spec in wanted:
        found = by_name.get(spec.name)
        if found is None:
            names = ", ".join(sorted(by_name)) or "none"
            yield f"{kind} {spec.name!r} is missing (the file has {names})"
            continue
        difference = _difference(spec, found)
        if difference:
            yield f"{kind} {spec.name!r}: expected {spec}, the file has {found} ({difference})"


def _difference(wanted: TensorSpec, found: TensorSpec) -> str:
    if wanted.dtype != found.dtype:
        return "the type differs"
    if len(wanted.dims) != len(found.dims):
        return "the number of dimensions differs"
    for axis, (want, got) in enumerate(zip(wanted.dims, found.dims, strict=True)):
        if isinstance(want, int) and isinstance(got, int) and want != got:
            return f"dimension {axis} differs"
        if isinstance(want, str) and isinstance(got, int):
            return f"dimension {axis} must be dynamic"
    return ""
