"""The tables as they lie in storage."""

import json

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema

from deid_ops.errors import InvariantError, SetupError
from jobs.lake.commits import acquire_lease, append
from jobs.lake.tables import Lake
from schemas.ddl import delta_schema_json
from schemas.tables import SEGMENTS, TABLES


@pytest.fixture
def lake(root_uri):
    lake = Lake(root_uri)
    lake.ensure()
    return lake


def test_all_tables_are_created_once_with_comments_and_properties(lake):
    lake.ensure()
    for table in TABLES:
        delta = lake.open(table.name)
        assert delta.version() == 0
        assert delta.metadata().description == table.doc
        assert delta.metadata().partition_columns == list(table.partition_by)
        assert delta.metadata().configuration["delta.checkpointInterval"] == "50"
        protocol = delta.protocol()
        assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)


def test_what_is_written_comes_back_in_the_declared_schema(lake, example_rows):
    rows = example_rows(
        "segments", {"unit_id": "u1", "stage_s": [("detect", 1.5), ("encode", 2.0)]}
    )
    append(lake, acquire_lease(lake, "p", "r"), "segments", rows, 1)
    back = lake.read("segments")
    assert back.schema.equals(SEGMENTS.arrow_schema(), check_metadata=True)
    assert back.to_pylist() == rows.to_pylist()
    assert lake.open("segments").protocol().min_writer_version == 2


@pytest.mark.parametrize(
    "broken",
    [
        {"n_faces": 3, "n_faces_swapped": 1, "n_faces_redacted": 1},
        {"n_frames_in": 10, "n_frames_out": 9},
        {"status": "done"},
        {"treatment": "copied", "n_faces": 1, "n_faces_swapped": 1},
        {"clip_sha256": "short"},
        {"audit_faces_missed": 1},
        {"n_frames_in": -1, "n_frames_out": -1},
    ],
)
def test_rows_that_break_a_constraint_are_refused(tmp_path, example_rows, broken):
    lake = Lake(tmp_path)
    lake.ensure()
    lease = acquire_lease(lake, "p", "r")
    with pytest.raises(InvariantError, match="break a constraint"):
        append(lake, lease, "segments", example_rows("segments", broken), 1)
    assert lake.read("segments").num_rows == 0


def test_a_quarantined_segment_may_lack_what_a_published_one_must_have(tmp_path, example_rows):
    lake = Lake(tmp_path)
    lake.ensure()
    row = {"status": "quarantined", "treatment": None, "clip_uri": None, "clip_sha256": None}
    rows = example_rows("segments", row | {"n_frames_in": 5, "audit_faces_missed": 2})
    append(lake, acquire_lease(lake, "p", "r"), "segments", rows, 1)
    assert lake.read("segments").num_rows == 1


def test_a_batch_that_breaks_the_declaration_is_refused_by_column(tmp_path, example_rows):
    lake = Lake(tmp_path)
    lake.ensure()
    rows = example_rows("segments", {}).drop_columns(["camera"])
    with pytest.raises(InvariantError, match=r"missing columns \['camera'\]"):
        append(lake, acquire_lease(lake, "p", "r"), "segments", rows, 1)


def test_a_table_of_another_version_is_refused(tmp_path):
    fields = json.loads(delta_schema_json(SEGMENTS))
    fields["fields"] = [f for f in fields["fields"] if f["name"] != "camera"]
    DeltaTable.create(tmp_path / "segments", Schema.from_json(json.dumps(fields)))
    with pytest.raises(SetupError, match=r"made by another version: camera \(string, found noth"):
        Lake(tmp_path).ensure()


def test_a_lake_that_is_not_there_is_a_setup_error(tmp_path):
    with pytest.raises(SetupError, match="no table at"):
        Lake(tmp_path).read("segments")
    with pytest.raises(SetupError, match="no table 'nonsense'"):
        Lake(tmp_path).table_uri("nonsense")


def test_statistics_allow_skipping_by_unit(tmp_path, example_rows):
    lake = Lake(tmp_path)
    lake.ensure()
    rows = example_rows("segments", {"unit_id": "a"}, {"unit_id": "b"})
    append(lake, acquire_lease(lake, "p", "r"), "segments", rows, 1)
    actions = pa.table(lake.open("segments").get_add_actions(flatten=True))
    assert actions["min.unit_id"].to_pylist() == ["a"]
    assert actions["max.unit_id"].to_pylist() == ["b"]
