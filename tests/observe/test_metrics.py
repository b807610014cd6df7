from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.observe.metrics import SECONDS, Metrics, Telemetry
from tests.conftest import ROOT


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.request_id)


async def fail(request: Request) -> PlainTextResponse:
    raise RuntimeError("the secret of /etc/passwd")


async def fail_midway(request: Request) -> StreamingResponse:
    def chunks() -> object:
        yield b"begun"
        raise RuntimeError

    return StreamingResponse(chunks())  # type: ignore[arg-type]


def watched(metrics: Metrics, *, log_requests: bool = False) -> TestClient:
    app = Starlette(
        routes=[Route("/hello", hello), Route("/fail", fail), Route("/midway", fail_midway)],
        middleware=[Middleware(Telemetry, metrics=metrics, log_requests=log_requests)],
    )
    return TestClient(app, raise_server_exceptions=False)


def figure(metrics: Metrics, name: str, **labels: str) -> float | None:
    metrics.settle()
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("sent", ["r-1", "a" * 128, "A.b_c~d+e/f=", "0"])
def test_a_sane_request_id_is_kept(sent: str) -> None:
    response = watched(Metrics()).get("/hello", headers={"X-Request-ID": sent})
    assert response.text == response.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", "a\tb", "<b>", "é", "a;b"], ids=repr)
def test_another_is_replaced(sent: str) -> None:
    response = watched(Metrics()).get("/hello", headers={"X-Request-ID": sent.encode("latin-1")})
    made = response.headers["x-request-id"]
    assert response.text == made != sent
    assert len(made) == 32
    assert int(made, 16)


def test_requests_without_an_id_get_one_each() -> None:
    client = watched(Metrics())
    assert client.get("/hello").text != client.get("/hello").text


def test_requests_are_counted_and_timed() -> None:
    metrics = Metrics()
    client = watched(metrics)
    for path in ["/hello", "/hello", "/nothing/here", "/nor/here", "/fail"]:
        client.get(path)
    total = "digits_requests_total"
    assert figure(metrics, total, route="/hello", status="200") == 2
    assert figure(metrics, total, route="/fail", status="500") == 1
    assert figure(metrics, total, route="other", status="404") == 2
    assert figure(metrics, "digits_request_seconds_count", route="/hello") == 2


def test_what_fails_is_answered_logged_and_counted() -> None:
    metrics = Metrics()
    with capture_logs() as lines:
        response = watched(metrics).get("/fail", headers={"X-Request-ID": "r-1"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == response.json()["request_id"] == "r-1"
    assert response.json()["type"] == "/problems/internal-error"
    assert "secret" not in response.text
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("failed", "error"),
        ("request", "warning"),
    ]


def test_an_answer_that_has_begun_is_cut_off() -> None:
    client = TestClient(watched(Metrics()).app)
    with capture_logs() as lines, pytest.raises(RuntimeError):
        client.get("/midway")
    assert lines == []


@pytest.mark.parametrize(("log_requests", "expected"), [(False, []), (True, ["request"])])
def test_good_requests_are_logged_where_asked_for(log_requests: bool, expected: list[str]) -> None:
    with capture_logs() as lines:
        watched(Metrics(), log_requests=log_requests).get("/hello")
    assert [line["event"] for line in lines] == expected


def test_other_scopes_pass_through() -> None:
    with watched(Metrics()) as client:  # runs the lifespan
        assert client.get("/hello").status_code == 200


def test_figures_of_the_work() -> None:
    metrics = Metrics()
    metrics.count_batch(3, 0.004)
    metrics.count_predictions("2", [None, "blank", None])
    metrics.count_reload(True)
    metrics.count_reload(False)
    assert figure(metrics, "digits_batch_images_sum") == 3
    assert figure(metrics, "digits_batch_seconds_sum") == 0.004
    assert figure(metrics, "digits_predictions_total", version="2", outcome="accepted") == 2
    assert figure(metrics, "digits_predictions_total", version="2", outcome="blank") == 1
    assert figure(metrics, "digits_reloads_total", succeeded="true") == 1
    assert figure(metrics, "digits_reloads_total", succeeded="false") == 1
    assert b"digits_batch_images_sum 3.0" in metrics.exposition()


def test_many_observations_are_those_one_by_one() -> None:
    seconds = [0.0005, 0.001, 0.0011, 0.3, 10, 11, 0.02]
    at_once, one_by_one = Metrics(), Metrics()
    for one in seconds:
        at_once.count_request("/predict", 200, one)
        one_by_one.request_seconds.labels("/predict").observe(one)
    name = "digits_request_seconds"
    for bound in (*SECONDS, "+Inf"):
        le = str(float(bound)) if bound != "+Inf" else "+Inf"
        labels = {"route": "/predict", "le": le}
        expected = figure(one_by_one, f"{name}_bucket", **labels)
        assert expected is not None
        assert figure(at_once, f"{name}_bucket", **labels) == expected
    assert figure(at_once, f"{name}_sum", route="/predict") == pytest.approx(sum(seconds))


def test_tallies_are_settled_now_and_then_and_at_the_end() -> None:
    metrics = Metrics()

    def settled() -> float | None:
        labels = {"route": "/predict", "status": "200"}
        return metrics.registry.get_sample_value("digits_requests_total", labels)

    async def main() -> None:
        settling = asyncio.create_task(metrics.keep_settled())
        metrics.count_request("/predict", 200, 0.1)
        while settled() is None:
            await asyncio.sleep(0.01)
        metrics.count_request("/predict", 200, 0.1)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)

    asyncio.run(main())
    assert settled() == 2


def run(code: str, **environment: str) -> str:
    """What a fresh interpreter says on stderr: logging is set up once a process."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


LOGGING = """
import logging, structlog
from app.observe.metrics import configure_logging
configure_logging(json={json})
structlog.contextvars.bind_contextvars(request_id="r-1")
structlog.get_logger().info("ours", images=3)
logging.getLogger("uvicorn").info("theirs %d", 4)
logging.getLogger("uvicorn").error("Traceback (most recent call last):\\n  secret")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("failed")
structlog.get_logger().debug("unheard")
"""


def test_log_lines_are_json_where_asked_for() -> None:
    lines = [json.loads(line) for line in run(LOGGING.format(json=True)).splitlines()]
    assert [line["event"] for line in lines] == ["ours", "theirs 4", "failed"]
    assert [line["level"] for line in lines] == ["info", "info", "error"]
    assert all(line["request_id"] == "r-1" for line in lines)
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert lines[0]["images"] == 3
    assert "ZeroDivisionError" in lines[2]["exception"]


def test_log_lines_are_for_people_otherwise() -> None:
    said = run(LOGGING.format(json=False))
    assert "images=3" in said
    assert "theirs 4" in said
    assert "secret" not in said
    assert "unheard" not in said


WORKER = """
from app.observe.metrics import Metrics
metrics = Metrics()
metrics.count_batch(2, 0.1)
import sys
sys.stderr.write(metrics.exposition().decode())
"""


def test_workers_figures_are_summed(tmp_path: Path) -> None:
    run(WORKER, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert "digits_batch_images_sum 4.0" in run(WORKER, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
