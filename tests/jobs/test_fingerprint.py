"""What makes work stale: every module and file that a published byte depends on is hashed."""

from __future__ import annotations

import ast
from importlib import resources
from pathlib import Path

import pytest

import jobs
from jobs import fingerprint
from jobs.config import load_config
from jobs.fingerprint import (
    DECIDING_MODULES,
    code_sha256,
    find_fingerprint,
    pipeline_fingerprint,
)

JOBS = Path(jobs.__file__).parent
CONFIG = load_config(None)
#: Modules that stages and linking import which only fetch, store, measure or count. Values of the
#: configuration and hashes of weights are in the fingerprints themselves.
SERVING_MODULES = (
    "attribute_readers",
    "config",
    "fingerprint",
    "identity_rows",
    "lake",
    "s3_env",
    "sources",
    "storage",
    "storage_errors",
    "weights",
)


def imported_by(path: Path) -> set[str]:
    """Names of the modules and packages of `jobs` that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    froms = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    plain = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    parts = [name.split(".") for name in froms + plain]
    return {names[1] for names in parts if names[0] == "jobs" and len(names) > 1}


def test_every_module_behind_the_stages_is_hashed_or_known_to_decide_nothing():
    seen, open_ = {"stages"}, {JOBS / "linking.py", *(JOBS / "stages").glob("*.py")}
    while open_:
        for name in imported_by(open_.pop()) - seen:
            seen.add(name)
            if name in DECIDING_MODULES:
                open_.add(JOBS / f"{name}.py")
    unknown = seen - {"stages", "linking"} - set(DECIDING_MODULES) - set(SERVING_MODULES)
    assert not unknown, f"do {unknown} decide what is published? Then DECIDING_MODULES, else here"
    assert "anchoring" in seen  # the walk finds what is there


class OtherText:
    """A package folder in which one file reads otherwise."""

    def __init__(self, folder, changed):
        self.folder, self.changed = folder, changed

    def __truediv__(self, name):
        return OtherText(self.folder / name, self.changed)

    def read_bytes(self):
        text = self.folder.read_bytes()
        return text + b"\n" if self.folder.name == self.changed else text

    def iterdir(self):
        return (OtherText(entry, self.changed) for entry in self.folder.iterdir())

    def is_dir(self):
        return self.folder.is_dir()

    @property
    def name(self):
        return self.folder.name


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("calibration.yaml", True),
        ("anchoring.py", True),
        ("replace.py", True),
        ("face_mask.py", True),
        ("openlineage.py", False),
        ("facedancer.py", False),
    ],
)
def test_a_changed_file_makes_finished_work_stale(monkeypatch, changed, stale):
    def both():
        code_sha256.cache_clear()
        prints = (f(CONFIG, {"centerface": "0" * 64}, bytes(32)) for f in FINGERPRINTS)
        return tuple(prints)

    try:
        before = both()
        assert both() == before
        monkeypatch.setattr(
            fingerprint.resources, "files", lambda name: OtherText(FOLDERS[name], changed)
        )
        after = both()
    finally:
        monkeypatch.undo()
        code_sha256.cache_clear()
    assert [a != b for a, b in zip(before, after, strict=True)] == [stale, stale]


FINGERPRINTS = (find_fingerprint, pipeline_fingerprint)
FOLDERS = {name: resources.files(name) for name in ("deid_ops", "jobs", "configs")}
