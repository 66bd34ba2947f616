"""The figures of a report: SQL over the lake's tables, run by DuckDB, shown beside the result."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from deid_ops.errors import SetupError
from deid_ops.metrics.stats import clustered_rate
from jobs.lake.tables import Lake

TABLES = ("runs", "segments", "tracks", "identity_audit", "quarantine")


@dataclass(frozen=True, slots=True)
class Section:
    """One figure of the report, before it is computed."""

    name: str
    title: str
    about: str
    empty: str


SECTIONS = (
    Section("summary", "Summary", "What the run planned, did and found done.", ""),
    Section(
        "ledger",
        "Frame ledger",
        "Every frame that went in came out and was looked at again by the second detector; every "
        "face was swapped or redacted. A recording that does not close is never published.",
        "No recording was planned.",
    ),
    Section("treatments", "Treatments", "Faces by camera and what was done to them.", "No clip."),
    Section(
        "reasons",
        "Reasons",
        "Why each face ended where it did. One face is one box in one frame.",
        "No face was found.",
    ),
    Section(
        "quarantine",
        "Quarantine",
        "What was refused, why, and what to do about it. Nothing of it is published.",
        "Nothing was refused.",
    ),
    Section(
        "identity",
        "Identity",
        "Cosine distance between each original face and what replaced it, under encoders that "
        "took no part in the replacement. Matched means nearer than the threshold at which one in "
        "a thousand pairs of different people matches; matched others are the faces expected to "
        "match somebody else in view, which small and redacted faces do, too. The interval of the "
        "match rate is at 95 % and allows for the frames of one track being alike.",
        "No face was judged (redacted faces are judged only where the audit encodes them).",
    ),
    Section(
        "utility",
        "Utility",
        "What replaced faces lost for perception, means over tracks: turn of the head and of the "
        "eyes in degrees, distance of the expression coefficients, shift of the landmarks in % of "
        "the eye distance; then how much the identity varies along a track, as recorded and as "
        "published. The network that reads the angles conditions the generator, too.",
        "No face was replaced, or none of the replaced ones was measured.",
    ),
    Section("exposure", "Exposure", "Face-seconds by camera, and what the work cost.", "No clip."),
    Section(
        "review",
        "Review queue",
        "The tracks that a person should look at first. Correct a box, then render again.",
        "No track.",
    ),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A section with its query and result; `rows` are in the order of `columns`."""

    section: Section
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        """Return the rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class RunQueries:
    """The tables of one run, open for queries.

    Args:
        lake: where the tables lie.
        run_id: the run; only rows of its pipeline fingerprint are read.

    Raises:
        SetupError: the lake holds no such run.
    """

    def __init__(self, lake: Lake, run_id: str) -> None:
        self.run_id = run_id
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        runs = lake.read("runs", where=pads.field("run_id") == run_id)
        if runs.num_rows == 0:
            raise SetupError(f"{lake.root}: no run {run_id!r}; `deid sql` shows those in `runs`")
        self._database.register("runs", runs)
        fingerprint = runs["pipeline_fingerprint"][0].as_py()
        for name in TABLES[1:]:
            mine = pads.field("pipeline_fingerprint") == fingerprint
            self._database.register(name, lake.read(name, where=mine))

    def sql(self, name: str) -> str:
        """Return a query of `queries/` with its common part, ready for any engine."""
        folder = files("jobs.report").joinpath("queries")
        common = folder.joinpath("units.sql").read_text().strip()
        body = folder.joinpath(f"{name}.sql").read_text().strip()
        literal = "'" + self.run_id.replace("'", "''") + "'"
        return f"WITH\n{common}\n{body}".replace("$run_id", literal)

    def table(self, sql: str) -> pa.Table:
        """Run a query."""
        return self._database.execute(sql).to_arrow_table()

    def figure(self, section: Section) -> Figure:
        """Compute one section."""
        sql = self.sql(section.name)
        table = self.table(sql)
        columns = tuple(table.column_names)
        rows = tuple(tuple(_plain(v) for v in row.values()) for row in table.to_pylist())
        figure = Figure(section, sql, columns, rows)
        return self._with_intervals(figure) if section.name == "identity" else figure

    def figures(self) -> list[Figure]:
        """Compute every section, in the order of the report."""
        return [self.figure(section) for section in SECTIONS]

    def _with_intervals(self, figure: Figure) -> Figure:
        """Add the rate of matches and its 95 % interval, computed over tracks as clusters."""
        sql = self.sql("identity_tracks")
        tracks = self.table(sql).to_pylist()
        rows = []
        for row, record in zip(figure.rows, figure.records(), strict=True):
            group = [
                t
                for t in tracks
                if all(t[name] == record[name] for name in ("encoder", "shown", "eye_distance"))
            ]
            rows.append((*row, *_rate_of(group)))
        added = ("match_rate", "rate_low", "rate_high")
        return Figure(figure.section, figure.sql, figure.columns + added, tuple(rows))


def _plain(value: Any) -> Any:
    """Return a decimal, as DuckDB gives for sums, as int or float."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _rate_of(tracks: list[dict[str, Any]]) -> tuple[float | None, float | None, float | None]:
    judged = [int(t["faces_judged"]) for t in tracks]
    if sum(judged) == 0:
        return None, None, None
    hits = np.concatenate(
        [np.arange(n) < t["matched_original"] for n, t in zip(judged, tracks, strict=True)]
    )
    estimate = clustered_rate(hits, np.repeat(np.arange(len(judged)), judged))
    return estimate.value, estimate.ci_low, estimate.ci_high
