"""Delta and Spark types derived from the declared columns, without importing either library.

Constraints are written as column invariants (`delta.invariants`), which Delta writer version 2
enforces; CHECK constraints would raise the table to writer version 3.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from schemas.columns import Column, SchemaError, Table

_PRIMITIVES: dict[pa.DataType, tuple[str, str]] = {
    # arrow: (Delta JSON, Spark SQL)
    pa.string(): ("string", "STRING"),
    pa.bool_(): ("boolean", "BOOLEAN"),
    pa.int32(): ("integer", "INT"),
    pa.int64(): ("long", "BIGINT"),
    pa.float32(): ("float", "FLOAT"),
    pa.float64(): ("double", "DOUBLE"),
    pa.date32(): ("date", "DATE"),
    pa.timestamp("us", tz="UTC"): ("timestamp", "TIMESTAMP"),
}


def delta_type(kind: pa.DataType) -> Any:
    """Return the type as the JSON value of Delta's schema serialization.

    Raises:
        SchemaError: Delta protocol reader 1 has no such type.

    Example:
        >>> delta_type(pa.list_(pa.int32()))
        {'type': 'array', 'elementType': 'integer', 'containsNull': True}
    """
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": delta_type(kind.value_type), "containsNull": True}
    if pa.types.is_map(kind):
        key, value = delta_type(kind.key_type), delta_type(kind.item_type)
        return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
    if kind not in _PRIMITIVES:
        raise SchemaError(f"{kind} has no counterpart in Delta")
    return _PRIMITIVES[kind][0]


def spark_type(kind: pa.DataType) -> str:
    """Return the type in Spark SQL.

    Example:
        >>> spark_type(pa.map_(pa.string(), pa.float64()))
        'MAP<STRING, DOUBLE>'
    """
    if pa.types.is_list(kind):
        return f"ARRAY<{spark_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"MAP<{spark_type(kind.key_type)}, {spark_type(kind.item_type)}>"
    if kind not in _PRIMITIVES:
        raise SchemaError(f"{kind} has no counterpart in Spark")
    return _PRIMITIVES[kind][1]


def delta_schema_json(table: Table) -> str:
    """Return the Delta schema of a table: types, nullability, comments, units, invariants.

    A constraint over several columns is attached to the first column of the table.
    """
    shared = [f"({expression})" for _, expression in table.constraints]
    fields = []
    for position, column in enumerate(table.columns):
        parts = [check_expression(column)] if column.check is not None else []
        parts += shared if position == 0 else []
        fields.append(_delta_field(column, " AND ".join(parts)))
    return json.dumps({"type": "struct", "fields": fields})


def check_expression(column: Column) -> str:
    """Return the check of one column as it is enforced: a missing value passes if allowed."""
    return f"({column.name} IS NULL OR {column.check})" if column.nullable else f"({column.check})"


def _delta_field(column: Column, invariant: str) -> dict[str, Any]:
    metadata = {"comment": column.doc}
    if column.unit:
        metadata["unit"] = column.unit
    if invariant:
        metadata["delta.invariants"] = json.dumps({"expression": {"expression": invariant}})
    return {
        "name": column.name,
        "type": delta_type(column.type),
        "nullable": column.nullable,
        "metadata": metadata,
    }


def spark_ddl(table: Table, location: str) -> str:
    """Return the statement that registers a table of the lake in a Spark catalog.

    Types, comments and constraints live in the Delta log already, so Spark is told only where it
    lies; the column list is given as a comment for the reader.

    Example:
        >>> print(spark_ddl(Table("t", "Doc.", (Column("n", pa.int32(), "N."),)), "/lake/t"))
        -- n INT NOT NULL
        CREATE TABLE IF NOT EXISTS t USING DELTA LOCATION '/lake/t'
    """
    lines = [
        f"-- {c.name} {spark_type(c.type)}{'' if c.nullable else ' NOT NULL'}"
        for c in table.columns
    ]
    quoted = location.replace("'", "''")
    return "\n".join(
        [*lines, f"CREATE TABLE IF NOT EXISTS {table.name} USING DELTA LOCATION '{quoted}'"]
    )
