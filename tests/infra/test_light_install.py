"""The main job needs neither PyTorch nor Java nor any package of the extras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ONLY_IN_EXTRAS = (
    "torch", "onnxscript", "matplotlib", "pyspark", "delta", "py4j", "dlib", "moto", "hypothesis",
    "jsonschema", "pytest", "mypy", "build",
)  # fmt: skip

BLOCKER = f"""
import importlib.abc, sys
BLOCKED = {ONLY_IN_EXTRAS!r}
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def light_modules() -> list[str]:
    """Every module except those whose place says that they need an extra."""
    heavy = (
        "deid_ops/models",
        "deid_ops/train",
        "deid_ops/attacks",
        "jobs/attack",
        "jobs/training",
        "jobs/sql_spark.py",
    )
    names = []
    for package in ("schemas", "deid_ops", "jobs"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            relative = path.relative_to(REPOSITORY)
            if not str(relative).startswith(heavy) and path.name != "__init__.py":
                names.append(".".join(relative.with_suffix("").parts))
    return names


def run_blocked(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    without_java = {k: v for k, v in os.environ.items() if k not in {"JAVA_HOME", "SPARK_HOME"}}
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code],
        cwd=cwd,
        env={
            **without_java,
            "PATH": str(Path(sys.executable).parent),
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_blocker_blocks(tmp_path: Path) -> None:
    done = run_blocked("import torch", tmp_path)
    assert "blocked: torch" in done.stderr


def test_every_module_of_the_main_job_imports(tmp_path: Path) -> None:
    code = (
        "import importlib\nfor name in "
        + repr(light_modules())
        + ":\n    importlib.import_module(name)\n"
    )
    done = run_blocked(code, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["nightly", "--help"]])
def test_the_command_starts(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys\nsys.argv = ['deid', *{arguments!r}]\nfrom jobs.cli.app import main\nmain()\n"
    )
    done = run_blocked(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
