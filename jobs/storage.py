"""One rooted view of a local folder or an S3 prefix; the only place that touches object storage.

Endpoint and credentials come from the environment alone (`AWS_ENDPOINT_URL`, `AWS_REGION`,
`AWS_ACCESS_KEY_ID`, ... or whatever else botocore's default chain finds). The same settings are
handed to delta-rs by `jobs.s3_env`.

Failures have names. The object's own fault is an `InputError` (`source_missing`,
`source_denied`, `truncated_transfer`, `checksum_mismatch`), the surroundings' fault is a
`RetryableError`. `SetupError` means that the place itself cannot be used.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from deid_ops.errors import InputError, SetupError
from jobs.s3_env import normalize_uri, s3fs_options
from jobs.storage_errors import check_content, mismatch, missing, named_errors

CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object.

    `version` is the entity tag on S3 and `size-mtime` on disk: it changes when the content does.
    """

    uri: str
    path: str
    n_bytes: int
    version: str
    modified_at: datetime
    sha256: str | None  # as recorded by the writer; None where it was not


@dataclass(frozen=True, slots=True)
class PutResult:
    """What lies under the path now, read back; `created` is false if it lay there before."""

    uri: str
    created: bool
    sha256: str
    n_bytes: int


class Storage:
    """A rooted file system.

    Args:
        root: local path, `file://` or `s3://bucket/prefix`. A local root need not exist yet.

    Raises:
        SetupError: the scheme is not supported.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = normalize_uri(str(root))
        self.is_local = not self.root.startswith("s3://")
        self._fs: Any = (
            fsspec.filesystem("file")
            if self.is_local
            else fsspec.filesystem("s3", use_listings_cache=False, **s3fs_options())
        )

    def __repr__(self) -> str:
        return f"Storage({self.root!r})"

    def uri(self, path: str) -> str:
        """Return the full address of a path under the root.

        Raises:
            SetupError: the path leaves the root.
        """
        clean = posixpath.normpath(path) if path else ""
        if clean.startswith(("..", "/")):
            raise SetupError(f"{path!r} leaves the root {self.root}")
        return posixpath.join(self.root, clean) if clean else self.root

    def local_path(self, path: str) -> Path | None:
        """Return where the object lies on this machine's disk, or None if it does not."""
        return Path(self.uri(path)) if self.is_local else None

    def info(self, path: str) -> ObjectInfo | None:
        """Return facts about one object, or None if there is none."""
        uri = self.uri(path)
        try:
            with named_errors(uri):
                self._fs.invalidate_cache()
                return self._object(uri, self._head(uri))
        except InputError as error:
            if error.reason == "source_missing":
                return None
            raise

    def exists(self, path: str) -> bool:
        """Tell whether an object lies under the path."""
        return self.info(path) is not None

    def read_bytes(self, path: str) -> bytes:
        """Return the whole content of a small object.

        Raises:
            InputError: missing or denied.
            RetryableError: the store failed.
        """
        uri = self.uri(path)
        with named_errors(uri):
            return bytes(self._fs.cat_file(uri))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the content in order, `CHUNK_BYTES` at a time; errors as in `read_bytes`."""
        uri = self.uri(path)
        with named_errors(uri), self._fs.open(uri, "rb", block_size=CHUNK_BYTES) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def digest(self, path: str) -> tuple[str, int]:
        """Return sha256 and size of the content, read in full."""
        digest, n_bytes = hashlib.sha256(), 0
        for chunk in self.chunks(path):
            digest.update(chunk)
            n_bytes += len(chunk)
        return digest.hexdigest(), n_bytes

    def download(self, path: str, target: Path, expect_sha256: str | None = None) -> ObjectInfo:
        """Copy an object to a local file, which appears only when it is complete and right.

        Raises:
            InputError: `source_missing`, `source_denied`, `truncated_transfer` (fewer bytes than
                the store promises), `checksum_mismatch`.
            RetryableError: the store failed.
        """
        info = self.info(path)
        if info is None:
            missing(self.uri(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            digest, n_bytes = hashlib.sha256(), 0
            with partial.open("wb") as out:
                for chunk in self.chunks(path):
                    out.write(chunk)
                    digest.update(chunk)
                    n_bytes += len(chunk)
            check_content(info.uri, n_bytes, info.n_bytes, digest.hexdigest(), expect_sha256)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return info

    def put_if_absent(
        self, path: str, content: Path | bytes, sha256: str | None = None
    ) -> PutResult:
        """Store content unless the path is taken, then read back what lies there.

        Exactly one of several concurrent writers creates the object; the others get its sha256
        with `created` false. On S3 this is `If-None-Match: *`, on disk a hard link.

        Args:
            path: under the root.
            content: bytes, or a local file.
            sha256: what the content should be; computed where it is not given.

        Raises:
            InputError: `truncated_transfer` or `checksum_mismatch` when what was read back from a
                newly created object is not what was sent (the object is removed again).
            RetryableError: the store failed.
            SetupError: the store cannot create exclusively.
        """
        uri, (own_sha, own_bytes) = self.uri(path), _digest_local(content)
        if sha256 is not None and sha256 != own_sha:
            mismatch(str(content) if isinstance(content, Path) else uri, sha256, own_sha)
        with named_errors(uri, writing=True):
            create = self._create_local if self.is_local else self._create_s3
            created = create(uri, content, own_sha)
        found_sha, found_bytes = self.digest(path)
        if created:
            try:
                check_content(uri, found_bytes, own_bytes, found_sha, own_sha)
            except InputError:
                self.delete(path)
                raise
        return PutResult(uri, created, found_sha, found_bytes)

    def write(self, path: str, content: bytes) -> None:
        """Store a small object, replacing what was there in one step."""
        uri = self.uri(path)
        with named_errors(uri, writing=True):
            if not self.is_local:
                self._fs.pipe_file(uri, content)
                return
            partial = _staged_copy(Path(uri), content)
            partial.replace(uri)

    def delete(self, path: str) -> None:
        """Remove an object; removing what is not there is no error."""
        uri = self.uri(path)
        with named_errors(uri, writing=True):
            try:
                self._fs.rm_file(uri)
            except FileNotFoundError:
                return

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object under a prefix (a folder), in order of its path.

        Symbolic links to files count as files; links that lead nowhere are left out.
        """
        uri = self.uri(prefix)
        with named_errors(uri):
            self._fs.invalidate_cache()
            found = self._fs.find(uri, detail=True)
        for name, facts in sorted(found.items()):
            linked = facts.get("islink") and self._fs.isfile(name)
            if linked or facts["type"] == "file":  # `find` describes the link, `info` its file
                target = self._fs.info(name) if linked else facts
                yield self._object(self._with_scheme(name), target)

    def _with_scheme(self, name: str) -> str:
        return name if self.is_local else f"s3://{name}"

    def _head(self, uri: str) -> dict[str, Any]:
        if self.is_local:
            facts: dict[str, Any] = self._fs.info(uri)
            if facts["type"] != "file":
                raise FileNotFoundError(uri)
            return facts
        bucket, key, _ = self._fs.split_path(uri)
        head: dict[str, Any] = self._fs.call_s3("head_object", Bucket=bucket, Key=key)
        return head

    def _object(self, uri: str, facts: dict[str, Any]) -> ObjectInfo:
        path = uri[len(self.root) :].lstrip("/")
        if self.is_local:
            n_bytes, mtime = int(facts["size"]), float(facts["mtime"])
            when = datetime.fromtimestamp(mtime, UTC)
            return ObjectInfo(uri, path, n_bytes, f"{n_bytes}-{mtime:.6f}", when, None)
        n_bytes = int(facts.get("ContentLength", facts.get("size", facts.get("Size", 0))))
        sha = facts.get("Metadata", {}).get("sha256")
        version = str(facts.get("ETag", "")).strip('"')
        return ObjectInfo(uri, path, n_bytes, version, facts["LastModified"], sha)

    def _create_local(self, uri: str, content: Path | bytes, sha256: str) -> bool:
        del sha256  # a file system keeps no record of it
        partial = _staged_copy(Path(uri), content)
        try:
            os.link(partial, uri)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
                raise SetupError(
                    f"{uri}: this file system has no hard links, so publishing once cannot be "
                    "promised; choose another folder"
                ) from error
            raise
        finally:
            partial.unlink(missing_ok=True)
        return True

    def _create_s3(self, uri: str, content: Path | bytes, sha256: str) -> bool:
        metadata = {"sha256": sha256}
        try:
            if isinstance(content, bytes):
                self._fs.pipe_file(uri, content, mode="create", Metadata=metadata)
            else:
                self._fs.put_file(str(content), uri, mode="create", Metadata=metadata)
        except FileExistsError:
            return False
        return True


def split_uri(uri: str) -> tuple[Storage, str]:
    """Return the storage that holds an address, and the path in it.

    Example:
        >>> split_uri("/data/drive/a.mp4")
        (Storage('/data/drive'), 'a.mp4')
    """
    parent, name = posixpath.split(normalize_uri(uri))
    return Storage(parent), name


def _digest_local(content: Path | bytes) -> tuple[str, int]:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), content.stat().st_size


def _staged_copy(target: Path, content: Path | bytes) -> Path:
    """Write content beside its target, flushed to the disk, and return that file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    with partial.open("wb") as out:
        if isinstance(content, bytes):
            out.write(content)
        else:
            with content.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return partial
