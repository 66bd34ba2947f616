"""The shipped networks replace one face: what the lake then knows about the replacement."""

import math

import pytest
from tiny_fleet import KEY, TINY_FLEET

from jobs.config import load_config
from jobs.deidentify import Request, deidentify
from jobs.fleet.build import build_fleet
from jobs.lake.tables import Lake

DRIFT = {"pose_drift_deg": 90, "gaze_drift_deg": 90, "expression_drift": 5, "landmark_drift": 30}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """The lake after one recording of twelve frames, one face, in one segment."""
    folder = tmp_path_factory.mktemp("swapped")
    manifest = build_fleet(str(folder / "fleet"), recordings=TINY_FLEET[:1])
    config = load_config(None, ("inference.threads=1",))
    request = Request(manifest, str(folder / "lake"), config, KEY, folder / "scratch", inline=True)
    summary = deidentify(request)
    assert (summary.n_published, summary.n_quarantined) == (1, 0)
    return Lake(request.lake_uri)


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
