"""What several tests share: seeds, third-party files beside the checkout, a real S3 server."""

import logging
import random
import uuid
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


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
def s3_server():
    """Address of an HTTP S3 server that lives as long as the test session."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


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
