"""OpenLineage events: valid under the published schemas, true about the tables."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from deid_ops.errors import InvariantError
from jobs.lake.commits import acquire_lease, append
from jobs.lake.tables import Lake
from jobs.openlineage import dataset_name, emit, run_event
from schemas.tables import TABLE_BY_NAME

NOW = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
RUN = {
    "run_id": "r1", "plan_id": "p", "command": "nightly", "status": "started", "exit_code": None,
    "manifest_uri": "s3://fleet/manifest.parquet", "manifest_sha256": "a" * 64, "n_planned": 2,
    "n_done_before": 0, "n_published": 0, "n_quarantined": 0, "pipeline_fingerprint": "f" * 64,
    "code_version": "1", "config_yaml": "{}", "config_sha256": "c" * 64,
    "weights_json": '{"detector": "0"}', "versions_json": "{}", "providers": "cpu",
    "identity_scope": "drive", "key_id": "k", "host": "h", "started_at": NOW, "committed_at": NOW,
}  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    lake.ensure()
    lease = acquire_lease(lake, "p", "r1")
    append(lake, lease, "runs", TABLE_BY_NAME["runs"].table([RUN]), 1)
    return lake


@pytest.fixture(scope="session")
def registry(shared_dir: Path) -> Registry[Any]:
    folder = shared_dir / "specs/openlineage"
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return Registry().with_resources([(c["$id"], Resource.from_contents(c)) for c in contents])


def check(registry: Registry[Any], url: str, value: Any) -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": url}
    Draft202012Validator(schema, registry=registry, format_checker=FormatChecker()).validate(value)


def facets_of(event: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    groups = [event["run"]["facets"], event["job"]["facets"]]
    for dataset in event["inputs"] + event["outputs"]:
        groups += [dataset.get(k, {}) for k in ("facets", "inputFacets", "outputFacets")]
    return [pair for group in groups for pair in group.items()]


@pytest.mark.shared
@pytest.mark.parametrize("status", ["started", "clean", "quarantined", "failed"])
def test_events_are_valid_under_the_published_schemas(
    registry: Registry[Any], lake: Lake, status: str
) -> None:
    event = json.loads(json.dumps(run_event(lake, RUN | {"status": status}, "it broke")))
    check(registry, event["schemaURL"], event)
    found = facets_of(event)
    assert len(found) > 3
    for name, facet in found:
        if facet["_schemaURL"].startswith("urn:deid-lake:"):
            check(
                registry,
                "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet",
                facet,
            )
        else:
            check(registry, facet["_schemaURL"], {name: facet})


@pytest.mark.shared
def test_the_schemas_refuse_a_broken_event(registry: Registry[Any], lake: Lake) -> None:
    from jsonschema import ValidationError

    event = run_event(lake, RUN)
    event["run"]["runId"] = 7
    with pytest.raises(ValidationError):
        check(registry, event["schemaURL"], event)


def test_complete_names_the_manifest_and_the_tables_with_version_and_rows(lake: Lake) -> None:
    event = run_event(lake, RUN | {"status": "clean"})
    assert event["eventType"] == "COMPLETE"
    (manifest,) = event["inputs"]
    assert (manifest["namespace"], manifest["name"]) == ("s3://fleet", "manifest.parquet")
    assert manifest["facets"]["version"]["datasetVersion"] == "a" * 64
    outputs = {o["name"].rsplit("/", 1)[1]: o for o in event["outputs"]}
    assert set(outputs) == set(TABLE_BY_NAME)
    runs = outputs["runs"]
    assert runs["facets"]["version"]["datasetVersion"] == str(lake.open("runs").version())
    assert runs["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert outputs["segments"]["outputFacets"]["outputStatistics"]["rowCount"] == 0


def test_start_and_end_share_a_run_id_and_lie_below_the_lake(lake: Lake) -> None:
    start = json.loads(Path(emit(lake, RUN)).read_text())
    end = json.loads(Path(emit(lake, RUN | {"status": "failed"}, "lost the lease")).read_text())
    assert start["run"]["runId"] == end["run"]["runId"]
    assert start["outputs"] == []
    assert end["eventType"] == "FAIL"
    assert end["run"]["facets"]["errorMessage"]["message"] == "lost the lease"
    assert (Path(lake.root) / "openlineage/r1-START.json").exists()


def test_an_unknown_status_is_refused(lake: Lake) -> None:
    with pytest.raises(InvariantError, match="no lineage event"):
        run_event(lake, RUN | {"status": "odd"})


def test_names_of_datasets() -> None:
    assert dataset_name("file:///data/x") == ("file", "/data/x")
    assert dataset_name("s3://b/k/x") == ("s3://b", "k/x")
