"""OpenLineage events of a run: START, COMPLETE and FAIL, one JSON object each below the lake.

The events are files (`openlineage/RUN_ID-EVENT.json`), written like everything else by the driver;
a collector can pick them up from there. Specification: OpenLineage 2-0-2 and its facets.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import pyarrow.dataset as pads

from deid_ops.errors import InvariantError
from jobs.lake.tables import Lake
from jobs.storage import Storage
from schemas.tables import TABLES

NAMESPACE = "deid-lake"
EVENT_OF_STATUS = {
    "started": "START",
    "clean": "COMPLETE",
    "quarantined": "COMPLETE",
    "failed": "FAIL",
}
_SPEC = "https://openlineage.io/spec"
_RUN_ID_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:deid-lake:run")
_RUN_FACET_KEYS = (
    "plan_id", "exit_code", "n_planned", "n_done_before", "n_published", "n_quarantined",
    "pipeline_fingerprint", "config_sha256", "key_id", "identity_scope", "providers",
)  # fmt: skip


def emit(lake: Lake, run: Mapping[str, Any], error: str = "") -> str:
    """Write the event that a row of the `runs` table stands for; return its address.

    Args:
        lake: its tables are the outputs, its root is where the event goes.
        run: a row of `runs`, as committed.
        error: one line about what failed, for FAIL.

    Raises:
        RetryableError: the store failed.
    """
    event = run_event(lake, run, error)
    storage = Storage(lake.root)
    path = f"openlineage/{run['run_id']}-{event['eventType']}.json"
    storage.write(path, json.dumps(event, indent=1).encode())
    return storage.uri(path)


def run_event(lake: Lake, run: Mapping[str, Any], error: str = "") -> dict[str, Any]:
    """Return the event as JSON-ready values."""
    kind = EVENT_OF_STATUS.get(run["status"])
    if kind is None:
        raise InvariantError(f"run {run['run_id']}: no lineage event for status {run['status']!r}")
    ended = kind != "START"
    return {
        "eventType": kind,
        "eventTime": _utc(run["committed_at"]),
        "producer": _producer(),
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": str(uuid.uuid5(_RUN_ID_SPACE, run["run_id"])),
            "facets": _run_facets(run, error),
        },
        "job": {
            "namespace": NAMESPACE,
            "name": run["command"],
            "facets": {
                "jobType": _facet(
                    "2-0-4/JobTypeJobFacet.json", processingType="BATCH",
                    integration="RAY", jobType="JOB",
                ),
            },
        },
        "inputs": [_manifest(run, ended)],
        "outputs": [_output(lake, table.name, run["run_id"]) for table in TABLES] if ended else [],
    }  # fmt: skip


def _run_facets(run: Mapping[str, Any], error: str) -> dict[str, Any]:
    facets = {
        "processing_engine": _facet(
            "1-1-1/ProcessingEngineRunFacet.json",
            version=version("ray"),
            name="Ray Data",
            openlineageAdapterVersion=version("deid-lake"),
        ),
        "deid_run": {
            "_producer": _producer(),
            "_schemaURL": "urn:deid-lake:facet:run:1",
            "run_id": run["run_id"],
            "weights": json.loads(run["weights_json"] or "{}"),
            **{key: run.get(key) for key in _RUN_FACET_KEYS},
        },
    }
    if run["status"] == "failed":
        message = error or "the run failed; its log says why"
        facets["errorMessage"] = _facet(
            "1-0-1/ErrorMessageRunFacet.json", message=message, programmingLanguage="PYTHON"
        )
    return facets


def _manifest(run: Mapping[str, Any], ended: bool) -> dict[str, Any]:
    namespace, name = dataset_name(run["manifest_uri"])
    dataset: dict[str, Any] = {"namespace": namespace, "name": name, "facets": {}}
    if run.get("manifest_sha256"):
        dataset["facets"]["version"] = _facet(
            "1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=run["manifest_sha256"]
        )
    if ended:
        dataset["inputFacets"] = {
            "inputStatistics": _facet("1-0-0/InputStatisticsInputDatasetFacet.json", fileCount=1)
        }
    return dataset


def _output(lake: Lake, table: str, run_id: str) -> dict[str, Any]:
    """Describe a table as it is now: Delta version, columns, the rows that this run added."""
    namespace, name = dataset_name(lake.table_uri(table))
    declared = next(t for t in TABLES if t.name == table)
    handle = lake.open(table)
    rows = handle.to_pyarrow_dataset().count_rows(filter=pads.field("run_id") == run_id)
    fields = [
        {"name": c.name, "type": str(c.type), "description": c.doc, "ordinal_position": i}
        for i, c in enumerate(declared.columns, 1)
    ]
    return {
        "namespace": namespace,
        "name": name,
        "facets": {
            "version": _facet(
                "1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=str(handle.version())
            ),
            "schema": _facet("1-2-0/SchemaDatasetFacet.json", fields=fields),
        },
        "outputFacets": {
            "outputStatistics": _facet(
                "1-0-2/OutputStatisticsOutputDatasetFacet.json", rowCount=rows
            )
        },
    }


def dataset_name(uri: str) -> tuple[str, str]:
    """Return OpenLineage's namespace and name of an address.

    Example:
        >>> dataset_name("s3://bucket/lake/segments"), dataset_name("/data/lake/segments")
        (('s3://bucket', 'lake/segments'), ('file', '/data/lake/segments'))
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return f"s3://{parts.netloc}", parts.path.lstrip("/")
    return "file", parts.path


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {
        "_producer": _producer(),
        "_schemaURL": f"{_SPEC}/facets/{schema}",
        **values,
    }


def _producer() -> str:
    return f"urn:deid-lake:{version('deid-lake')}"


def _utc(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")
