import os
import signal
import subprocess
import threading
import time

import pytest
from tiny_fleet import N_UNITS, REPLACING

from jobs.config import load_config
from jobs.deidentify import deidentify
from jobs.lake.tables import Lake

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
COMPARED = (
    "unit_id", "status", "reason", "treatment", "n_frames_in", "n_frames_out", "n_tracks",
    "n_faces", "n_faces_swapped", "n_faces_redacted", "pts_sha256", "codec",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _cluster_ends():
    yield
    import ray

    ray.shutdown()


def outcome(lake):
    rows = Lake(str(lake)).read("segments", COMPARED).to_pylist()
    return sorted((tuple(r[c] for c in COMPARED) for r in rows), key=str)


def worker_pids():
    """Workers of the cluster that this process started; others on the machine are not ours."""
    listing = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listing.stdout.splitlines()[1:]]
    parent = {int(pid): int(ppid) for pid, ppid, _ in rows}

    def is_ours(pid):
        while pid in parent:
            if pid == os.getpid():
                return True
            pid = parent[pid]
        return False

    workers = [int(pid) for pid, _, args in rows if args.startswith("ray::MapWorker")]
    return [pid for pid in workers if is_ours(pid)]


def test_ray_and_inline_give_the_same_tables(request_for, tmp_path):
    with_ray = deidentify(request_for(tmp_path / "ray", inline=False))
    inline = deidentify(request_for(tmp_path / "inline"))
    assert with_ray.n_planned == inline.n_planned == N_UNITS
    assert outcome(tmp_path / "ray") == outcome(tmp_path / "inline")


def test_who_is_seen_in_two_segments_shows_one_face(request_for, tmp_path):
    """With replacement: the pool that tries anchors is there only for this."""
    config = load_config(None, REPLACING)
    lake = Lake(str(tmp_path / "lake"))
    deidentify(request_for(lake.root, config=config, inline=False))
    segments = [r for r in lake.read("segments").to_pylist() if r["n_faces_swapped"]]
    assert sorted("trial" in dict(r["stage_s"]) for r in segments) == [False, True]
    judged = lake.read("identity_audit").to_pylist()
    assert {r["unit_id"] for r in judged} == {r["unit_id"] for r in segments}
    assert len({r["anchor_id"] for r in judged}) == 1


def test_a_killed_actor_costs_nothing(request_for, tmp_path):
    killed = []

    def kill_one_worker():
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            for pid in worker_pids()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.2)

    deadline = time.monotonic() + 60  # the pools of the test before are torn down meanwhile
    while worker_pids() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not worker_pids()
    killer = threading.Thread(target=kill_one_worker)
    killer.start()
    summary = deidentify(request_for(tmp_path / "lake", inline=False))
    killer.join()
    assert killed
    assert (summary.n_published, summary.n_quarantined) == (4, 1)
    units = Lake(str(tmp_path / "lake")).read("segments", ["unit_id"])["unit_id"].to_pylist()
    assert len(units) == len(set(units)) == N_UNITS
