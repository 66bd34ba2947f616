"""All that one run appends, in order: batch by batch under rising sequence numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.lake.commits import Lease, append, append_all
from jobs.lake.tables import Lake
from schemas.tables import TABLE_BY_NAME


class RunWriter:
    """Appends the records of a run that holds the lease.

    Args:
        lake: the tables.
        lease: of the run; a later one fences this writer.
    """

    def __init__(self, lake: Lake, lease: Lease) -> None:
        self._lake, self._lease, self._seq = lake, lease, 0

    def append(self, table: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Append to one table; without records nothing happens."""
        if records:
            self._seq += 1
            rows = TABLE_BY_NAME[table].table(records)
            append(self._lake, self._lease, table, rows, self._seq)

    def append_all(self, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Append to several tables, `segments` after what describes it."""
        self._seq += 1
        batch = {name: TABLE_BY_NAME[name].table(rows) for name, rows in records.items()}
        append_all(self._lake, self._lease, batch, self._seq)
