"""`deid sql` as a person types it."""

import csv
import io
import json

import typer
from typer.testing import CliRunner

from jobs.cli_sql import sql
from jobs.sql import checks, questions, views

APP = typer.Typer()
APP.command()(sql)


def run(*arguments):
    return CliRunner().invoke(APP, list(arguments), catch_exceptions=False)


def test_without_a_statement_all_names_are_listed():
    output = run().output
    for name in (*views(), *checks(), *questions(), "segments", "identity_audit"):
        assert name in output


def test_json_lines(disk_lake):
    output = run("current_segments", "--lake", disk_lake.root, "--format", "json").output
    rows = [json.loads(line) for line in output.splitlines()]
    assert sorted(r["unit_id"] for r in rows) == ["a1", "a2", "b1", "c1", "c2"]
    assert rows[0]["committed_at"].startswith("2026-05-03T")


def test_csv_with_lists_as_json(disk_lake):
    statement = "SELECT unit_id, track, treatment FROM current_tracks WHERE unit_id = 'c2'"
    output = run(statement, "--lake", disk_lake.root, "--format", "csv").output
    (row,) = csv.DictReader(io.StringIO(output))
    assert (row["unit_id"], row["track"]) == ("c2", "0")
    assert json.loads(row["treatment"]) == ["swapped"] * 6


def test_a_table_for_people_on_another_engine(disk_lake):
    result = run("linkability", "--lake", disk_lake.root, "--engine", "datafusion")
    assert result.exit_code == 0
    assert "1 rows" in result.output


def test_a_file_with_sql(disk_lake, tmp_path):
    file = tmp_path / "mine.sql"
    file.write_text("SELECT count(*) AS n FROM quarantine")
    output = run(str(file), "--lake", disk_lake.root, "--format", "json").output
    assert json.loads(output) == {"n": 2}
