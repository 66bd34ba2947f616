"""The Kubernetes manifests, under the schemas of the custom resources they are for."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

REPOSITORY = Path(__file__).parents[2]
KUBERAY = REPOSITORY / "infra/kuberay"
RAY_MANIFESTS = ("rayjob-nightly.yaml", "rayjob-backfill.yaml", "raycronjob.yaml")
CRD_OF_KIND = {
    "RayJob": "ray.io_rayjobs.crd.yaml.gz",
    "RayCronJob": "ray.io_raycronjobs.crd.yaml.gz",
}


def load(name: str) -> Any:
    (document,) = yaml.safe_load_all((KUBERAY / name).read_text())
    return document


def strict(schema: Any) -> Any:
    """Return the schema with unknown fields refused, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items()}
    open_ended = out.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in out
    if isinstance(out.get("properties"), dict) and "type" in out and not open_ended:
        out["additionalProperties"] = False
    return out


def errors(specs: Path, document: Any) -> list[str]:
    with gzip.open(specs / CRD_OF_KIND[document["kind"]], "rt") as stream:
        crd = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    version = document["apiVersion"].split("/")[1]
    (served,) = [v for v in crd["spec"]["versions"] if v["name"] == version and v["served"]]
    schema = strict(served["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return [
        f"{'/'.join(map(str, e.absolute_path))}: {e.message}"
        for e in Draft202012Validator(schema).iter_errors(document)
    ]


@pytest.mark.shared
@pytest.mark.parametrize("name", RAY_MANIFESTS)
def test_manifests_are_valid_under_their_crd(shared_dir: Path, name: str) -> None:
    assert errors(shared_dir / "specs", load(name)) == []


@pytest.mark.shared
def test_the_check_refuses_wrong_fields_and_types(shared_dir: Path) -> None:
    document = load("rayjob-nightly.yaml")
    document["spec"]["backofLimit"] = 2
    document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"] = "8"
    found = "\n".join(errors(shared_dir / "specs", document))
    assert "backofLimit" in found
    assert "maxReplicas" in found


def ray_job_spec(name: str) -> Any:
    document = load(name)
    spec = document["spec"]
    return spec["jobTemplate"] if document["kind"] == "RayCronJob" else spec


@pytest.mark.parametrize("name", RAY_MANIFESTS)
def test_what_kuberay_checks_beyond_the_schema(name: str) -> None:
    spec = ray_job_spec(name)
    assert "shutdownAfterJobFinishes" not in spec  # not together with deletion rules
    head = spec["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"  # no work beside the driver
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["maxReplicas"]
    pinned = re.search(r"^ray==(.+)$", (REPOSITORY / "infra/constraints.txt").read_text(), re.M)
    assert pinned
    assert spec["rayClusterSpec"]["rayVersion"] == pinned.group(1)


@pytest.mark.parametrize("name", RAY_MANIFESTS)
def test_pods_mount_only_volumes_they_have(name: str) -> None:
    cluster = ray_job_spec(name)["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_scheduled_run_is_the_nightly_run() -> None:
    nightly, scheduled = load("rayjob-nightly.yaml"), load("raycronjob.yaml")
    assert scheduled["spec"]["jobTemplate"] == nightly["spec"]


def test_the_plain_cron_job_never_overlaps_and_creates_the_nightly_run() -> None:
    documents = {d["kind"]: d for d in yaml.safe_load_all((KUBERAY / "cronjob.yaml").read_text())}
    spec = documents["CronJob"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][-1].endswith("/rayjob-nightly.yaml")
    assert pod["serviceAccountName"] == documents["ServiceAccount"]["metadata"]["name"]
    assert documents["RoleBinding"]["roleRef"]["name"] == documents["Role"]["metadata"]["name"]


def expressions() -> Iterator[str]:
    rules = yaml.safe_load((REPOSITORY / "infra/prometheus/rules.yaml").read_text())
    for group in rules["spec"]["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    dashboard = json.loads((REPOSITORY / "infra/grafana/runs.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_alerts_and_dashboard_use_metrics_that_exist() -> None:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    ray = Path(spec.origin).parent
    sources = [
        ray / "data/_internal/stats.py",
        ray / "dashboard/modules/reporter/reporter_agent.py",
        REPOSITORY / "jobs/observe.py",
    ]
    known = "\n".join(path.read_text() for path in sources)
    used = {name for e in expressions() for name in re.findall(r"\bray_\w+", e)}
    assert len(used) > 8
    for name in sorted(used):
        bare = name.removeprefix("ray_").removesuffix("_total")
        assert f'"{bare}"' in known, f"nothing exports {name}"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_images_copy_what_the_build_needs(name: str) -> None:
    text = (REPOSITORY / f"infra/docker/{name}.Dockerfile").read_text()
    copied = re.findall(r"^COPY (.+) \S+$", text, re.M)
    paths = {path for line in copied for path in line.split()}
    assert all((REPOSITORY / path).exists() for path in paths)
    assert {"pyproject.toml", "README.md", "schemas", "deid_ops", "jobs", "configs"} <= paths
    extras = re.search(r"'\.\[(\w+)\]'", text)
    assert (extras.group(1) if extras else None) == {"cpu": None, "cuda": "cuda"}[name]
