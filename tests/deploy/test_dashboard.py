"""The queries of dashboard and alerts, asked of a real Prometheus that scrapes a service."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.observe.families import DERIVED, FAMILIES
from tests.conftest import ROOT, export_stand_in, png, spoken
from tests.faults.server import Server, request, serving, wait_until
from tests.serving.test_reader import row
from training import promote

PROMETHEUS = shutil.which("prometheus")
UNPLOTTED = {
    "digits_build_info",
    "digits_drift_images",
    "digits_drift_numbers",
    "process_max_fds",
    "process_start_time_seconds",
}
"""Metrics that say nothing over time."""
pytestmark = pytest.mark.skipif(not PROMETHEUS, reason="there is no prometheus here")


def panels() -> dict[str, list[str]]:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text("utf-8"))
    return {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for panel in dashboard["panels"]
    }


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text("utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, a promoted version, and a shadow."""
    folder = tmp_path_factory.mktemp("dashboard")
    for number in (1, 2):
        export_stand_in(folder / "models" / str(number))
    promote.turned(folder / "models", 1, "A test.")
    (folder / "feedback").mkdir()
    with serving(
        folder / "models",
        folder / "log",
        workers=2,
        shadow_version=2,
        feedback_dir=folder / "feedback",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def prometheus(service: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped the service twice, with requests between."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text("utf-8"))
    [job] = config["scrape_configs"]
    job["scrape_interval"] = "1s"
    job["static_configs"] = [{"targets": [f"localhost:{service.port}"]}]
    shutil.copy(ROOT / "deploy/alerts.yml", folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert PROMETHEUS
    command = [
        PROMETHEUS,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}",
    ]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            wait_until(lambda: is_up(client))
            yield client
        finally:
            process.kill()


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200 and bool(ask(client, "up == 1"))
    except httpx.TransportError:
        return False


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def test_every_query_of_the_dashboard_is_answered(
    service: Server, prometheus: httpx.Client
) -> None:
    for _ in range(20):
        assert service.predict(png(spoken(7)), query="?normalize=false").status == 200
    number = request("POST", "/read", {"content-type": "image/png"}, png(row("12")))
    assert service.exchange(number).status == 200
    service.exchange(request("POST", "/predict", {"content-type": "image/png"}, png(spoken(7) * 0)))
    wait_until(lambda: ask(prometheus, "increase(digits_batch_images_count[1m]) > 0"))
    for title, queries in panels().items():
        for query in queries:
            found = ask(prometheus, query.replace("$__rate_interval", "1m"))
            assert found, f"{title}: {query}"


def test_every_series_of_an_alert_is_there_before_the_first_fault(prometheus: httpx.Client) -> None:
    for alert, expr in alerts().items():
        for name, matchers in re.findall(r"\b((?:digits|process)_\w+)(\{[^}]*\})?", expr):
            # What is asked for as a bare series, without its comparison.
            assert ask(prometheus, name + matchers), f"{alert}: {name}{matchers}"


def test_no_alert_fires_where_all_is_well(prometheus: httpx.Client) -> None:
    assert ask(prometheus, 'ALERTS{alertstate="firing"}') == []


def test_the_dashboard_has_a_panel_for_each_metric() -> None:
    text = " ".join(query for queries in panels().values() for query in queries)
    unasked = {family.name for family in (*FAMILIES, *DERIVED) if family.name not in text}
    assert unasked == UNPLOTTED


def test_the_files_that_compose_mounts_are_there() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    monitored = {
        name: each for name, each in services.items() if "monitoring" in each.get("profiles", [])
    }
    assert set(monitored) == {"prometheus", "grafana"}
    for each in monitored.values():
        for volume in each["volumes"]:
            assert Path(ROOT, volume.split(":")[0]).is_file(), volume
