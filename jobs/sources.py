"""Recordings on this machine's disk: local files as they are, objects through a bounded cache.

Every stage decodes again, so a node keeps what it downloaded until the space is needed. Several
actors of one node share the folder; a file appears in it only when it is complete.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from deid_ops.errors import InputError
from jobs.storage import split_uri

DEFAULT_MAX_BYTES = 50 * 2**30
_REMEDY_COPY = "copy the file again or correct the manifest"


class SourceCache:
    """Gives local paths for addresses.

    Args:
        folder: where downloads go; created on first use.
        max_bytes: the least recently used downloads are removed above this size.
    """

    def __init__(self, folder: str | Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._verified: set[tuple[str, str]] = set()

    def version(self, uri: str, sha256: str | None = None) -> str:
        """Return what changes when the content does: the checksum, ETag, or size and time.

        Raises:
            InputError: `source_missing` or `source_denied`.
        """
        storage, name = split_uri(uri)
        info = storage.info(name)
        if info is None:
            raise InputError("source_missing", uri, "no object lies there", "check the manifest")
        return sha256 or info.sha256 or info.version

    def local(self, uri: str, sha256: str | None = None) -> Path:
        """Return a local file with the content of `uri`, checked against `sha256` once.

        Raises:
            InputError: `source_missing`, `source_denied`, `truncated_transfer`,
                `checksum_mismatch`.
        """
        storage, name = split_uri(uri)
        path = storage.local_path(name)
        if path is not None:
            if not path.is_file():
                raise InputError("source_missing", uri, "no file lies there", "check the manifest")
            self._verify(path, sha256)
            return path
        version = self.version(uri, sha256)
        digest = hashlib.sha256(f"{uri}\0{version}".encode()).hexdigest()[:24]
        path = self._folder / f"{digest}{Path(name).suffix}"
        if not path.exists():
            self._make_room()
            storage.download(name, path, sha256)
        os.utime(path)
        return path

    def _verify(self, path: Path, sha256: str | None) -> None:
        if sha256 is None or (str(path), sha256) in self._verified:
            return
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256:
            detail = f"the manifest says sha256 {sha256}, the file has {found}"
            raise InputError("checksum_mismatch", str(path), detail, _REMEDY_COPY)
        self._verified.add((str(path), sha256))

    def _make_room(self) -> None:
        files = [(p.stat(), p) for p in self._folder.glob("*") if not p.name.startswith(".")]
        total = sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda pair: pair[0].st_mtime):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size
