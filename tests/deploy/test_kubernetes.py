"""That Kubernetes' manifests are valid, and that what they name of the application is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.observe.families import FAMILIES
from app.settings import Settings
from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
KUSTOMIZATIONS = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))
KUBECTL = shutil.which("kubectl")
KSERVE_PYTHONS = [
    python
    for folder in (".kserve", ".peers/kserve")
    if os.access(python := ROOT / folder / "bin" / "python", os.X_OK)
]
DEFAULTS = Settings.model_construct()
GROUPS_OF_OTHERS = ("serving.kserve.io/", "monitoring.coreos.com/")
"""Resources whose schema is no part of Kubernetes."""


def documents(file: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(file.read_text()) if isinstance(each, dict)]


def manifests() -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for file in FILES for each in documents(file)}


def pod_specs() -> list[tuple[str, dict[str, Any]]]:
    """The pods that are described, KServe's too."""
    found = manifests()
    runtime = found["ServingRuntime"]["spec"]
    return [
        ("Deployment", found["Deployment"]["spec"]["template"]["spec"]),
        ("ServingRuntime", {name: runtime[name] for name in ("containers", "volumes")}),
    ]


def containers() -> list[tuple[str, dict[str, Any]]]:
    return [(kind, container) for kind, spec in pod_specs() for container in spec["containers"]]


def probes(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: value for name, value in container.items() if name.endswith("Probe")}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def validate_strictly(resource: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_manifests_are_valid(file: Path) -> None:
    for resource in documents(file):
        if not resource["apiVersion"].startswith(GROUPS_OF_OTHERS):
            validate_strictly(resource)


@pytest.mark.parametrize(("kind", "spec"), pod_specs(), ids=lambda value: str(value)[:14])
def test_pods_are_valid(kind: str, spec: dict[str, Any]) -> None:
    metadata = {"name": kind.lower()}
    validate_strictly({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_an_invalid_manifest_is_found() -> None:
    broken = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "specs": {}}
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate_strictly(broken)


@pytest.mark.skipif(not KUBECTL, reason="there is no kubectl here")
@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_kustomize_builds(folder: Path) -> None:
    assert KUBECTL
    done = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    for resource in built:
        if not resource["apiVersion"].startswith(GROUPS_OF_OTHERS):
            validate_strictly(resource)
    if folder.name == "prometheus":
        [autoscaler] = [each for each in built if each["kind"] == "HorizontalPodAutoscaler"]
        kinds = [metric["type"] for metric in autoscaler["spec"]["metrics"]]
        assert kinds == ["Resource", "Pods"]


def test_every_file_is_in_a_kustomization() -> None:
    listed = set()
    for folder in KUSTOMIZATIONS:
        content = yaml.safe_load((folder / "kustomization.yaml").read_text())
        names = content["resources"] + [patch["path"] for patch in content.get("patches", [])]
        listed |= {(folder / name).resolve() for name in names}
    assert set(FILES) <= listed


@pytest.mark.parametrize(
    "file", [*FILES, *(each / "kustomization.yaml" for each in KUSTOMIZATIONS)]
)
def test_settings_that_are_named_exist(file: Path) -> None:
    named = re.findall(r"\bDIGITS_([A-Z_]+)", file.read_text())
    assert {name.lower() for name in named} <= set(Settings.model_fields)


@pytest.mark.parametrize(("kind", "container"), containers(), ids=lambda value: str(value)[:14])
def test_settings_are_taken(kind: str, container: dict[str, Any]) -> None:
    values = {
        name.removeprefix("DIGITS_").lower(): value
        for name, value in environment(container).items()
    }
    settings = Settings.model_validate(values)
    assert settings.workers == settings.worker_threads == settings.intra_op_threads == 1
    assert container["resources"]["requests"]["cpu"] == "1", "threads are by the promised cores"
    loop_and_threads = 1 + settings.worker_threads
    assert container["resources"]["limits"]["cpu"] == str(loop_and_threads)


@pytest.mark.parametrize(("kind", "container"), containers(), ids=lambda value: str(value)[:14])
def test_probes_ask_what_there_is(kind: str, container: dict[str, Any], client: TestClient) -> None:
    [port] = container["ports"]
    assert port["containerPort"] == DEFAULTS.port
    paths = {name: probe["httpGet"]["path"] for name, probe in probes(container).items()}
    assert paths["startupProbe"] == paths["livenessProbe"] == "/healthz"
    assert paths["readinessProbe"] in ("/readyz", "/v2/health/ready")
    for name, probe in probes(container).items():
        assert probe["httpGet"]["port"] in (port["name"], port["containerPort"]), name
        assert client.get(probe["httpGet"]["path"]).status_code == 200


def test_pods_stop_later_than_the_drain_ends() -> None:
    notice_and_drain = DEFAULTS.drain_notice_seconds + DEFAULTS.drain_seconds
    specs = dict(pod_specs())
    [container] = specs["Deployment"]["containers"]
    [sleep] = re.findall(
        r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1]
    )
    assert specs["Deployment"]["terminationGracePeriodSeconds"] > int(sleep) + notice_and_drain
    predictor = manifests()["InferenceService"]["spec"]["predictor"]
    assert predictor["terminationGracePeriodSeconds"] > notice_and_drain


@pytest.mark.parametrize(("kind", "spec"), pod_specs(), ids=lambda value: str(value)[:14])
def test_pods_have_no_more_rights_than_needed(kind: str, spec: dict[str, Any]) -> None:
    [container] = spec["containers"]
    rights = spec.get("securityContext", {}) | container["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert rights["runAsUser"] == 10001
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"requests", "limits"} == container["resources"].keys()
    [volume] = spec["volumes"]
    assert volume["emptyDir"]["sizeLimit"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/tmp"}]  # noqa: S108


def test_everything_selects_the_deployments_pods() -> None:
    found = manifests()
    deployment = found["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "digits"
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert all(each["labelSelector"]["matchLabels"] == labels for each in spread)


def test_the_network_is_closed_but_for_the_port() -> None:
    policy = manifests()["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    [rule] = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["http"]


def test_figures_that_are_named_exist(app: FastAPI, client: TestClient) -> None:
    found = manifests()
    [endpoint] = found["ServiceMonitor"]["spec"]["endpoints"]
    [port] = found["Service"]["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert client.get(endpoint["path"]).status_code == 200
    assert (
        found["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        == (found["Service"]["metadata"]["labels"])
    )
    queue = yaml.safe_load((FOLDER / "overlays/prometheus/queue.yaml").read_text())
    autoscaler = found["HorizontalPodAutoscaler"]
    autoscaler["spec"]["metrics"].append(queue[0]["value"])  # as its patch says
    validate_strictly(autoscaler)
    metric = queue[0]["value"]["pods"]
    assert metric["metric"]["name"] in {family.name for family in FAMILIES}
    assert int(metric["target"]["averageValue"]) == DEFAULTS.max_waiting_images // 8


def kserve_problems(*resources: dict[str, Any]) -> list[str]:
    """What is wrong with resources by the models that KServe publishes."""
    if not KSERVE_PYTHONS:
        pytest.skip("no KServe here: `make .kserve/stamp` installs it")
    done = subprocess.run(
        [KSERVE_PYTHONS[0], ROOT / "tests" / "deploy" / "kserve_models.py"],
        input=json.dumps(resources),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    problems: list[str] = json.loads(done.stdout)
    return problems


def test_kserve_s_resources_are_valid() -> None:
    found = manifests()
    assert not kserve_problems(found["ServingRuntime"], found["InferenceService"])


def test_an_invalid_resource_of_kserve_is_found() -> None:
    service = manifests()["InferenceService"]
    service["spec"]["predictor"] |= {"minReplica": 1, "maxReplicas": "many"}
    assert kserve_problems(service) == [
        "InferenceService.spec.predictor.maxReplicas is no int",
        "InferenceService.spec.predictor.minReplica is unknown",
    ]


def test_kserve_finds_its_runtime() -> None:
    runtime = manifests()["ServingRuntime"]
    model = manifests()["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = runtime["spec"]["supportedModelFormats"]
    assert model["modelFormat"] in [
        {"name": each["name"], "version": each["version"]} for each in formats
    ]
