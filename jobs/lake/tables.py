"""The Delta tables under one root: created from the declarations, opened, read.

Every table is at protocol reader 1 / writer 2 (no deletion vectors, no column mapping), with
comments, units and constraints in its schema, so that delta-rs, Spark, DuckDB and DataFusion
read the same. Only delta-rs writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from deid_ops.errors import RetryableError, SetupError
from jobs.s3_env import delta_storage_options, normalize_uri
from schemas.columns import Table
from schemas.ddl import delta_schema_json
from schemas.tables import TABLE_BY_NAME, TABLES

PROPERTIES = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 90 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
    # No setTransactionRetentionDuration: an expired transaction would let a replay through.
}


class Lake:
    """All tables under one root.

    Args:
        root: local path or `s3://bucket/prefix`; each table is a folder in it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = normalize_uri(str(root))
        self.storage_options = delta_storage_options(self.root)

    def __repr__(self) -> str:
        return f"Lake({self.root!r})"

    def table_uri(self, name: str) -> str:
        """Return where a table lies.

        Raises:
            SetupError: there is no table of that name.
        """
        if name not in TABLE_BY_NAME:
            raise SetupError(f"no table {name!r}; there are {', '.join(sorted(TABLE_BY_NAME))}")
        return f"{self.root}/{name}"

    def ensure(self) -> None:
        """Create the tables that are missing and compare the others with their declaration.

        Raises:
            SetupError: a stored table lacks a column or has one of another type.
        """
        for table in TABLES:
            self._create(table)
            self._compare(table)

    def exists(self, name: str) -> bool:
        """Tell whether a table has been created."""
        return bool(DeltaTable.is_deltatable(self.table_uri(name), self.storage_options))

    def open(self, name: str) -> DeltaTable:
        """Return a fresh handle on the latest version.

        Raises:
            SetupError: the table has not been created.
            RetryableError: the store failed.
        """
        try:
            return DeltaTable(self.table_uri(name), storage_options=self.storage_options)
        except TableNotFoundError as error:
            raise SetupError(
                f"no table at {self.table_uri(name)}; run the job first or correct the lake's root"
            ) from error
        except (DeltaError, OSError) as error:
            raise RetryableError(f"{self.table_uri(name)}: {error}") from error

    def dataset(self, name: str) -> Any:
        """Return the latest version as a `pyarrow.dataset.Dataset`."""
        return self.open(name).to_pyarrow_dataset()

    def read(
        self,
        name: str,
        columns: Iterable[str] | None = None,
        where: pads.Expression | None = None,
    ) -> pa.Table:
        """Return rows of the latest version; with all columns, in the declared schema."""
        chosen = None if columns is None else list(columns)
        rows = self.dataset(name).to_table(columns=chosen, filter=where)
        return TABLE_BY_NAME[name].validate(rows) if chosen is None else rows

    def _create(self, table: Table) -> None:
        if self.exists(table.name):
            return
        if "://" not in self.root:
            Path(self.table_uri(table.name)).mkdir(parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                self.table_uri(table.name),
                Schema.from_json(delta_schema_json(table)),
                mode="ignore",
                partition_by=list(table.partition_by),
                name=table.name,
                description=table.doc,
                configuration=PROPERTIES,
                storage_options=self.storage_options,
            )
        except DeltaError as error:
            # Two drivers may start at once; the second finds the first one's table.
            if not self.exists(table.name):
                raise SetupError(f"{self.table_uri(table.name)}: {error}") from error

    def _compare(self, table: Table) -> None:
        stored = json.loads(self.open(table.name).schema().to_json())["fields"]
        declared = json.loads(delta_schema_json(table))["fields"]
        found = {f["name"]: (f["type"], f["nullable"]) for f in stored}
        wrong = [
            f"{f['name']} ({f['type']}, found {found.get(f['name'], 'nothing')})"
            for f in declared
            if found.get(f["name"]) != (f["type"], f["nullable"])
        ]
        if wrong or len(stored) != len(declared):
            raise SetupError(
                f"{self.table_uri(table.name)} was made by another version: "
                f"{'; '.join(wrong) or 'it has further columns'}. Write to a new lake root, or "
                "migrate the table"
            )
