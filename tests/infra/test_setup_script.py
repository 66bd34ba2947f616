"""infra/setup.sh: a fresh environment, a quick second time, a half-made one, more extras."""

from __future__ import annotations

import ensurepip
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# A project that builds without a network: its build backend lies beside it and needs nothing.
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1"
"""
BACKEND = """
import zipfile
from pathlib import Path

METADATA = [
    "Metadata-Version: 2.1", "Name: tiny", "Version: 1",
    "Provides-Extra: dev", "Provides-Extra: train",
]
WHEEL = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"]

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with open("builds.log", "a") as log:
        log.write("build\\n")
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.dist-info/METADATA", "\\n".join(METADATA))
        wheel.writestr("tiny-1.dist-info/WHEEL", "\\n".join(WHEEL))
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return name
"""


@pytest.fixture(scope="module")
def bundled_pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The pip version that `python -m venv` brings, so that no upgrade needs a network."""
    return ensurepip.version()


@pytest.fixture
def checkout(tmp_path: Path, bundled_pip: str) -> Path:
    root = tmp_path / "check out"  # a path with a space
    (root / "infra").mkdir(parents=True)
    shutil.copy(REPOSITORY / "infra/setup.sh", root / "infra/setup.sh")
    (root / "infra/constraints.txt").write_text(f"pip=={bundled_pip}\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    return root


def setup(root: Path, extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'source infra/setup.sh; setup_venv "{extras}"'],
        cwd=root,
        env={
            "PATH": "/usr/bin:/bin",
            "DEID_PYTHON": getattr(sys, "_base_executable", sys.executable),
            "PIP_NO_INDEX": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def builds(root: Path) -> int:
    log = root / "builds.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_the_life_of_an_environment(checkout: Path) -> None:
    """One environment for all of it: making one takes seconds."""
    first = setup(checkout, "dev")
    assert first.returncode == 0, first.stderr
    assert "done in" in first.stdout
    assert builds(checkout) == 1

    again = setup(checkout, "")  # the second run does nothing
    assert again.returncode == 0, again.stderr
    assert "up to date (extras: dev)" in again.stdout
    assert builds(checkout) == 1

    more = setup(checkout, "train")  # extras add up
    assert more.returncode == 0, more.stderr
    assert (checkout / ".venv/.deid-setup").read_text().splitlines()[2] == "dev,train"
    assert builds(checkout) == 2

    constraints = checkout / "infra/constraints.txt"
    constraints.write_text(constraints.read_text() + "numpy==2.0.0\n")
    assert setup(checkout, "").returncode == 0  # a changed constraint installs again
    assert builds(checkout) == 3

    (checkout / "backend.py").write_text("raise RuntimeError('broken backend')\n")
    failed = setup(checkout, "spark")  # a failed installation leaves no stamp
    assert failed.returncode != 0
    assert "FAILED: Installing" in failed.stderr
    assert not (checkout / ".venv/.deid-setup").exists()

    (checkout / "backend.py").write_text(BACKEND)
    shutil.rmtree(next((checkout / ".venv/lib").glob("python*/site-packages/pip")))
    repaired = setup(checkout, "")  # a half-made environment is made again
    assert repaired.returncode == 0, repaired.stderr
    assert "Making the virtual environment" in repaired.stdout
    assert (checkout / ".venv/bin/pip").exists()


def test_a_moved_checkout_is_made_again(checkout: Path) -> None:
    assert setup(checkout, "").returncode == 0
    moved = checkout.rename(checkout.with_name("elsewhere"))
    result = setup(moved, "")
    assert result.returncode == 0, result.stderr
    assert "has moved" in result.stdout
    assert str(moved) in (moved / ".venv/bin/pip").read_text().splitlines()[0]


def test_an_unsuitable_python_is_refused_by_name(checkout: Path) -> None:
    result = setup(checkout, "", DEID_PYTHON="/bin/false", PATH=str(fake_path(checkout)))
    assert result.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed" in result.stderr


def fake_path(root: Path) -> Path:
    """A PATH with the coreutils that the script needs and no Python."""
    folder = root / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "rm", "cat", "sort", "paste"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def test_constraints_pin_every_direct_dependency_as_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = dict(
        line.lower().split("==")
        for line in (REPOSITORY / "infra/constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {
        re.split(r"[\[<>=;! ]", requirement)[0].lower().replace("_", "-")
        for group in groups
        for requirement in group
        if "sys_platform !=" not in requirement
    }
    missing = wanted - set(pins)
    assert not missing, f"not pinned in infra/constraints.txt: {sorted(missing)}"
    for name in sorted(wanted):
        installed = version(name)
        assert pins[name] == installed, f"{name}: pinned {pins[name]}, installed {installed}"
