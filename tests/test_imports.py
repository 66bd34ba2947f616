"""The import rule of the three packages, read from the syntax trees; there is no ignore list.

`schemas` and `deid_ops` know neither each other nor Ray; only `jobs` joins them. PyTorch is needed
by the training and attack code alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MAX_FILE_LINES = 400

NUMERICS = {"numpy", "scipy", "cv2", "av", "onnx", "onnxruntime"}
TORCH = {"torch", "onnxscript", "matplotlib"}
ALLOWED = {
    "schemas": {"schemas", "pyarrow"},
    "deid_ops": {"deid_ops"} | NUMERICS,
    "jobs": {"jobs", "schemas", "deid_ops"}
    | {"numpy", "cv2", "av", "onnxruntime", "pyarrow"}
    | {
        "ray",
        "deltalake",
        "duckdb",
        "fsspec",
        "s3fs",
        "aiohttp",
        "botocore",
        "pydantic",
        "yaml",
        "typer",
        "rich",
    }
    | {"jinja2"},
}
# Folders and files that may import more; a path is matched by its leading parts.
ALSO = {
    ("deid_ops", "models"): TORCH,
    ("deid_ops", "train"): TORCH,
    ("deid_ops", "attacks"): TORCH,
    ("jobs", "cli_train.py"): {"torch"},
    ("jobs", "sql_spark.py"): {"pyspark", "delta", "py4j"},
}

# A call of one of these makes an op depend on something that is not among its arguments.
HIDDEN_INPUTS = {
    "os.environ", "os.getenv", "os.environb",
    "time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today", "random.seed", "random.random", "random.choice", "random.randint",
    "random.shuffle", "uuid.uuid1", "uuid.uuid4",
}  # fmt: skip
RANDOM_WITH_STATE = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator"}


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def all_sources() -> list[Path]:
    return [path for package in ALLOWED for path in sources(package)]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level module) of every import, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(REPOSITORY).parts[0]
            yield node.lineno, package if node.level else str(node.module).split(".")[0]
        elif is_dynamic_import(node):
            yield node.lineno, "importlib.import_module"  # would hide a module from this test


def is_dynamic_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func) in {
        "importlib.import_module",
        "import_module",
        "__import__",
    }


def dotted(node: ast.AST) -> str:
    """`a.b.c` for an attribute chain, its last two parts for a longer one, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return ".".join([*dotted(node.value).split("."), node.attr]).strip(".")
    return ""


def allowed_for(path: Path) -> set[str]:
    parts = path.relative_to(REPOSITORY).parts
    allowed = set(sys.stdlib_module_names) | ALLOWED[parts[0]]
    for prefix, more in ALSO.items():
        if parts[: len(prefix)] == prefix:
            allowed |= more
    return allowed


def violations(source: str, path: Path) -> list[str]:
    allowed = allowed_for(path)
    return [
        f"{name_of(path)}:{line} imports {module}"
        for line, module in imports(ast.parse(source), path)
        if module not in allowed
    ]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_they_may(package: str) -> None:
    found = [text for path in sources(package) for text in violations(path.read_text(), path)]
    assert sources(package)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("deid_ops/detect/x.py", "import ray"),
        ("deid_ops/detect/x.py", "import schemas.tables"),
        ("deid_ops/detect/x.py", "def f():\n    import torch"),
        ("deid_ops/x.py", "from jobs.config import JobConfig"),
        ("schemas/x.py", "import numpy as np"),
        ("schemas/x.py", "__import__('ray')"),
        ("jobs/x.py", "from torch import nn"),
        ("jobs/x.py", "import importlib\nimportlib.import_module('torch')"),
    ],
)
def test_the_rule_catches(path: str, line: str) -> None:
    assert violations(line, REPOSITORY / path)


def test_the_rule_passes_what_is_allowed() -> None:
    assert not violations("import torch", REPOSITORY / "deid_ops/train/x.py")
    assert not violations("import ray\nfrom deid_ops import types", REPOSITORY / "jobs/x.py")


def test_ops_are_functions_of_their_arguments() -> None:
    found = [
        f"{name_of(path)}:{line} uses {what}"
        for path in sources("deid_ops")
        for line, what in hidden_inputs(ast.parse(path.read_text()))
    ]
    assert not found, "\n".join(found)


def hidden_inputs(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        parts = dotted(node).split(".")
        if ".".join(parts[-2:]) in HIDDEN_INPUTS:
            yield node.lineno, ".".join(parts)
        if ".".join(parts[:-1]) in {"np.random", "numpy.random"} and (
            parts[-1] not in RANDOM_WITH_STATE
        ):
            yield node.lineno, ".".join(parts)


@pytest.mark.parametrize(
    "line", ["np.random.rand(3)", "x = os.environ['A']", "datetime.datetime.now()", "time.time()"]
)
def test_hidden_inputs_are_caught(line: str) -> None:
    assert list(hidden_inputs(ast.parse(line)))


def test_no_blind_except() -> None:
    found = []
    for path in all_sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and is_blind(node):
                found.append(f"{name_of(path)}:{node.lineno}")
    assert not found, "\n".join(found)


def is_blind(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler catches everything and does not pass it on."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False  # cleaning up on the way out
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
        for kind in kinds
    )


@pytest.mark.parametrize(
    ("text", "blind"),
    [
        (":\n    pass", True),
        (" Exception:\n    pass", True),
        (" (OSError, Exception):\n    pass", True),
        (" OSError:\n    pass", False),
        (" BaseException:\n    clean()\n    raise", False),
        (" Exception as e:\n    raise ValueError from e", True),
    ],
)
def test_blind_excepts_are_caught(text: str, blind: bool) -> None:
    handler = ast.parse(f"try:\n    pass\nexcept{text}").body[0].handlers[0]  # type: ignore[attr-defined]
    assert is_blind(handler) is blind


def test_files_stay_short_and_init_files_empty() -> None:
    long = {
        name_of(path): lines
        for path in all_sources()
        if (lines := len(path.read_text().splitlines())) > MAX_FILE_LINES
    }
    assert not long, f"longer than {MAX_FILE_LINES} lines: {long}"
    filled = [
        name_of(path)
        for path in [*REPOSITORY.glob("tests/**/__init__.py"), *all_sources()]
        if path.name == "__init__.py" and path.read_text().strip()
    ]
    assert not filled, f"__init__.py files stay empty: {filled}"
    assert not [name_of(path) for path in all_sources() if path.name == "utils.py"]


def test_every_package_folder_has_an_init_file() -> None:
    folders = {path.parent for path in all_sources()}
    missing = sorted(name_of(f) for f in folders if not (f / "__init__.py").exists())
    assert not missing, f"folders without __init__.py: {missing}"
