"""`kill -9` at every stage, then the same command again."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tiny_fleet import FAST, KEY, N_UNITS

from jobs.deidentify import deidentify
from jobs.lake.tables import Lake
from jobs.verify import verify_lake

pytestmark = pytest.mark.timeout(600)

#: Runs the job inline and kills its own process when the named function is called the nth time.
DRIVER = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
from jobs.config import load_config
from jobs.deidentify import Request, deidentify

manifest, lake, scratch, key, target, when, nth, *settings = sys.argv[1:]
module_name, _, path = target.partition(":")
owner = import_module(module_name)
*parents, name = path.split(".")
for parent in parents:
    owner = getattr(owner, parent)
original, calls = getattr(owner, name), []

def deadly(*args, **kwargs):
    calls.append(1)
    last = len(calls) == int(nth)
    if last and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, deadly)
config = load_config(None, tuple(settings))
deidentify(Request(manifest, lake, config, bytes.fromhex(key), Path(scratch), inline=True))
"""
POINTS = (
    ("jobs.stages.find:Detect.__call__", "before", 2),
    ("jobs.stages.find:Track.__call__", "after", 1),
    ("jobs.lake.writer:append", "after", 2),  # after `runs` and the found tracks are committed
    ("jobs.stages.replace:Diffuse.__call__", "after", 2),
    ("jobs.stages.output:Compose.__call__", "after", 1),
    ("jobs.stages.output:Audit.__call__", "before", 1),
    ("jobs.stages.output:Publish.__call__", "after", 2),
    ("jobs.lake.writer:append_all", "before", 1),
    ("jobs.lake.commits:append", "after", 2),  # between two tables of one wave
    ("jobs.lake.writer:append_all", "after", 1),
)


@pytest.mark.parametrize(("target", "when", "nth"), POINTS)
def test_the_run_after_a_kill_ends_with_exactly_the_plan(
    target, when, nth, fleet, request_for, tmp_path
):
    lake = tmp_path / "lake"
    arguments = [fleet, str(lake), str(tmp_path / "scratch"), KEY.hex(), target, when, str(nth)]
    arguments += FAST
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    summary = deidentify(request_for(lake))
    assert summary.n_planned == N_UNITS
    segments = Lake(str(lake)).read("segments", ["unit_id", "status"]).to_pylist()
    assert Counter(r["status"] for r in segments) == {"published": 4, "quarantined": 1}
    assert len({r["unit_id"] for r in segments}) == len(segments) == N_UNITS
    assert verify_lake(str(lake)) == ([], 4)
