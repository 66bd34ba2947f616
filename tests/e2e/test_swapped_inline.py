"""The shipped networks replace one face: what the lake then knows about the replacement."""

import math

import pytest
from tiny_fleet import KEY, REPLACING, TINY_FLEET

from jobs.config import load_config
from jobs.deidentify import Request, deidentify
from jobs.fleet.build import build_fleet
from jobs.lake.tables import Lake

DRIFT = {"pose_drift_deg": 90, "gaze_drift_deg": 90, "expression_drift": 5, "landmark_drift": 30}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """The lake after one recording of twelve frames, one face, in two segments."""
    folder = tmp_path_factory.mktemp("swapped")
    manifest = build_fleet(str(folder / "fleet"), recordings=TINY_FLEET[:1])
    config = load_config(None, REPLACING)
    request = Request(manifest, str(folder / "lake"), config, KEY, folder / "scratch", inline=True)
    summary = deidentify(request)
    assert (summary.n_published, summary.n_quarantined) == (2, 0)
    return Lake(request.lake_uri)


def test_a_person_shows_one_face_in_both_segments(lake):
    treated = [r for r in lake.read("tracks").to_pylist() if r["state"] == "treated"]
    assert {r["unit_id"]: r["n_swapped"] > 0 for r in treated} == dict.fromkeys(
        {r["unit_id"] for r in lake.read("segments").to_pylist()}, True
    )
    assert len({r["person_id"] for r in treated}) == 1
    judged = lake.read("identity_audit").to_pylist()
    assert len({r["anchor_id"] for r in [*treated, *judged]}) == 1
    first = {r["person_id"]: r["anchor_id"] for r in lake.read("tracks").to_pylist()
             if r["state"] == "found"}  # fmt: skip
    for row in treated:
        is_first = row["anchor_id"] == first[row["person_id"]]
        assert (row["anchor_distance"] is not None) == is_first
    # What the ladder of one segment could have changed is not there any more.
    assert {a for r in treated for a in r["other_anchor_ids"]} == {-1}
    assert sum("trial" in dict(r["stage_s"]) for r in lake.read("segments").to_pylist()) == 1


def test_swapped_tracks_have_their_drift(lake):
    tracks = lake.read("tracks").to_pylist()
    swapped = {r["track"] for r in tracks if r["state"] == "treated" and r["n_swapped"]}
    assert swapped
    judged = lake.read("identity_audit").to_pylist()
    assert {r["track"] for r in judged} >= swapped
    for row in judged:
        for name, most in DRIFT.items():
            if row["track"] in swapped:
                assert 0 < row[name] < most, name
                assert math.isfinite(row[name])
            else:
                assert row[name] is None
