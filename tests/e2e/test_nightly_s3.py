import pytest
from tiny_fleet import TINY_FLEET

from jobs.deidentify import deidentify
from jobs.fleet.build import build_fleet
from jobs.lake.tables import Lake
from jobs.verify import verify_lake

pytestmark = [pytest.mark.s3, pytest.mark.timeout(600)]
# Where a file lies and what the store calls its version differ; so do ids made from them.
COMPARED = (
    "camera", "pts_start", "status", "reason", "treatment", "n_frames_in", "n_frames_out",
    "n_tracks", "n_faces", "n_faces_redacted", "source_sha256", "pts_sha256", "unit_id",
)  # fmt: skip


def outcome(lake):
    rows = Lake(str(lake)).read("segments", COMPARED).to_pylist()
    return sorted((tuple(r[c] for c in COMPARED) for r in rows), key=str)


def test_the_same_manifest_from_s3_gives_the_same_tables(request_for, s3_bucket, tmp_path):
    manifest = build_fleet(f"{s3_bucket}/fleet", recordings=TINY_FLEET)
    lake = f"{s3_bucket}/lake"
    on_s3 = deidentify(request_for(lake, manifest_uri=manifest))
    on_disk = deidentify(request_for(tmp_path / "lake"))
    assert on_s3.reasons == on_disk.reasons == {"truncated": 1}
    assert outcome(lake) == outcome(tmp_path / "lake")
    findings, n_clips = verify_lake(lake)
    assert (findings, n_clips) == ([], 4)
