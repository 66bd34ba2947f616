"""`deid sql`: questions to the lake from the command line."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.csv as pacsv
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.sql import Statement, checks, query, questions, views
from schemas.tables import TABLES

_SHOWN_ROWS = 200
_SHOWN_CHARACTERS = 60


class SqlEngine(StrEnum):
    """Who runs the query."""

    DUCKDB = "duckdb"
    DATAFUSION = "datafusion"
    SPARK = "spark"


class OutputFormat(StrEnum):
    """How the rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            help="SQL, a file with SQL, or the name of a table, view, check or question. Without "
            "it, the names are listed.",
        ),
    ] = None,
    lake: Annotated[
        str, typer.Option("--lake", help="Root of the tables: a path or s3://.", envvar="DEID_LAKE")
    ] = "lake",
    engine: Annotated[SqlEngine, typer.Option(help="Who runs the query.")] = SqlEngine.DUCKDB,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="How the rows are written.")
    ] = OutputFormat.TABLE,
) -> None:
    """Ask the lake in SQL. Reads the tables, writes rows to standard output, changes nothing.

    Exits 0, or 1 when the lake, the engine or the statement is refused.
    """
    if statement is None:
        _list_names()
        return
    text = Path(statement).read_text(encoding="utf-8") if _is_sql_file(statement) else statement
    write_rows(query(lake, text, engine.value), output)


def write_rows(rows: pa.Table, output: OutputFormat) -> None:
    """Write rows to standard output as a table for people, CSV or JSON lines."""
    if output is OutputFormat.JSON:
        for row in rows.to_pylist():
            typer.echo(json.dumps(row, default=_json_value))
        return
    if output is OutputFormat.CSV:
        pacsv.write_csv(_flat(rows), sys.stdout.buffer)
        return
    shown = Table(*[escape(name) for name in rows.column_names], show_lines=False)
    for row in rows.slice(0, _SHOWN_ROWS).to_pylist():
        shown.add_row(*[escape(_cell(value)) for value in row.values()])
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(shown)
    more = f", the first {_SHOWN_ROWS} shown" if rows.num_rows > _SHOWN_ROWS else ""
    console.print(f"{rows.num_rows} rows{more}", style="dim")


def _list_names() -> None:
    console = Console()
    console.print("[bold]Tables[/bold]")
    for table in TABLES:
        console.print(f"  [cyan]{table.name}[/cyan]  {escape(table.doc)}")
    sections: tuple[tuple[str, Mapping[str, Statement]], ...] = (
        ("Views", views()),
        ("Questions", questions()),
        ("Checks (no rows: all is well)", checks()),
    )
    for title, statements in sections:
        console.print(f"[bold]{title}[/bold]")
        for name in sorted(statements):
            console.print(f"  [cyan]{name}[/cyan]  {escape(statements[name].doc)}")


def _is_sql_file(statement: str) -> bool:
    return statement.endswith(".sql") and Path(statement).is_file()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.1f}"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _flat(rows: pa.Table) -> pa.Table:
    """Return the rows with lists and maps as JSON text, which is what CSV can hold."""
    columns = [
        pa.array([json.dumps(v, default=_json_value) for v in column.to_pylist()], pa.string())
        if pa.types.is_nested(column.type)
        else column
        for column in rows.columns
    ]
    return pa.Table.from_arrays(columns, names=rows.column_names)


def _json_value(value: Any) -> str:
    if isinstance(value, dt.date):  # datetimes are dates
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
