"""SQL over the lake: named views, checks and questions, on one of three engines.

The files in `schemas/{views,checks,questions}/*.sql` are written in what DuckDB, DataFusion and
Spark have in common; the same file runs on each and gives the same rows. A view may use the
tables and other views, a check returns the rows that offend, a question is what a privacy officer
asks. The comment at the head of a file is its documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import Literal, Protocol

import pyarrow as pa

from deid_ops.errors import SetupError
from jobs.lake.tables import Lake
from schemas.tables import TABLES

EngineName = Literal["duckdb", "datafusion", "spark"]
ENGINES: tuple[EngineName, ...] = ("duckdb", "datafusion", "spark")


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL file: its name, the comment at its head, and the query."""

    name: str
    doc: str
    sql: str


class Engine(Protocol):
    """What runs SQL over the tables and views of one lake."""

    def run(self, sql: str) -> pa.Table:
        """Return the rows of one query, in the engine's own types.

        Raises:
            SetupError: the engine refuses the query; the message is the engine's.
        """


@cache
def views() -> Mapping[str, Statement]:
    """Return the views by name, each after those it uses."""
    found = _statements("views")
    uses = {n: {m for m in found if m != n and _mentions(s.sql, m)} for n, s in found.items()}
    return {name: found[name] for name in TopologicalSorter(uses).static_order()}


@cache
def checks() -> Mapping[str, Statement]:
    """Return the checks by name; each returns the offending rows, none when all is well."""
    return _statements("checks")


@cache
def questions() -> Mapping[str, Statement]:
    """Return the example questions by name."""
    return _statements("questions")


def named(statement: str) -> str:
    """Return the SQL for the name of a table, view, check or question, or the SQL given.

    Raises:
        SetupError: a single word that is none of these.

    Example:
        >>> named("exposure")
        'SELECT * FROM exposure'
    """
    text = statement.strip().rstrip(";")
    if re.fullmatch(r"\w+", text) is None:
        return text
    if text in views() or text in {t.name for t in TABLES}:
        return f"SELECT * FROM {text}"  # noqa: S608  one of our own names
    known = {**checks(), **questions()}
    if text not in known:
        raise SetupError(
            f"{text!r} is no table, view, check or question; `deid sql` without a statement lists "
            "them"
        )
    return known[text].sql


def query(lake_root: str, statement: str, engine: EngineName = "duckdb") -> pa.Table:
    """Run one query over a lake.

    Args:
        lake_root: where the tables lie, a path or `s3://`.
        statement: SQL, or the name of a table, view, check or question.
        engine: which engine runs it.

    Returns:
        Rows in plain types: timestamps in UTC microseconds, strings, 64-bit integers.

    Raises:
        SetupError: there is no lake, no such name, the engine is not installed or refuses.
    """
    sql = named(statement)
    with open_engine(lake_root, engine) as opened:
        return plain_types(opened.run(sql))


def offenders(lake_root: str, engine: EngineName = "duckdb") -> dict[str, pa.Table]:
    """Run every check and return the rows of those that have any."""
    with open_engine(lake_root, engine) as opened:
        found = {name: plain_types(opened.run(s.sql)) for name, s in checks().items()}
    return {name: rows for name, rows in found.items() if rows.num_rows}


def open_engine(lake_root: str, engine: EngineName) -> AbstractContextManager[Engine]:
    """Return an engine with the tables and views of a lake, as a context manager.

    Raises:
        SetupError: the engine is unknown or not installed, or there is no lake.
    """
    lake = Lake(lake_root)
    for table in TABLES:
        if not lake.exists(table.name):
            raise SetupError(
                f"no table {table.name} at {lake.table_uri(table.name)}; run the job first or "
                "correct the lake's root"
            )
    if engine == "spark":
        from jobs.sql_spark import spark_engine

        return spark_engine(lake, views())
    from jobs.sql_engines import datafusion_engine, duckdb_engine

    if engine == "duckdb":
        return duckdb_engine(lake, views())
    if engine == "datafusion":
        return datafusion_engine(lake, views())
    raise SetupError(f"engine {engine!r} is none of {', '.join(ENGINES)}")


def plain_types(table: pa.Table) -> pa.Table:
    """Return the rows with each engine's own types replaced by plain ones.

    String views become strings, time zones `UTC`, decimals without a fraction and every integer
    64-bit integers.
    """
    columns = [column.cast(_plain(column.type)) for column in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _plain(kind: pa.DataType) -> pa.DataType:
    plain = kind
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        plain = pa.string()
    elif pa.types.is_timestamp(kind):
        plain = pa.timestamp("us", tz="UTC")
    elif pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        plain = pa.int64()
    elif pa.types.is_decimal(kind):
        plain = pa.float64()
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        plain = pa.list_(_plain(kind.value_type))
    elif pa.types.is_map(kind):
        plain = pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    return plain


def _statements(folder: str) -> dict[str, Statement]:
    found = {}
    for file in sorted(files("schemas").joinpath(folder).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            name = file.name.removesuffix(".sql")
            found[name] = _parse(name, file.read_text(encoding="utf-8"))
    return found


def _parse(name: str, text: str) -> Statement:
    lines = text.strip().splitlines()
    n_comments = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    doc = " ".join(line.removeprefix("--").strip() for line in lines[:n_comments])
    return Statement(name, doc, "\n".join(lines[n_comments:]).strip())


def _mentions(sql: str, name: str) -> bool:
    return re.search(rf"\b(FROM|JOIN)\s+{name}\b", sql) is not None
