"""The declaration vocabulary: what it builds and what it refuses."""

import pyarrow as pa
import pytest

from schemas.columns import (
    FLOAT32,
    INT32,
    STRING,
    TIMESTAMP,
    Column,
    Edge,
    SchemaError,
    Table,
    list_of,
)

EDGE = Edge(
    "demo",
    "Rows for the test.",
    (
        Column("unit_id", STRING, "Unit.", key=True),
        Column("boxes", list_of(FLOAT32), "Boxes.", unit="px"),
        Column("note", STRING, "Free text.", nullable=True),
        Column("embedding", pa.list_(FLOAT32), "Unit vector.", biometric=True, nullable=True),
    ),
)


def test_schema_carries_type_nullability_doc_and_unit():
    schema = EDGE.arrow_schema()
    assert schema.names == ["unit_id", "boxes", "note", "embedding"]
    assert not schema.field("unit_id").nullable
    assert schema.field("note").nullable
    assert schema.field("boxes").metadata == {b"doc": b"Boxes.", b"unit": b"px"}
    assert EDGE.biometric_columns == ("embedding",)
    assert EDGE.empty().schema == schema


def test_rows_become_a_table_and_optional_values_may_be_left_out():
    table = EDGE.table([{"unit_id": "a", "boxes": [1.0, 2.0]}])
    assert table.to_pylist() == [
        {"unit_id": "a", "boxes": [1.0, 2.0], "note": None, "embedding": None}
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"unit_id": "a", "boxes": [], "extra": 1}, "row 0: unknown extra"),
        ({"boxes": []}, "demo.unit_id: must not be null, found 1 of 1, first in row 0"),
        ({"unit_id": "a", "boxes": ["x"]}, "demo.boxes: expected list<element: float>"),
    ],
)
def test_a_wrong_row_is_refused_by_name(row, message):
    with pytest.raises(SchemaError, match=message):
        EDGE.table([row])


def test_validate_reorders_and_narrows_without_loss():
    table = pa.table(
        {
            "note": pa.array([None], pa.string()),
            "embedding": pa.array([[1.0]], pa.large_list(pa.float32())),
            "boxes": pa.array([[1.0]], pa.list_(pa.float32())),
            "unit_id": pa.array(["a"], pa.large_string()),
        }
    )
    assert EDGE.validate(table).schema.equals(EDGE.arrow_schema(), check_metadata=True)


def test_validate_names_the_wrong_type():
    table = EDGE.table([{"unit_id": "a", "boxes": []}])
    wrong = table.set_column(1, "boxes", pa.array([[1.0]], pa.list_(pa.float64())))
    with pytest.raises(SchemaError, match=r"demo\.boxes: expected list<element: float>, found"):
        EDGE.validate(wrong)
    with pytest.raises(SchemaError, match=r"missing columns \['note'\]"):
        EDGE.validate(table.drop_columns(["note"]))


@pytest.mark.parametrize(
    "column",
    [
        Column("embedding", list_of(FLOAT32), "Unit vector.", biometric=True),
        Column("jpeg", pa.binary(), "Bytes."),
        Column("tensor", pa.list_(pa.float32(), 128), "Fixed list."),
        Column("matrix", list_of(list_of(FLOAT32)), "Nested list."),
        Column("at", pa.timestamp("us"), "Naive time."),
        Column("big", pa.uint64(), "Unsigned."),
    ],
)
def test_a_table_refuses_what_must_not_be_stored(column):
    with pytest.raises(SchemaError, match=column.name):
        Table("bad", "Refused.", (column,))


def test_duplicate_and_undocumented_columns_are_refused():
    with pytest.raises(SchemaError, match="more than once: a"):
        Edge("e", "Doc.", (Column("a", INT32, "A."), Column("a", INT32, "A.")))
    with pytest.raises(SchemaError, match="no documentation: a"):
        Edge("e", "Doc.", (Column("a", INT32, " "),))


def test_checks_are_collected_by_name():
    table = Table(
        "t",
        "Doc.",
        (Column("n", INT32, "Count.", check="n >= 0"), Column("at", TIMESTAMP, "When.")),
        constraints=(("n_small", "n < 10"),),
    )
    assert table.checks() == {"n_check": "n >= 0", "n_small": "n < 10"}
