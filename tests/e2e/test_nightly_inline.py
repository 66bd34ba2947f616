from collections import Counter
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
from tiny_fleet import FAST, KEY, N_UNITS

from deid_ops.errors import SetupError
from jobs.config import load_config
from jobs.deidentify import deidentify
from jobs.lake.tables import Lake
from jobs.sql import query
from jobs.verify import verify_lake


@pytest.fixture(scope="module")
def done(fleet, tmp_path_factory):
    """One run of the tiny fleet: its lake and its summary."""
    from jobs.deidentify import Request

    folder = tmp_path_factory.mktemp("nightly")
    config = load_config(None, FAST)
    request = Request(fleet, str(folder / "lake"), config, KEY, folder / "scratch", inline=True)
    return request, deidentify(request)


def rows(lake: str, table: str) -> list[dict]:
    return Lake(lake).read(table).to_pylist()


def test_everything_planned_has_an_outcome(done):
    request, summary = done
    assert (summary.n_planned, summary.n_published, summary.n_quarantined) == (N_UNITS, 4, 1)
    assert summary.reasons == {"truncated": 1}
    assert summary.exit_code == 3
    outcomes = Counter(r["unit_id"] for r in rows(request.lake_uri, "segments"))
    assert len(outcomes) == N_UNITS
    assert set(outcomes.values()) == {1}


def test_the_lake_agrees_with_itself(done):
    findings, n_clips = verify_lake(done[0].lake_uri)
    assert findings == []
    assert n_clips == 4


def test_faces_are_redacted_and_say_why(done):
    lake = done[0].lake_uri
    front = [r for r in rows(lake, "segments") if r["camera"] == "front"]
    assert sum(r["n_faces"] for r in front) == sum(
        r["n_faces_swapped"] + r["n_faces_redacted"] for r in front
    )
    # The face is in view in all twelve frames.
    assert sum(r["n_frames_with_faces"] for r in front) == 12
    treated = [r for r in rows(lake, "tracks") if r["state"] == "treated"]
    assert treated
    assert all(reason for r in treated for reason in r["reason"])


def test_a_person_keeps_the_anchor_over_segment_borders(done):
    treated = [r for r in rows(done[0].lake_uri, "tracks") if r["state"] == "treated"]
    assert len({r["unit_id"] for r in treated}) == 2
    assert len({(r["person_id"], r["anchor_id"]) for r in treated}) == 1


def test_segments_without_faces_are_copied_packet_by_packet(done):
    request, _ = done
    source = next(
        r["uri"] for r in pq.read_table(request.manifest_uri).to_pylist() if r["camera"] == "rear"
    )
    copied = [r for r in rows(request.lake_uri, "segments") if r["camera"] == "rear"]
    assert {r["treatment"] for r in copied} == {"copied"}
    packets = []
    for row in sorted(copied, key=lambda r: r["pts_start"]):
        with av.open(row["clip_uri"]) as clip:
            packets += [bytes(p) for p in clip.demux(video=0) if p.size]
    with av.open(source) as original:
        assert packets == [bytes(p) for p in original.demux(video=0) if p.size]


def test_a_second_run_does_nothing(done):
    again = deidentify(done[0])
    assert (again.n_done_before, again.n_published, again.n_quarantined) == (N_UNITS, 0, 0)
    assert again.exit_code == 0


def test_quarantined_units_are_tried_again_on_demand(done):
    from dataclasses import replace

    again = deidentify(replace(done[0], retry_quarantined=True))
    assert (again.n_done_before, again.n_quarantined) == (4, 1)


def test_another_setting_reprocesses_what_it_changes(done):
    from dataclasses import replace

    config = load_config(None, (*FAST, "redact.method=solid"))
    changed = deidentify(replace(done[0], config=config, command="render", found_only=True))
    # The find pass of the four readable segments is in the lake and is not done again.
    assert (changed.n_planned, changed.n_published) == (4, 4)
    latest = query(
        done[0].lake_uri, "SELECT count(*) AS n FROM current_segments WHERE status = 'published'"
    )
    assert latest.to_pylist() == [{"n": 4}]


def test_nothing_staged_is_left_behind(done):
    root = Path(done[0].lake_uri)
    assert [p for p in (root / "staging").rglob("*") if p.is_file()] == []
    assert [p for p in (root / "attempts").rglob("*") if p.is_file()] == []


def test_a_manifest_that_is_none_is_refused(request_for, tmp_path):
    wrong = tmp_path / "manifest.parquet"
    wrong.write_text("no parquet")
    with pytest.raises(SetupError, match=r"manifest\.parquet: cannot read the manifest"):
        deidentify(request_for(tmp_path / "lake", manifest_uri=str(wrong)))
