"""Markdown of every declared relation and SQL file.

`python -m schemas.docs` writes `schemas/README.md` and the marked parts of the project's README;
tests compare both with the declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from schemas.columns import Column, Relation, Table
from schemas.ddl import spark_type
from schemas.tables import MANIFEST, TABLES

_HEAD = """# The lake

Made by `python -m schemas.docs`. Types are Spark's; `key` marks what identifies a row, `?` a value
that may be missing. All times are UTC. No table holds a crop or an embedding.
"""
_FOLDERS = (
    ("views", "Views", "Equal rows in DuckDB, DataFusion and Spark."),
    ("checks", "Checks", "Each returns the offending rows; none means that all is well."),
    ("questions", "Questions", "What a privacy officer asks; `deid sql NAME` answers."),
)


def document() -> str:
    """Return the whole document: the tables, the manifest, the SQL files."""
    parts = [_HEAD, "## Tables\n", markdown(TABLES), "## Manifest\n", markdown([MANIFEST])]
    for folder, title, about in _FOLDERS:
        files = sorted(Path(__file__).with_name(folder).glob("*.sql"))
        rows = [f"| `{f.stem}` | {_head_comment(f.read_text(encoding='utf-8'))} |" for f in files]
        parts += [
            f"## {title}\n",
            f"{about}\n",
            "\n".join(["| name | what |", "|---|---|", *rows, ""]),
        ]
    return "\n".join(parts)


def fill_marked(text: str) -> str:
    """Return a document with its marked parts, `<!-- tables ... --> ... <!-- end -->`, renewed."""
    parts = {
        "tables": [("table", "what"), *((t.name, t.doc) for t in (*TABLES, MANIFEST))],
        "questions": [
            ("question", "what"),
            *(
                (f.stem, _head_comment(f.read_text(encoding="utf-8")))
                for f in sorted(Path(__file__).with_name("questions").glob("*.sql"))
            ),
        ],
    }
    for name, (head, *rows) in parts.items():
        lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| `{n}` | {d} |" for n, d in rows)]
        pattern = rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end -->)"
        content = "\n".join(lines).replace("\\", r"\\")
        text = re.sub(pattern, rf"\g<1>{content}\n\g<2>", text, flags=re.DOTALL)
    return text


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


def _head_comment(sql: str) -> str:
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


if __name__ == "__main__":
    Path(__file__).with_name("README.md").write_text(document(), encoding="utf-8")
    readme = Path(__file__).parents[1] / "README.md"
    if readme.exists():  # in a checkout
        readme.write_text(fill_marked(readme.read_text(encoding="utf-8")), encoding="utf-8")
