"""What several tests share: seeds, third-party files beside the checkout, a real S3 server."""

import json
import random
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Give every test its xdist group: Ray and Spark on one worker, else a module stays together.

    Two Ray clusters at once would starve each other on two cores, and a module's costly fixtures
    are built once.
    """
    for item in items:
        heavy = any(item.get_closest_marker(name) for name in ("cluster", "spark"))
        item.add_marker(pytest.mark.xdist_group("clusters" if heavy else str(item.path)))


@pytest.fixture(autouse=True)
def _normal_priority():
    """Tests that encode AV1 themselves would leave a real-time process behind; see the module."""
    from deid_ops.video.scheduling import restore_scheduling

    restore_scheduling()
    yield
    restore_scheduling()


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state."""
    random.seed(20260101)
    np.random.seed(20260101)


@pytest.fixture
def rng():
    """A generator of its own for each test."""
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def shared_dir():
    """Third-party weights and clips; tests that need them are skipped where they are missing."""
    folder = Path(__file__).parents[1] / "../shared"
    if not (folder / "media").is_dir():
        pytest.skip(f"no third-party clips and weights at {folder}")
    return folder.resolve()


@pytest.fixture(scope="session")
def _s3_process(tmp_path_factory):
    """The S3 server's address and the folder that takes its rules."""
    folder = tmp_path_factory.mktemp("s3")
    script = Path(__file__).with_name("s3_process.py")
    command = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}", folder
        server.terminate()


@pytest.fixture(scope="session")
def s3_server(_s3_process):
    """Address of an HTTP S3 server that lives as long as the test session."""
    return _s3_process[0]


@pytest.fixture
def s3_fault(_s3_process):
    """Make one coming request fail; see `s3_process.py`. The call returns a "has it?" function."""
    folder = _s3_process[1]

    def once(match, when, *, method="PUT", kill=None):
        (folder / "applied.json").unlink(missing_ok=True)
        rule = {"method": method, "match": match, "when": when, "kill": kill}
        (folder / "rule.part").write_text(json.dumps(rule))
        (folder / "rule.part").rename(folder / "rule.json")
        return (folder / "applied.json").exists

    yield once
    (folder / "rule.json").unlink(missing_ok=True)


@pytest.fixture
def s3_bucket(s3_server, monkeypatch):
    """A fresh bucket (`s3://...`), with the environment set so that it is reached."""
    import fsspec

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    name = f"test-{uuid.uuid4().hex[:12]}"
    options = {"endpoint_url": s3_server, "client_kwargs": {"region_name": "us-east-1"}}
    store = fsspec.filesystem("s3", use_listings_cache=False, **options)
    store.call_s3("create_bucket", Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def root_uri(request, tmp_path):
    """The same test on a local folder and on S3."""
    if request.param == "disk":
        return str(tmp_path / "root")
    return request.getfixturevalue("s3_bucket") + "/prefix"


# What `example_row` cannot derive from a column's type.
EXAMPLE = {
    "runs": {"status": "started", "identity_scope": "recording"},
    "segments": {
        "status": "published",
        "treatment": "anonymized",
        "reason": "done",
        "clip_uri": "clips/a.mp4",
        "clip_sha256": "c" * 64,
        "clip_bytes": 100,
        "pts_sha256": "d" * 64,
        "pts_end": 1000,
        "duration_s": 10.0,
        "time_base_num": 1,
        "time_base_den": 100,
        "attempt": 1,
    },
    "tracks": {"state": "found", "identity_scope": "recording"},
    "quarantine": {"attempt": 1},
    "evaluations": {"better": "lower"},
}
MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _example_value(column):
    if column.nullable:
        return None
    if column.name.endswith("_sha256"):
        return "a" * 64
    for kind, value in ((pa.string(), column.name), (pa.date32(), date(2026, 5, 1))):
        if column.type == kind:
            return value
    if pa.types.is_timestamp(column.type):
        return MOMENT
    return [] if pa.types.is_nested(column.type) else 0


@pytest.fixture(scope="session")
def example_row():
    """Build a valid row of a table of the lake; `example_row("segments", unit_id="u1")`."""
    from schemas.tables import TABLE_BY_NAME

    def build(table, **overrides):
        row = {c.name: _example_value(c) for c in TABLE_BY_NAME[table].columns}
        return row | EXAMPLE.get(table, {}) | overrides

    return build


@pytest.fixture(scope="session")
def example_rows(example_row):
    """Build an Arrow table from overrides; `example_rows("segments", {"unit_id": "u1"})`."""
    from schemas.tables import TABLE_BY_NAME

    def build(table, *overrides):
        return TABLE_BY_NAME[table].table([example_row(table, **o) for o in overrides])

    return build
