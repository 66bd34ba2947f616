"""Hashes that decide what is the same: units, plans, code, configuration, weights.

`find_fingerprint` covers everything that can move a box, `pipeline_fingerprint` everything that
can change a published byte. A unit is done when the lake holds a row with the same unit id and
fingerprint, so a changed threshold, weight or line of code reprocesses and an unchanged one does
nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from importlib.resources.abc import Traversable
from typing import Any

import av
import numpy as np
import onnxruntime

from jobs.config import JobConfig

#: Raised when the meaning of a span changes, so that units get new ids.
PLAN_VERSION = 1

#: Sections that only say where and how fast, not what comes out.
_NOT_IN_PIXELS = ("ray",)
_FIND_SECTIONS = ("detect", "track", "anchors")
_FIND_VIDEO = ("max_segment_s",)
#: Settings of `replace` that the planned treatments in `tracks` do not depend on.
_NOT_IN_PLAN = ("denoiser", "noise_strengths", "judge_far", "attributes")

#: Parts of `deid_ops` that no published byte depends on.
_OFFLINE_PACKAGES = ("train", "attacks", "metrics", "models")

#: Modules of `jobs` beside the stages that a published byte depends on (a test finds new ones).
DECIDING_MODULES = ("anchoring", "linking", "media", "models", "publish", "recurring", "rows")


def digest(*parts: str, length: int = 32) -> str:
    """Return the first hex digits of SHA-256 over the parts, each with its length.

    Example:
        >>> digest("a", "bc") != digest("ab", "c")
        True
    """
    state = hashlib.sha256()
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()[:length]


def unit_id(
    recording_id: str, source_version: str, stream: int, start: int, end: int | None
) -> str:
    """Return the id of one segment of one version of one recording."""
    return digest(
        str(PLAN_VERSION), recording_id, source_version, str(stream), str(start), str(end)
    )


def plan_id(unit_ids: Iterable[str]) -> str:
    """Return the id of a set of units, whatever their order."""
    return digest(*sorted(unit_ids), length=16)


def key_id(secret_key: bytes) -> str:
    """Return a public name of the secret key, from which it cannot be computed."""
    return hmac.new(secret_key, b"deid-lake key id", hashlib.sha256).hexdigest()[:16]


def config_text(config: JobConfig) -> str:
    """Return the resolved configuration as canonical JSON."""
    return json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def find_fingerprint(config: JobConfig, weights: Mapping[str, str], secret_key: bytes) -> str:
    """Return the fingerprint of the find pass: detection, tracking, linking, anchors."""
    tree = config.model_dump(mode="json")
    used: dict[str, Any] = {name: tree[name] for name in _FIND_SECTIONS}
    used["video"] = {name: tree["video"][name] for name in _FIND_VIDEO}
    replace = tree["replace"]
    used["plan"] = {name: value for name, value in replace.items() if name not in _NOT_IN_PLAN}
    names = {config.detect.weights, config.replace.encoder, config.anchors.bank}
    names |= {*config.audit.judges[:1], config.replace.generator}  # the view of anchors' faces
    shas = {name: sha for name, sha in weights.items() if name in names}
    parts = (_canonical(used), _canonical(shas), code_sha256(), _runtime(), key_id(secret_key))
    return digest("find", *parts)


def pipeline_fingerprint(config: JobConfig, weights: Mapping[str, str], secret_key: bytes) -> str:
    """Return the fingerprint of everything that decides what is published."""
    tree = config.model_dump(mode="json")
    used = {name: section for name, section in tree.items() if name not in _NOT_IN_PIXELS}
    return digest(
        "pipeline",
        _canonical(used),
        _canonical(dict(weights)),
        code_sha256(),
        _runtime(),
        key_id(secret_key),
    )


@cache
def code_sha256() -> str:
    """Return the hash of the source text of everything that runs between decode and publish.

    The shipped thresholds count as code: guards and anchors are chosen by them.
    """
    jobs = resources.files("jobs")
    files = [
        *_sources(resources.files("deid_ops"), "deid_ops"),
        *_sources(jobs / "stages", "jobs/stages"),
        *((f"jobs/{name}", (jobs / f"{name}.py").read_bytes()) for name in DECIDING_MODULES),
        ("calibration", (resources.files("configs") / "calibration.yaml").read_bytes()),
    ]
    state = hashlib.sha256()
    for path, text in sorted(files):
        state.update(path.encode() + b"\0" + text + b"\0")
    return state.hexdigest()


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def versions_json() -> str:
    """Return the libraries that decide pixels and their versions as JSON."""
    names = ("av", "deltalake", "numpy", "onnxruntime-gpu", "onnxruntime", "opencv-python", "ray")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return json.dumps(found, sort_keys=True)


def code_version() -> str:
    """Return the installed version of the distribution."""
    try:
        return version("deid-lake")
    except PackageNotFoundError:
        return "0+checkout"


def _sources(folder: Traversable, prefix: str) -> Iterable[tuple[str, bytes]]:
    for entry in folder.iterdir():
        path = f"{prefix}/{entry.name}"
        if entry.is_dir() and entry.name not in _OFFLINE_PACKAGES:
            yield from _sources(entry, path)
        elif entry.name.endswith(".py"):
            yield path, entry.read_bytes()


def _runtime() -> str:
    return f"av {av.__version__} ort {onnxruntime.__version__} numpy {np.__version__}"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
