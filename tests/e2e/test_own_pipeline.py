"""A stage used alone in a user's own Ray Data pipeline, as the README shows it, and crashes."""

import os
import signal
import sys

import pytest
from tiny_fleet import FAST

from jobs.config import load_config
from jobs.rows import to_table
from jobs.runners import RayRunner, map_stage
from jobs.stages.find import DETECT, FIND, Detect
from jobs.stages.stage import Stage, StageContext

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _cluster_ends():
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def context(tmp_path):
    config = load_config(None, FAST)
    lake, scratch = str(tmp_path / "lake"), str(tmp_path / "scratch")
    return StageContext(config, lake, "run", bytes(32), scratch, "f" * 32)


def planned(fleet, context):
    from jobs.plan import plan_recording, read_manifest
    from jobs.sources import SourceCache

    sources = SourceCache(context.scratch_dir)
    recordings = read_manifest(fleet, sources)
    return [r for rec in recordings for r in plan_recording(rec, context.config, sources)]


def test_a_stage_in_a_pipeline_of_ones_own(fleet, context):
    rows = planned(fleet, context)
    RayRunner(context)  # starts Ray the way the job does

    import ray

    segments = ray.data.from_arrow([to_table(DETECT.reads, row) for row in rows])
    faces = map_stage(segments, DETECT, context)
    counts = {r["unit_id"]: len(r["face_frame_index"]) for r in faces.iter_rows()}
    assert len(counts) == len(rows)
    assert sum(counts.values()) >= 12


class DetectThatDies(Detect):
    """Kills its worker on one camera, as a decoder or driver crash would."""

    def __call__(self, row):
        if row["camera"] == "front":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(row)


def test_a_row_that_kills_its_worker_is_quarantined_and_the_others_are_not(fleet, context):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    rows = planned(fleet, context)
    deadly = Stage("detect", DetectThatDies, DETECT.reads, DETECT.emits, can_crash=True)
    out = list(RayRunner(context).map(rows, (deadly, *FIND[1:])))
    assert len(out) == len(rows)
    reasons = {(r["camera"], r["segment_index"]): r["reason"] for r in out}
    assert reasons[("front", 0)] == reasons[("front", 1)] == "attempts_exhausted"
    assert reasons[("rear", 0)] == reasons[("rear", 1)] == ""
