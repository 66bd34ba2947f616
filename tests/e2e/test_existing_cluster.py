"""A cluster of two nodes that is already there: the command joins it, and may die on it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_fleet import FAST, KEY, N_UNITS

from jobs.lake.tables import Lake

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
DEID = Path(sys.executable).with_name("deid")


@pytest.fixture(scope="module")
def address():
    """Address of a running cluster: two nodes, each with its own raylet and workers."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 0})
    cluster.add_node(num_cpus=4, num_gpus=0)
    cluster.wait_for_nodes()
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def nightly(address, fleet, tmp_path):
    """Start `deid nightly` on the cluster; returns the process."""
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    key.chmod(0o600)
    started = []

    def start() -> subprocess.Popen[str]:
        command = [
            *(DEID, "nightly", "--manifest", fleet, "--lake", tmp_path / "lake", "--all"),
            *("--key-file", key, "--scratch", tmp_path / "scratch", "--ray-address", address),
            *(word for setting in FAST for word in ("--set", setting)),
        ]
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def units(lake: Path) -> list[str]:
    return Lake(str(lake)).read("segments", ["unit_id"])["unit_id"].to_pylist()


def test_killed_driver_and_second_run_on_the_same_cluster(nightly, tmp_path):
    import ray

    first = nightly()
    for line in first.stderr:  # killed with the first segments found, the others under way
        if '"event": "found"' in line:
            break
    else:
        pytest.fail(f"the run ended by itself: {first.wait()}")
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert len(units(tmp_path / "lake")) < N_UNITS

    second = nightly()
    out, err = second.communicate(timeout=400)
    assert second.returncode == 3, out + err  # the broken file of the fleet is quarantined
    done = units(tmp_path / "lake")
    assert len(done) == len(set(done)) == N_UNITS

    third = nightly()
    out, err = third.communicate(timeout=200)
    assert third.returncode in (0, 3), out + err
    assert units(tmp_path / "lake") == done
    assert "nothing to do" in out.lower()
    assert not ray.is_initialized()


def test_without_an_address_the_job_has_a_ray_of_its_own(address):
    import ray

    code = (
        "from jobs.runners import _start_ray; _start_ray(None); import ray; "
        "print(len(ray.nodes()), ray.get_runtime_context().gcs_address)"
    )
    for env in ({}, {"RAY_ADDRESS": address}):  # the running cluster is found, or named
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | env,
        )
        n_nodes, joined = done.stdout.split()[-2:]
        assert int(n_nodes) == 1
        assert joined != address
    assert not ray.is_initialized()


def test_address_without_a_cluster_is_a_named_failure(fleet, tmp_path):
    command = [
        *(DEID, "nightly", "--manifest", fleet, "--lake", tmp_path / "lake", "--all"),
        *("--key-file", tmp_path / "key", "--ray-address", "127.0.0.1:1"),
    ]
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
