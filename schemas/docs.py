"""Markdown tables of every declared relation, for the README and the documentation."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.columns import Column, Relation, Table
from schemas.ddl import spark_type


def markdown(relations: Iterable[Relation]) -> str:
    """Return one section with one table of columns for each relation."""
    return "\n\n".join(relation_markdown(r) for r in relations) + "\n"


def relation_markdown(relation: Relation) -> str:
    """Return heading, description, partitioning, columns and constraints of one relation."""
    lines = [f"### `{relation.name}`", "", relation.doc, ""]
    if isinstance(relation, Table) and relation.partition_by:
        lines += [f"Partitioned by {_ticks(relation.partition_by)}.", ""]
    lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [_row(relation, c) for c in relation.columns]
    if isinstance(relation, Table) and relation.constraints:
        lines += ["", "Enforced on every write:"]
        lines += [f"- {name}: `{expression}`" for name, expression in relation.constraints]
    return "\n".join(lines)


def _row(relation: Relation, column: Column) -> str:
    kind = spark_type(column.type) if isinstance(relation, Table) else str(column.type)
    marks = [kind.lower(), *(["key"] if column.key else []), *(["?"] if column.nullable else [])]
    text = column.doc + (" **Biometric, never at rest.**" if column.biometric else "")
    cells = (f"`{column.name}`", " ".join(marks), column.unit, text.replace("|", "\\|"))
    return "| " + " | ".join(cells) + " |"


def _ticks(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)
