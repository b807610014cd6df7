from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.errors import PROBLEMS, VolumeFull
from tests.api.calls import AS_IS, PNG, SEVEN, detail_of, labels, services_in
from tests.conftest import spoken

MODEL = {"name": "digits", "version": "1"}
PATHS = ("/healthz", "/readyz", "/livez", "/metrics", "/model", "/problems/not-found")
PAGES = ("/", "/docs", "/redoc")


@pytest.fixture
def draining(client: TestClient) -> Iterator[None]:
    """The process has been told to stop."""
    drain: Any = services_in(client).health._drain
    drain.began = True
    yield
    drain.began = False


def figures(client: TestClient) -> dict[str, float]:
    """What `/metrics` says."""
    lines = client.get("/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
def test_health(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    model = None if path == "/livez" else MODEL
    assert response.json() == {"status": "ok", "model": model, "detail": None}


def test_health_says_that_a_newer_version_was_rejected(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "Version 2: golden.npz is not the listed file."
    monkeypatch.setattr(services_in(client).registry, "rejected", reason)
    for path in ("/healthz", "/readyz"):
        response = client.get(path)
        assert response.status_code == 200
        assert response.json() == {"status": "ok", "model": MODEL, "detail": reason}


@pytest.mark.usefixtures("draining")
def test_who_is_told_to_stop_is_healthy_and_not_ready(client: TestClient) -> None:
    response = client.get("/readyz")
    assert response.status_code == 503
    detail = "The process is about to stop."
    assert response.json() == {"status": "unavailable", "model": MODEL, "detail": detail}
    assert client.get("/healthz").status_code == 200
    assert client.get("/livez").status_code == 200
    assert labels(client.post(AS_IS, content=SEVEN, headers=PNG)) == [7]


@pytest.mark.usefixtures("draining")
@pytest.mark.parametrize("path", ["/livez", "/", "/nowhere"])
def test_an_answer_is_the_last_on_its_connection_while_the_process_stops(
    client: TestClient, path: str
) -> None:
    assert client.get(path).headers["connection"] == "close"


def test_a_connection_is_kept_otherwise(client: TestClient) -> None:
    assert "connection" not in client.get("/livez").headers


def test_who_cannot_answer_is_neither(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_in(client).health, "unhealthy_reason", lambda: "Why not.")
    for path in ("/healthz", "/readyz"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.json() == {"status": "unavailable", "model": MODEL, "detail": "Why not."}
    assert client.get("/livez").status_code == 200


def test_the_models_card(client: TestClient) -> None:
    card = client.get("/model").json()
    assert (card["name"], card["version"]) == ("digits", "1")
    assert card["thresholds"] == {"digit_score": 0.5, "confidence": 0.5}
    assert (card["drift"]["images"], card["drift"]["window_seconds"]) == (0, 3600)
    assert card["drift"]["expected_accuracy"] == {"all": None, "accepted": None}
    assert set(card["drift"]["distance"]) == {"label", "rejection", "confidence", "ink", "stroke"}


@pytest.mark.parametrize("slug", PROBLEMS)
def test_a_problem_is_explained_at_its_address(client: TestClient, slug: str) -> None:
    response = client.get(f"/problems/{slug}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["remedy"] == PROBLEMS[slug].remedy
    assert response.json()["status"] == PROBLEMS[slug].status


@pytest.mark.parametrize("path", [*PATHS, *PAGES, "/web/style.css", "/openapi.json"])
def test_head_is_answered_as_get(client: TestClient, path: str) -> None:
    shown, head = client.get(path), client.head(path)
    assert (head.status_code, shown.status_code) == (200, 200)
    assert head.headers["content-type"] == shown.headers["content-type"]
    assert "x-request-id" in head.headers
    if path != "/metrics":  # which has counted the requests between
        assert head.headers["content-length"] == shown.headers["content-length"]


def test_head_of_what_is_not_there_is_not_found(client: TestClient) -> None:
    assert client.head("/nowhere").status_code == 404
    assert client.head("/problems/nothing").status_code == 404


@pytest.mark.parametrize(
    "path", ["/nowhere", "/problems/nothing", "/problems/", "/web/nothing.js", "/web/", "/predicts"]
)
def test_what_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert detail_of(response, "not-found") == PROBLEMS["not-found"].remedy
    assert "allow" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(("POST", path, "GET") for path in (*PATHS, *PAGES)),
        ("DELETE", "/healthz", "GET"),
        ("OPTIONS", "/healthz", "GET"),
        *(("PUT", path, "HEAD") for path in (*PATHS, *PAGES, "/web/style.css", "/openapi.json")),
        ("GET", "/predict", "POST"),
        ("HEAD", "/predict", "POST"),
        ("PUT", "/predict", "POST"),
        ("GET", "/predict/", "POST"),
    ],
)
def test_another_method_is_told_which_there_are(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == 405
    assert allowed in response.headers["allow"].split(", ")
    assert response.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        assert detail_of(response, "method-not-allowed") == PROBLEMS["method-not-allowed"].remedy


def test_files_of_the_pages_are_only_read(client: TestClient) -> None:
    assert detail_of(client.post("/web/page.js"), "method-not-allowed")


def test_a_slash_at_the_end_makes_no_difference(client: TestClient) -> None:
    for query in ("", "?normalize=false"):
        responses = [
            client.post(path + query, content=SEVEN, headers=PNG, follow_redirects=False)
            for path in ("/predict", "/predict/")
        ]
        assert responses[0].status_code == 200
        assert responses[0].content == responses[1].content


def test_metrics_are_in_the_format_of_prometheus(client: TestClient) -> None:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert all(re.fullmatch(r"# .+|\S+( \S+)* \S+", line) for line in response.text.splitlines())


def test_metrics_count_what_was_answered(client: TestClient) -> None:
    before = figures(client)
    client.post(AS_IS, json={"images": [spoken(1).tolist(), np.zeros((28, 28)).tolist()]})
    client.post(AS_IS, content=b"text", headers=PNG)
    client.get("/nowhere/secret")
    after = figures(client)
    for name in [
        'digits_http_request_duration_seconds_count{method="POST",route="/predict",status="200"}',
        'digits_http_request_duration_seconds_count{method="POST",route="/predict",status="415"}',
        'digits_predictions_total{label="1",version="1"}',
        'digits_predictions_total{label="none",version="1"}',
        'digits_rejections_total{reason="blank"}',
        "digits_batch_images_sum",
    ]:
        assert after[name] - before.get(name, 0) == 1, name
    assert not [name for name in after if "secret" in name or "/nowhere" in name]
    assert after["digits_waiting_images"] == 0


def test_the_counters_of_every_status_are_there_before_the_first(client: TestClient) -> None:
    counted = figures(client)
    answered = {200, *(error.status for error in PROBLEMS.values())} - {VolumeFull.status}
    for status in answered:  # but for a volume's, which is `/feedback`'s alone
        labels = f'method="POST",route="/predict",status="{status}"'
        assert f"digits_http_request_duration_seconds_count{{{labels}}}" in counted


@pytest.mark.parametrize("path", PAGES)
def test_pages_run_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"
    named = re.findall(r'(?:src|href)="(?:\./|/)?(web/[^"]+)"', response.text)
    assert named
    assert not re.findall(r'(?:src|href)="https?:[^"]+\.(?:js|css)"', response.text)
    for file in named:
        assert client.get(f"/{file}").status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/web/style.css"])
@pytest.mark.parametrize("range_", ["bytes=0-9", "bytes=9999999-", "lines=1-2", "bytes=9-1", "-"])
def test_files_come_whole_whatever_range_is_asked_for(
    client: TestClient, path: str, range_: str
) -> None:
    whole, ranged = client.get(path), client.get(path, headers={"range": range_})
    assert (ranged.status_code, ranged.content) == (200, whole.content)
    assert ranged.headers["accept-ranges"] == "none"


@pytest.mark.parametrize("path", [*PATHS, *PAGES, "/web/style.css", "/nowhere", "/predict"])
def test_every_response_is_what_its_type_says_and_has_an_id(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert len(headers.get_list("x-request-id")) == 1
