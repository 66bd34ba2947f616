"""Publishing a staged clip under a content-derived key, once.

The key is `clips/{dataset}/{unit_id[:2]}/{unit_id}-{fingerprint12}{ext}`; the two characters
spread the keys over the partitions of an object store. A clip is visible only through its
lineage row, so an object without a row is garbage, never a result.

A crash between publishing and committing leaves such an object. The unit is then done again, and
because the noise is fresh, the new clip has other bytes. The audit's figures belong to the new
clip, so the old one is not adopted: the new one is stored beside it as
`{unit_id}-{fingerprint12}-{sha12}{ext}`. Only equal bytes are adopted.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from deid_ops.errors import InvariantError
from jobs.storage import PutResult, Storage

CLIPS = "clips"
QUARANTINED = "quarantine"


@dataclass(frozen=True, slots=True)
class Published:
    """A clip that lies in storage and was read back; `adopted` if equal bytes lay there before."""

    uri: str
    path: str
    sha256: str
    n_bytes: int
    adopted: bool


def clip_path(dataset: str, unit_id: str, pipeline_fingerprint: str, extension: str) -> str:
    """Return the key of a clip under the output root.

    Example:
        >>> clip_path("fleet-a", "ab12", "0123456789abcdef", ".mp4")
        'clips/fleet-a/ab/ab12-0123456789ab.mp4'
    """
    name = f"{unit_id}-{pipeline_fingerprint[:12]}{extension}"
    return posixpath.join(CLIPS, dataset, unit_id[:2], name)


def publish_clip(
    storage: Storage,
    staged: Path,
    *,
    dataset: str,
    unit_id: str,
    pipeline_fingerprint: str,
    sha256: str,
) -> Published:
    """Store a staged clip that passed its audit, and read it back.

    Args:
        storage: rooted at the output.
        staged: local file; its extension is kept.
        dataset: first folder under `clips/`.
        unit_id: the segment.
        pipeline_fingerprint: of the run.
        sha256: of the bytes that the audit has judged.

    Raises:
        InputError: `checksum_mismatch` (the staged file changed after its audit) or
            `truncated_transfer`.
        InvariantError: the key is taken by other bytes even with the checksum in it.
        RetryableError: the store failed.
    """
    path = clip_path(dataset, unit_id, pipeline_fingerprint, staged.suffix)
    result = storage.put_if_absent(path, staged, sha256)
    if result.sha256 != sha256:
        stem, extension = posixpath.splitext(path)
        path = f"{stem}-{sha256[:12]}{extension}"
        result = storage.put_if_absent(path, staged, sha256)
    if result.sha256 != sha256:
        raise InvariantError(
            f"{result.uri}: holds sha256 {result.sha256}, expected {sha256}; the store was changed "
            "by someone else"
        )
    return _published(path, result)


def keep_refused(storage: Storage, staged: Path, *, unit_id: str, run_id: str) -> Published:
    """Store a clip that failed its audit where nobody takes it for a result.

    It may show a face. The prefix must not be readable by those who read `clips/`.
    """
    path = posixpath.join(QUARANTINED, run_id, f"{unit_id}{staged.suffix}")
    return _published(path, storage.put_if_absent(path, staged))


def _published(path: str, result: PutResult) -> Published:
    return Published(result.uri, path, result.sha256, result.n_bytes, not result.created)
