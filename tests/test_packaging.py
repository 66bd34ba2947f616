"""A wheel built from the checkout works outside it: command, SQL, configurations, weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("schemas", "deid_ops", "jobs", "configs")
DATA_SUFFIXES = {".sql", ".yaml", ".onnx", ".npz", ".json", ".j2", ".md"}


def project() -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return table


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, so that no build folder of the checkout gets into the wheel."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run_python(
        ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)],
        cwd=source,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    run_python(
        ["-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        cwd=target,
    )
    return target


def run_python(arguments: list[str], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files(source: Path, suffixes: set[str]) -> list[str]:
    return [
        str(path.relative_to(source))
        for package in PACKAGES
        for path in sorted((source / package).rglob("*"))
        if path.suffix in suffixes
    ]


def test_the_wheel_holds_every_module_and_data_file(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        expected = files(source, DATA_SUFFIXES | {".py"})
        missing = sorted(set(expected) - names)
        assert not missing, f"see [tool.setuptools] in pyproject.toml: {missing}"
        for name in files(source, DATA_SUFFIXES):
            assert archive.read(name) == (source / name).read_bytes()
        assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


def test_the_wheel_promises_a_small_download(wheel: Path) -> None:
    assert wheel.stat().st_size < 100e6


def test_the_command_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(installed)}
    where = run_python(
        ["-c", "import jobs, schemas, deid_ops; print(jobs.__file__)"], tmp_path, **environment
    )
    assert Path(where.strip()).is_relative_to(installed)
    version = run_python([str(installed / "bin/deid"), "--version"], tmp_path, **environment)
    assert str(project()["version"]) in version
    usage = run_python([str(installed / "bin/deid"), "--help"], tmp_path, **environment)
    for command in ("run", "nightly", "sql", "weights", "demo"):
        assert command in usage
