"""Each check finds the offence it is there for."""

import datetime as dt

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from jobs.sql import checks, offenders
from schemas.tables import TABLE_BY_NAME

# Constraints on write refuse most of this; the checks are for tables that someone else touched,
# and for what no constraint sees because it spans rows and tables.
OFFENCES = {
    "units_close": ("runs", {"run_id": "run1", "status": "clean", "exit_code": 0, "n_planned": 9,
                             "n_published": 8}),
    "units_once": ("segments", {"unit_id": "a1", "run_id": "x"}),
    "frames_close": ("segments", {"unit_id": "z", "n_frames_in": 5, "n_frames_out": 4}),
    "faces_close": ("segments", {"unit_id": "z", "n_faces": 5, "n_faces_swapped": 4}),
    "faces_are_in_tracks": ("segments", {"unit_id": "z", "n_faces": 5, "n_faces_swapped": 5}),
    "boxes_only_accrue": ("tracks", {"unit_id": "a1", "run_id": "run2", "n_faces": 99,
                                     "find_fingerprint": "1" * 64, "track": 9}),
    "swapped_is_judged": ("tracks", {"unit_id": "a1", "run_id": "run2", "state": "treated",
                                     "pipeline_fingerprint": "2" * 64, "track": 9,
                                     "n_swapped": 1}),
    "one_face_a_person": ("tracks", {"unit_id": "a1", "run_id": "run2", "state": "treated",
                                     "pipeline_fingerprint": "2" * 64, "track": 9,
                                     "n_swapped": 1, "person_id": "p1", "anchor_id": "9"}),
    "quarantine_has_a_reason": ("quarantine", {"unit_id": "a1"}),
    "clips_are_not_shared": ("segments", {"unit_id": "z", "clip_uri": "clips/a1-1111.mp4"}),
}  # fmt: skip
LATE = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def tamper(own_lake, example_row):
    """Append to a table with its constraints taken away."""

    def write(name, overrides):
        row = example_row(name, pipeline_fingerprint="1" * 64)
        row |= {"committed_at": LATE} | overrides
        rows = TABLE_BY_NAME[name].table([row])
        old = DeltaTable(own_lake.table_uri(name)).to_pyarrow_table()
        both = [TABLE_BY_NAME[name].validate(old), rows]
        write_deltalake(
            own_lake.table_uri(name),
            pa.concat_tables(both).replace_schema_metadata(None),
            mode="overwrite",
            schema_mode="overwrite",
        )

    return write


def test_there_is_an_offence_for_each_check():
    assert set(OFFENCES) == set(checks())


@pytest.mark.parametrize("check", sorted(OFFENCES))
def test_the_offence_is_found(own_lake, tamper, check):
    assert check not in offenders(own_lake.root)
    tamper(*OFFENCES[check])
    found = offenders(own_lake.root)
    assert found[check].num_rows >= 1
