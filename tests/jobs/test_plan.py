import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import SetupError
from jobs.config import load_config
from jobs.manifest import ManifestRules, build_manifest, write_manifest
from jobs.plan import Window, plan_recording, read_manifest, waves
from jobs.sources import SourceCache
from schemas.tables import MANIFEST

DAY = dt.date(2026, 3, 2)
CONFIG = load_config(None, ("video.max_segment_s=0.6",))


def recording(uri, **changes):
    row = {
        "recording_id": "r1",
        "uri": str(uri),
        "drive_id": "d1",
        "drive_date": DAY,
        "vehicle_id": "v1",
        "fleet": "f",
        "camera": "front",
        "sha256": None,
        "start_time_utc": None,
    }
    return row | changes


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from tiny_fleet import TINY_FLEET

    from jobs.fleet.build import write_recording

    path = tmp_path_factory.mktemp("clip") / "rear.mp4"
    write_recording(path, TINY_FLEET[1], seed=0)
    return path


def test_segments_cover_the_recording(clip, tmp_path):
    rows = plan_recording(recording(clip), CONFIG, SourceCache(tmp_path))
    assert [r["n_frames"] for r in rows] == [6, 6]
    assert [r["start_frame"] for r in rows] == [0, 6]
    assert rows[0]["pts_end"] == rows[1]["pts_start"]
    assert sum(r["duration_s"] for r in rows) == pytest.approx(1.2)
    assert len({r["unit_id"] for r in rows}) == 2


def test_another_version_of_the_file_is_another_unit(clip, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    sources = SourceCache(tmp_path / "scratch")
    before = plan_recording(recording(copy), CONFIG, sources)
    copy.write_bytes(clip.read_bytes() + b"\0" * 16)
    after = plan_recording(recording(copy), CONFIG, sources)
    assert {r["unit_id"] for r in before}.isdisjoint(r["unit_id"] for r in after)


@pytest.mark.parametrize(
    ("content", "sha256", "reason"),
    [
        (None, None, "source_missing"),
        (b"", None, "empty_file"),
        (b"no video at all, but some bytes", None, "unreadable"),
        (b"x" * 100, "0" * 64, "checksum_mismatch"),
    ],
)
def test_a_recording_that_cannot_be_read_is_one_quarantined_row(tmp_path, content, sha256, reason):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    (row,) = plan_recording(recording(path, sha256=sha256), CONFIG, SourceCache(tmp_path / "s"))
    assert (row["status"], row["reason"]) == ("quarantined", reason)
    assert row["remedy"]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [("drive", "drive:d1"), ("recording", "recording:r1"), ("segment", "segment:")],
)
def test_identity_scopes(clip, tmp_path, scope, expected):
    config = load_config(None, (f"track.scope={scope}",))
    (row, *_) = plan_recording(recording(clip), config, SourceCache(tmp_path))
    assert row["scope_id"].startswith(expected)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40),
    st.integers(1, 10),
)
def test_waves_lose_nothing_and_never_split_a_scope(units, size):
    rows = [
        {"drive_date": DAY, "scope_id": f"s{scope}", "recording_id": f"r{r}", "segment_index": i}
        for i, (scope, r) in enumerate(units)
    ]
    cut = list(waves(rows, size))
    assert sorted(r["segment_index"] for wave in cut for r in wave) == list(range(len(rows)))
    scopes = [{r["scope_id"] for r in wave} for wave in cut]
    assert sum(len(s) for s in scopes) == len(set().union(*scopes)) if scopes else True
    assert all(len(wave) >= size for wave in cut[:-1])


def test_window_is_inclusive():
    window = Window(DAY, DAY)
    assert DAY in window
    assert DAY + dt.timedelta(days=1) not in window
    assert DAY in Window()


def test_a_built_manifest_is_read_back(clip, tmp_path):
    folder = tmp_path / "car-7" / "2026-03-02_morning"
    folder.mkdir(parents=True)
    (folder / "left.mp4").write_bytes(clip.read_bytes())
    (folder / "notes.txt").write_text("not a recording")
    table = build_manifest(str(tmp_path), ManifestRules(fleet="x", checksums=True))
    write_manifest(table, str(tmp_path / "m.parquet"))
    (row,) = read_manifest(str(tmp_path / "m.parquet"), SourceCache(tmp_path / "s"))
    assert (row["vehicle_id"], row["drive_id"], row["camera"]) == (
        "car-7",
        "2026-03-02_morning",
        "left",
    )
    assert row["drive_date"] == DAY
    assert len(row["sha256"]) == 64


def test_an_empty_folder_gives_no_manifest(tmp_path):
    with pytest.raises(SetupError, match="no recording lies there"):
        build_manifest(str(tmp_path), ManifestRules())


def test_a_manifest_with_a_repeated_id_is_refused(tmp_path):
    table = MANIFEST.table([recording("a.mp4"), recording("b.mp4")])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(SetupError, match="'r1' stands twice"):
        read_manifest(str(tmp_path / "m.parquet"), SourceCache(tmp_path))


def test_a_manifest_without_a_column_names_it(tmp_path):
    pq.write_table(pa.table({"uri": ["a.mp4"]}), tmp_path / "m.parquet")
    with pytest.raises(SetupError, match="recording_id"):
        read_manifest(str(tmp_path / "m.parquet"), SourceCache(tmp_path))
