"""Keeping the tables quick to read: compaction, clustering, checkpoints, removal of old files."""

from __future__ import annotations

from dataclasses import dataclass

from deltalake import DeltaTable

from jobs.lake.tables import Lake
from schemas.tables import TABLES

VACUUM_HOURS = 30 * 24
_CLUSTER = ("fleet", "vehicle_id")


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done to one table."""

    table: str
    version: int
    n_files_removed: int
    n_files_added: int
    n_files_vacuumed: int


def maintain(lake: Lake, *, cluster: bool = False, vacuum: bool = False) -> list[Maintained]:
    """Compact small files, write a checkpoint and, if asked, cluster and vacuum every table.

    Appends may go on meanwhile. Only delta-rs may do this: a second engine writing the same log
    on S3 can overwrite a commit.

    Args:
        lake: the tables.
        cluster: rewrite with a Z-order on fleet and vehicle instead of compacting (weekly).
        vacuum: remove files that no version of the last 30 days refers to.
    """
    return [_maintain(lake.open(t.name), t.name, t.names, cluster, vacuum) for t in TABLES]


def _maintain(
    table: DeltaTable, name: str, columns: tuple[str, ...], cluster: bool, vacuum: bool
) -> Maintained:
    if cluster and set(_CLUSTER) <= set(columns):
        metrics = table.optimize.z_order(list(_CLUSTER))
    else:
        metrics = table.optimize.compact()
    table.create_checkpoint()
    removed = table.vacuum(VACUUM_HOURS, dry_run=False) if vacuum else []
    return Maintained(
        name,
        table.version(),
        int(metrics["numFilesRemoved"]),
        int(metrics["numFilesAdded"]),
        len(removed),
    )
