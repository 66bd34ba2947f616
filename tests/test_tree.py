"""What git tracks: the fixed top level, and no picture, clip or archive that is not the project's.

Test media may be used here but not handed on; one `git add -A` beside a scratch picture is enough.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TOP_LEVEL = {
    *("README.md", "pyproject.toml", ".gitignore", ".ci"),
    *("jobs", "deid_ops", "schemas", "infra", "tests", "configs"),
}
#: Every file that is not text, each with a reason to be there.
BINARY = {
    "configs/weights/anchors.npz",  # the bank, sampled from a density
    "configs/weights/attributes.onnx",  # networks of our own, see their cards
    "configs/weights/denoiser.onnx",
    "configs/weights/encoder.onnx",
    "configs/weights/generator.onnx",
    "configs/weights/target_oriented.onnx",
    "infra/images/before_after.jpg",  # made by the demo, of people drawn there
}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [Path(name) for name in listed.stdout.split("\0") if name]


def test_the_top_level_is_fixed(tracked: list[Path]) -> None:
    assert {path.parts[0] for path in tracked} == TOP_LEVEL


def test_pictures_clips_and_weights_are_those_of_the_project(tracked: list[Path]) -> None:
    binary = {str(path) for path in tracked if b"\0" in (REPOSITORY / path).read_bytes()}
    assert binary == BINARY
