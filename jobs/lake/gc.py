"""Removing what no lineage row refers to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from jobs.lake.tables import Lake
from jobs.publish import CLIPS
from jobs.storage import ObjectInfo, Storage

DISPOSABLE = ("staging", "attempts")


def unreferenced(lake: Lake, output: Storage, older_than: timedelta) -> Iterator[ObjectInfo]:
    """Yield objects that may be removed: clips without a row, staging files, attempt notes.

    Args:
        lake: the tables whose `segments.clip_uri` keep a clip alive.
        output: where clips, staging and attempts lie.
        older_than: younger objects are left alone, because a running job publishes before it
            commits. It must exceed the longest time between the two, that of a wave.
    """
    deadline = datetime.now(UTC) - older_than
    candidates = [o for o in output.walk(CLIPS) if o.modified_at < deadline]
    # Listed first, read afterwards: a clip committed in between is in the table by now.
    rows = lake.read("segments", ["clip_uri"])
    alive = set(rows["clip_uri"].drop_null().to_pylist())
    yield from (o for o in candidates if o.uri not in alive)
    for prefix in DISPOSABLE:
        yield from (o for o in output.walk(prefix) if o.modified_at < deadline)


def collect_garbage(
    lake: Lake, output: Storage, older_than: timedelta, *, dry_run: bool
) -> list[ObjectInfo]:
    """Remove what `unreferenced` names and return it; `dry_run` only returns it."""
    found = list(unreferenced(lake, output, older_than))
    if not dry_run:
        for item in found:
            output.delete(item.path)
    return found
