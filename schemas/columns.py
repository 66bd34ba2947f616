"""The vocabulary in which every table and every Ray edge is declared, each column once.

A `Column` carries type, nullability, unit, documentation, key role and an SQL check. From it
follow the Arrow schema (here), the Delta table with comments and constraints and the Spark types
(`schemas.ddl`), and the tables of the README (`schemas.docs`).

A `Table` is written to the lake and may hold nothing biometric: no crop, no embedding. An `Edge`
is what passes between two stages of one run; it is never written to disk by this project, and the
columns that do hold biometric data there say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

STRING = pa.string()
BOOL = pa.bool_()
INT32 = pa.int32()
INT64 = pa.int64()
FLOAT32 = pa.float32()
FLOAT64 = pa.float64()
DATE = pa.date32()
TIMESTAMP = pa.timestamp("us", tz="UTC")
SECONDS_BY_NAME = pa.map_(pa.string(), pa.float64())


def list_of(item: pa.DataType) -> pa.DataType:
    """Return the list type with the item name that Delta readers give back.

    Example:
        >>> list_of(INT32)
        ListType(list<element: int32>)
    """
    return pa.list_(pa.field("element", item, nullable=True))


class SchemaError(Exception):
    """A declaration or a batch of rows breaks the contract of a table or an edge."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column, declared once.

    Args:
        name: snake_case, with the unit or frame where there is one (`boxes_xyxy_px`).
        type: Arrow type. A table takes only what Delta protocol reader 1 stores unchanged.
        doc: one sentence; becomes the Delta comment.
        unit: `px`, `s`, `bytes`, ...; empty where there is none.
        nullable: whether a value may be missing.
        key: whether the column is part of what identifies a row (documentation and joins; Delta
            has no primary keys).
        check: SQL expression that must hold for every row, over any columns of the table.
        biometric: whether values could identify a person (embeddings, crops). Edges only.
    """

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    nullable: bool = False
    key: bool = False
    check: str | None = None
    biometric: bool = False

    def field(self) -> pa.Field:
        """Return the Arrow field; its metadata carries `doc` and `unit`."""
        metadata = {"doc": self.doc, "unit": self.unit} if self.unit else {"doc": self.doc}
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=metadata)


@dataclass(frozen=True)
class Relation:
    """A named list of columns: what `Table` and `Edge` share.

    Raises:
        SchemaError: at birth, when two columns have one name or a column has no documentation.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Refuse duplicate and undocumented columns."""
        names = [c.name for c in self.columns]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise SchemaError(f"{self.name}: declared more than once: {', '.join(repeated)}")
        bare = [c.name for c in self.columns if not c.doc.strip()]
        if bare or not self.doc.strip():
            raise SchemaError(f"{self.name}: no documentation: {', '.join(bare) or 'itself'}")

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in declared order."""
        return tuple(c.name for c in self.columns)

    def column(self, name: str) -> Column:
        """Return one column by name.

        Raises:
            SchemaError: there is no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(f"{self.name}: no column {name!r}; it has {', '.join(self.names)}")

    def arrow_schema(self) -> pa.Schema:
        """Return the Arrow schema, with `doc` and `unit` in each field's metadata."""
        return pa.schema([c.field() for c in self.columns], metadata={"relation": self.name})

    def empty(self) -> pa.Table:
        """Return no rows with the declared schema."""
        return self.arrow_schema().empty_table()

    def table(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Build a table from Python rows; a key that is not declared is an error.

        Nullable columns may be left out of a row.

        Raises:
            SchemaError: a row has an unknown key, lacks a value, or a value has the wrong type.
        """
        rows = list(rows)
        known = set(self.names)
        for index, row in enumerate(rows):
            unknown = sorted(set(row) - known)
            if unknown:
                raise SchemaError(f"{self.name}: row {index}: unknown {', '.join(unknown)}")
        arrays = []
        for column in self.columns:
            values = [row.get(column.name) for row in rows]
            try:
                arrays.append(pa.array(values, type=column.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise SchemaError(
                    f"{self.name}.{column.name}: expected {column.type}: {error}"
                ) from error
        return self.validate(pa.Table.from_arrays(arrays, names=list(self.names)))

    def validate(self, table: pa.Table) -> pa.Table:
        """Return `table` with exactly the declared schema, columns in declared order.

        Only differences that lose nothing are taken over: column order, the name of list items,
        metadata, and `large_` variants of strings and lists.

        Raises:
            SchemaError: a column is missing, unknown, of another type, or holds nulls it must
                not; the message names the column, what was expected and what was found.
        """
        found = table.schema.names
        missing = [n for n in self.names if n not in found]
        unknown = [n for n in found if n not in self.names]
        if missing or unknown or len(found) != len(set(found)):
            raise SchemaError(
                f"{self.name}: missing columns {missing}, unknown columns {unknown}, found {found}"
            )
        arrays = [self._conform(c, table.column(c.name)) for c in self.columns]
        return pa.Table.from_arrays(arrays, schema=self.arrow_schema())

    def _conform(self, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
        if not _same_type(values.type, column.type):
            raise SchemaError(
                f"{self.name}.{column.name}: expected {column.type}, found {values.type}"
            )
        if not column.nullable and values.null_count:
            first = pc.index(pc.is_null(values), True).as_py()
            raise SchemaError(
                f"{self.name}.{column.name}: must not be null, found {values.null_count} "
                f"of {len(values)}, first in row {first}"
            )
        return values if values.type == column.type else values.cast(column.type)


@dataclass(frozen=True)
class Edge(Relation):
    """What passes between two stages; checked before and while a run is going on."""

    @property
    def biometric_columns(self) -> tuple[str, ...]:
        """Names of the columns that could identify a person."""
        return tuple(c.name for c in self.columns if c.biometric)


@dataclass(frozen=True)
class Table(Relation):
    """A Delta table (or a Parquet file that users hand in), free of biometric data.

    `constraints` maps a name to an SQL expression over several columns; the checks of single
    columns are added under the name `{column}_check`.

    Raises:
        SchemaError: at birth, when a column is biometric or a type could hold a crop or is not
            stored unchanged by Delta's reader 1 / writer 2 protocol.
    """

    partition_by: tuple[str, ...] = ()
    constraints: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what must never be at rest."""
        super().__post_init__()
        for c in self.columns:
            if c.biometric:
                raise SchemaError(f"{self.name}.{c.name}: biometric data is never stored")
            if not _storable(c.type):
                raise SchemaError(f"{self.name}.{c.name}: {c.type} may not be stored in a table")
        for name in self.partition_by:
            self.column(name)

    def checks(self) -> dict[str, str]:
        """Return every constraint by name, those of columns first."""
        named = {f"{c.name}_check": c.check for c in self.columns if c.check is not None}
        return named | dict(self.constraints)


def _storable(kind: pa.DataType) -> bool:
    """Tell whether Delta reader 1 / writer 2 stores a type and it cannot hold raw bytes."""
    if pa.types.is_list(kind):
        return _storable(kind.value_type) and not pa.types.is_nested(kind.value_type)
    if pa.types.is_map(kind):
        return bool(pa.types.is_string(kind.key_type)) and _storable(kind.item_type)
    return kind in {STRING, BOOL, INT32, INT64, FLOAT32, FLOAT64, DATE, TIMESTAMP}


def _same_type(found: pa.DataType, declared: pa.DataType) -> bool:
    """Tell whether two types differ in nothing that matters (item names, `large_` variants)."""
    if found == declared:
        return True
    if _is_list(found) and _is_list(declared):
        return _same_type(found.value_type, declared.value_type)
    if pa.types.is_map(found) and pa.types.is_map(declared):
        return _same_type(found.key_type, declared.key_type) and _same_type(
            found.item_type, declared.item_type
        )
    if pa.types.is_struct(found) and pa.types.is_struct(declared):
        return found.num_fields == declared.num_fields and all(
            a.name == b.name and _same_type(a.type, b.type)
            for a, b in zip(found, declared, strict=True)
        )
    return bool(pa.types.is_large_string(found) and pa.types.is_string(declared)) or bool(
        pa.types.is_large_binary(found) and pa.types.is_binary(declared)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
