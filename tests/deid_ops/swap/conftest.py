"""Exported networks with random weights, for the runtime wrappers."""

from __future__ import annotations

import pytest
from random_networks import Files, export_random


@pytest.fixture(scope="session")
def swap_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return export_random(tmp_path_factory.mktemp("weights"))
