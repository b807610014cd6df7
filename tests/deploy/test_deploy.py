"""That what the deployment's files promise each other holds: names, ports, seconds, limits."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.observe.families import DERIVED, FAMILIES
from app.observe.metrics import Metrics
from app.settings import DATA_VARIABLES, PREFIX, Settings

ROOT = Path(__file__).parents[2]
LOCKS = ["serve", "train", "test", "grpc", "kserve"]
DEFAULTS = Settings.model_construct()  # not what this shell sets
DATA = {name.removeprefix(PREFIX).lower() for name in DATA_VARIABLES}
HEALTHCHECK = "deploy/healthcheck.py"
BASE = "deploy/kubernetes/base"
PROMTOOL = shutil.which("promtool")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def locked(name: str) -> dict[str, str]:
    """Requirement with version and marker -> its block of the lock file, hashes included."""
    blocks = re.split(r"^(?=\S)", read(f"requirements/{name}.txt"), flags=re.MULTILINE)
    return {block.split("\\")[0].strip(): block for block in blocks if block}


def wanted(name: str) -> Iterator[str]:
    for line in read(f"requirements/{name}.in").splitlines():
        if line.startswith("-r "):
            yield from wanted(Path(line[3:]).stem)
        else:
            yield re.split(r"[<>=;\s]", line, maxsplit=1)[0]


def compose() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))["services"]["digits"]
    return service


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", read("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(name, arguments) for name, arguments in lines]


def final_stage() -> list[tuple[str, str]]:
    steps = instructions()
    start = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    return steps[start:]


def manifests() -> dict[str, Any]:
    files = [path for path in (ROOT / BASE).iterdir() if path.name != "kustomization.yaml"]
    return {each["kind"]: each for each in (yaml.safe_load(path.read_text()) for path in files)}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def settings_named(text: str) -> set[str]:
    return {name.lower() for name in re.findall(r"\bDIGITS_([A-Z_]+)", text)}


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_with_a_hash(name: str) -> None:
    for requirement, block in locked(name).items():
        assert re.fullmatch(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+( ; .+)?", requirement)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_names_an_index(name: str) -> None:
    assert not re.search(r"://|index|find-links", read(f"requirements/{name}.txt"))


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_holds_what_is_wanted(name: str) -> None:
    assert set(wanted(name)) <= {requirement.split("==")[0] for requirement in locked(name)}


def test_the_locks_are_one_resolution() -> None:
    serve, train, test, grpc = (locked(name).items() for name in LOCKS[:4])
    assert serve <= train <= test
    assert serve <= grpc <= test


@pytest.mark.parametrize(
    "path",
    ["Dockerfile", "docker-compose.yml", "Makefile", HEALTHCHECK],
)
def test_settings_that_are_named_exist(path: str) -> None:
    assert settings_named(read(path)) <= set(Settings.model_fields) | DATA


def test_the_image_runs_as_a_user_by_number() -> None:
    users = [arguments for name, arguments in final_stage() if name == "USER"]
    assert users == ["10001:10001"]
    assert pod()["securityContext"]["runAsUser"] == 10001


def test_the_final_stage_installs_nothing() -> None:
    runs = " ".join(arguments for name, arguments in final_stage() if name == "RUN")
    assert "install" not in runs.replace("uninstall", "")


@pytest.mark.parametrize("name", ["CMD", "HEALTHCHECK"])
def test_no_shell_stands_before_the_process(name: str) -> None:
    [arguments] = [rest for instruction, rest in final_stage() if instruction == name]
    assert json.loads(arguments[arguments.index("[") :])[0] == "python"


def test_compose_asks_health_as_the_image_does() -> None:
    [arguments] = [rest for name, rest in final_stage() if name == "HEALTHCHECK"]
    assert compose()["healthcheck"]["test"] == [
        "CMD",
        *json.loads(arguments[arguments.index("[") :]),
    ]


def test_the_build_context_holds_what_is_copied() -> None:
    context = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = [
        source.rstrip("/")
        for name, arguments in instructions()
        if name == "COPY" and not arguments.startswith("--from=")
        for source in arguments.split()[:-1]
    ]
    assert set(copied) == context
    assert all((ROOT / source).exists() for source in copied)


def test_compose_gives_no_more_rights_than_needed() -> None:
    service = compose()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= service.keys()
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ["feedback:/srv/digits/feedback"]  # and nothing is kept unless it is set


def test_compose_mounts_the_folder_that_is_watched() -> None:
    [workdir] = [arguments for name, arguments in final_stage() if name == "WORKDIR"]
    source, target, _ = compose()["volumes"][0].split(":")
    inside = Path(workdir) / DEFAULTS.models_dir
    assert inside.relative_to(target) == DEFAULTS.models_dir.relative_to(source)


def test_ports_agree() -> None:
    assert compose()["ports"][0].endswith(f":{DEFAULTS.port}")
    assert ("EXPOSE", str(DEFAULTS.port)) in final_stage()
    assert f'"{DEFAULTS.port}"' in read(HEALTHCHECK)
    assert pod()["containers"][0]["ports"][0]["containerPort"] == DEFAULTS.port


def test_time_to_stop_is_longer_than_the_drain() -> None:
    drain = DEFAULTS.drain_notice_seconds + DEFAULTS.drain_seconds
    assert int(compose()["stop_grace_period"].rstrip("s")) > drain
    [sleep] = re.findall(r"sleep\((\d+)\)", read(f"{BASE}/deployment.yaml"))
    assert pod()["terminationGracePeriodSeconds"] > int(sleep) + drain


SERIES = re.compile(r"\b((?:digits|process)_\w+)(?:\{([^}]*)\})?")


def test_alerts_ask_for_series_that_exist() -> None:
    families = {family.name: family for family in (*FAMILIES, *DERIVED)}
    alerts = [rule for group in alert_groups() for rule in group["rules"]]
    named = [found for alert in alerts for found in SERIES.findall(alert["expr"])]
    assert len(named) >= len(alerts)
    for name, matchers in named:
        family = families[re.sub(r"_(bucket|count|sum)$", "", name)]
        asked = set(re.findall(r"(\w+)=", matchers)) - {"job"}
        assert asked <= set(family.labels), name


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    for group in alert_groups():
        for alert in group["rules"]:
            assert alert["labels"]["severity"] in ("critical", "warning")
            assert {"summary", "action"} == alert["annotations"].keys()


def alert_groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(read("deploy/alerts.yml"))["groups"]
    return groups


def test_every_alert_has_an_anchor_on_the_operations_page() -> None:
    headings = set(re.findall(r"^### (Digits\w+)$", read("docs/operations.md"), re.MULTILINE))
    assert headings == {alert["alert"] for group in alert_groups() for alert in group["rules"]}


def test_every_metric_is_on_the_operations_page() -> None:
    named = set(re.findall(r"`((?:digits|process)_\w+)", read("docs/operations.md")))
    every = {family.name for family in (*FAMILIES, *DERIVED)}
    assert every - named == set()
    assert {name for name in named if name.startswith("process_")} <= every


def test_every_alert_has_a_case() -> None:
    tested = set(re.findall(r"\bDigits\w+", read("tests/deploy/alerts_test.yml")))
    assert tested == {alert["alert"] for group in alert_groups() for alert in group["rules"]}


@pytest.mark.skipif(not PROMTOOL, reason="there is no promtool here")
@pytest.mark.parametrize(
    "arguments",
    [
        ["test", "rules", "tests/deploy/alerts_test.yml"],
        ["check", "config", "deploy/prometheus.yml"],
        ["check", "config", "deploy/prometheus.compose.yml"],
    ],
    ids=["rules", "config", "config of compose"],
)
def test_prometheus_takes_the_files(arguments: list[str]) -> None:
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not PROMTOOL, reason="there is no promtool here")
def test_prometheus_takes_the_exposition() -> None:
    assert PROMTOOL
    metrics = Metrics(version="1.2")
    metrics.set_model("digits", "4")
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_changelogs() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\]", read("CHANGELOG.md"), re.MULTILINE)


@contextmanager
def answering(status: HTTPStatus) -> Iterator[int]:
    """A server on a free port that answers everything with `status`."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else HTTPStatus.NOT_FOUND)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def healthcheck(port: int) -> subprocess.CompletedProcess[str]:
    """As in the container: no site-packages, so that TensorFlow can't even be imported."""
    return subprocess.run(
        [sys.executable, "-IS", HEALTHCHECK],
        cwd=ROOT,
        env={"DIGITS_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("status", "code"), [(HTTPStatus.OK, 0), (HTTPStatus.SERVICE_UNAVAILABLE, 1)]
)
def test_the_health_check_says_what_healthz_says(status: HTTPStatus, code: int) -> None:
    with answering(status) as port:
        outcome = healthcheck(port)
    assert outcome.returncode == code, outcome
    assert str(status.value) in outcome.stdout


def test_the_health_check_fails_where_no_one_listens() -> None:
    with answering(HTTPStatus.OK) as port:
        pass
    outcome = healthcheck(port)
    assert outcome.returncode == 1
    assert "no answer" in outcome.stdout
