"""The declared tables: nothing biometric, everything documented, Delta takes them unchanged."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema

import schemas.columns
from schemas.columns import SchemaError, Table
from schemas.ddl import delta_schema_json, delta_type, spark_ddl, spark_type
from schemas.docs import document, markdown
from schemas.tables import MANIFEST, SEGMENTS, TABLE_BY_NAME, TABLES

ALL = [*TABLES, MANIFEST]
# The only lists of numbers at rest: geometry and quality of boxes (at most ten values a face) and
# the numbers of synthetic anchors.
GEOMETRY = {
    "frame_index",
    "boxes_xyxy_px",
    "landmarks_xy_px",
    "has_landmarks",
    "origin",
    "score",
    "eye_distance_px",
    "blur",
    "turn",
    "other_anchor_ids",
}
SUSPICIOUS = re.compile(r"crop|embed|feature|pixel|image|jpeg|png|vector|descriptor|template|blob")


@pytest.mark.parametrize("table", ALL, ids=lambda t: t.name)
def test_no_column_can_hold_a_crop_or_an_embedding(table):
    for column in table.columns:
        assert not column.biometric, column.name
        assert not SUSPICIOUS.search(column.name), column.name
        assert not pa.types.is_binary(column.type), column.name
        if pa.types.is_list(column.type) and not pa.types.is_string(column.type.value_type):
            assert column.name in GEOMETRY, f"{table.name}.{column.name}"
        if pa.types.is_map(column.type):
            assert column.name == "stage_s", f"{table.name}.{column.name}"


@pytest.mark.parametrize("table", ALL, ids=lambda t: t.name)
def test_every_column_is_described_by_a_sentence(table):
    for column in table.columns:
        assert column.doc.endswith("."), column.name
        assert len(column.doc) > 5, column.name
    assert any(c.key for c in table.columns)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_delta_keeps_types_nullability_and_comments_at_reader_1_writer_2(table, tmp_path):
    delta = DeltaTable.create(
        tmp_path, Schema.from_json(delta_schema_json(table)), partition_by=list(table.partition_by)
    )
    protocol = delta.protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
    assert not protocol.writer_features
    fields = {f["name"]: f for f in json.loads(delta.schema().to_json())["fields"]}
    for column in table.columns:
        assert fields[column.name]["type"] == delta_type(column.type)
        assert fields[column.name]["nullable"] == column.nullable
        assert fields[column.name]["metadata"]["comment"] == column.doc
    stored = pa.schema(delta.schema().to_arrow())
    assert stored.names == list(table.names)
    assert table.validate(pa.table(stored.empty_table())).num_rows == 0


def test_types_that_delta_would_change_are_refused():
    with pytest.raises(SchemaError, match="uint64"):
        delta_type(pa.uint64())
    with pytest.raises(SchemaError, match="timestamp"):
        spark_type(pa.timestamp("us"))


def test_spark_statement_lists_every_column_and_quotes_the_location():
    text = spark_ddl(SEGMENTS, "/a 'b'/segments")
    assert "LOCATION '/a ''b''/segments'" in text
    assert "-- stage_s MAP<STRING, DOUBLE> NOT NULL" in text
    assert text.count("\n-- ") == len(SEGMENTS.columns) - 1


def test_markdown_names_every_column_of_every_table():
    text = markdown(ALL)
    for table in ALL:
        assert f"### `{table.name}`" in text
        for column in table.columns:
            assert f"| `{column.name}` |" in text
    assert "faces_close" in text


def test_table_names_are_those_of_the_lake():
    assert set(TABLE_BY_NAME) == {
        "runs",
        "segments",
        "tracks",
        "identity_audit",
        "quarantine",
        "evaluations",
    }
    assert all(isinstance(t, Table) for t in TABLES)


def test_the_document_in_the_repository_is_that_of_the_declarations():
    written = (Path(schemas.columns.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert written == document(), "run: python -m schemas.docs"
