"""Requests on the tiny fleet."""

from pathlib import Path

import pytest
from tiny_fleet import FAST, KEY, TINY_FLEET

from jobs.config import JobConfig, load_config
from jobs.deidentify import Request
from jobs.fleet.build import build_fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory) -> str:
    """Manifest of the tiny fleet on disk."""
    return build_fleet(str(tmp_path_factory.mktemp("fleet")), recordings=TINY_FLEET)


@pytest.fixture
def config() -> JobConfig:
    """Small segments, every face redacted."""
    return load_config(None, FAST)


@pytest.fixture
def request_for(fleet, config, tmp_path):
    """Build a request; `request_for(lake_uri, inline=False)`."""

    def build(lake_uri: str | Path, **changes) -> Request:
        values = {
            "manifest_uri": fleet,
            "lake_uri": str(lake_uri),
            "config": config,
            "secret_key": KEY,
            "scratch_dir": tmp_path / "scratch",
            "inline": True,
        }
        return Request(**(values | changes))

    return build
