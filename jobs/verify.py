"""Check a lake against itself: the SQL checks, and every published clip read back."""

from __future__ import annotations

from dataclasses import dataclass

from deid_ops.errors import InputError
from jobs.sql import checks, query
from jobs.storage import split_uri


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold; `check` names the query or `clip_bytes`."""

    check: str
    detail: str


def verify_lake(lake_uri: str, *, read_clips: bool = True) -> tuple[list[Finding], int]:
    """Return what does not hold, and how many clips were read.

    Args:
        lake_uri: root of the lake.
        read_clips: read every published clip and compare its sha256 with its lineage row.
    """
    findings = [
        Finding(name, str(row)) for name in checks() for row in query(lake_uri, name).to_pylist()
    ]
    if not read_clips:
        return findings, 0
    clips = query(
        lake_uri,
        "SELECT clip_uri, clip_sha256, clip_bytes FROM current_segments "
        "WHERE status = 'published' ORDER BY clip_uri",
    ).to_pylist()
    for clip in clips:
        detail = _compare(clip["clip_uri"], clip["clip_sha256"], clip["clip_bytes"])
        if detail:
            findings.append(Finding("clip_bytes", f"{clip['clip_uri']}: {detail}"))
    return findings, len(clips)


def _compare(uri: str, sha256: str, n_bytes: int) -> str:
    storage, name = split_uri(uri)
    try:
        found_sha, found_bytes = storage.digest(name)
    except InputError as error:
        return error.reason
    if (found_sha, found_bytes) == (sha256, n_bytes):
        return ""
    return f"expected {n_bytes} bytes {sha256}, found {found_bytes} bytes {found_sha}"
