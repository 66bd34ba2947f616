"""The README says what is there: generated parts, links, reasons, and the pipeline example."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.docs import fill_marked

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def test_the_generated_parts_are_those_of_the_declarations() -> None:
    assert fill_marked(README) == README, "run: python -m schemas.docs"
    emptied = re.sub(
        r"(<!-- tables: [^>]*-->\n).*?(<!-- end -->)", r"\1\2", README, flags=re.DOTALL
    )
    assert emptied != README
    assert fill_marked(emptied) == README


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    for link in links:
        assert (REPOSITORY / link).exists(), link


def test_reasons_named_are_reasons_given() -> None:
    source = "\n".join(p.read_text() for p in (REPOSITORY / "deid_ops/video").glob("*.py"))
    named = set(re.findall(r"`(unsupported_\w+)`", README))
    given = set(re.findall(r'"(unsupported_\w+)"', source))
    assert named == {r for r in given if r != "unsupported_still"}


def test_configuration_keys_named_exist() -> None:
    from jobs.config import JobConfig

    config = JobConfig()
    sections = set(JobConfig.model_fields)
    named = {k for k in re.findall(r"[` ](\w+\.\w+)[`:=]", README) if k.split(".")[0] in sections}
    assert len(named) > 4
    for key in named:
        section, name = key.split(".")
        assert name.endswith("_") or hasattr(getattr(config, section), name), key


def test_scripts_and_folders_named_exist() -> None:
    for name in re.findall(r"`((?:schemas|deid_ops|jobs|configs|infra|tests)/[\w./]*)`", README):
        assert (REPOSITORY / name).exists(), name


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_pipeline_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from jobs.fleet.build import build_fleet
    from jobs.fleet.drives import FLEET

    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block
    build_fleet(str(tmp_path), recordings=(replace(FLEET[1], n_frames=10),))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    names: dict[str, Any] = {}
    ray.init("local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    try:
        exec(compile(block.group(1), "README.md", "exec"), names)  # noqa: S102
        counts = [len(row["face_frame_index"]) for row in names["faces"].iter_rows()]
    finally:
        ray.shutdown()
    assert counts == [pytest.approx(10, abs=2)]
