from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.main import create_app
from app.observe.traces import TraceMiddleware, trace_id_of
from app.settings import Settings
from tests.conftest import png, spoken

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra `traces`")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
STEPS = ["queue", "decode", "normalize", "inference"]


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, and keeps them."""

    spans: list[Any]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> Any:
        found = [span for span in self.spans if span.name == name]
        assert len(found) == 1, [span.name for span in self.spans]
        return found[0]


class Take(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1 import (  # noqa: PLC0415
            trace_service_pb2 as service,
        )

        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            import gzip  # noqa: PLC0415

            body = gzip.decompress(body)
        for resource in service.ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(("127.0.0.1", 0), Take) as server:
        server.spans = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def test_a_request_and_its_steps_are_spans_of_the_callers_trace(
    stand_in_models: Path, collector: Collector
) -> None:
    settings = Settings(models_dir=stand_in_models, traces_endpoint=collector.endpoint)
    with TestClient(create_app(settings)) as client:
        headers = {"content-type": "image/png", "traceparent": TRACEPARENT, "x-request-id": "mine"}
        assert client.post("/predict", content=png(spoken(7)), headers=headers).status_code == 200
    # What was not sent is sent when the service stops.
    request = collector.named("POST /predict")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "digits.request_id": "mine",
    }
    at = request.start_time_unix_nano
    for name in STEPS:
        step = collector.named(name)
        assert step.trace_id == request.trace_id
        assert step.parent_span_id == request.span_id
        assert at <= step.start_time_unix_nano + 1_000_000  # two clocks
        assert step.start_time_unix_nano <= step.end_time_unix_nano
        at = step.end_time_unix_nano


def test_what_fails_has_its_status_and_no_steps(
    stand_in_models: Path, collector: Collector
) -> None:
    settings = Settings(models_dir=stand_in_models, traces_endpoint=collector.endpoint)
    with TestClient(create_app(settings)) as client:
        assert client.post("/predict", content=b"nothing").status_code == 415
        assert client.get("/nowhere").status_code == 404
    assert attributes(collector.named("POST /predict"))["http.response.status_code"] == 415
    assert attributes(collector.named("GET"))["http.response.status_code"] == 404
    assert not {span.name for span in collector.spans} & set(STEPS)


def test_a_caller_that_does_not_sample_has_no_spans(
    stand_in_models: Path, collector: Collector
) -> None:
    settings = Settings(models_dir=stand_in_models, traces_endpoint=collector.endpoint)
    with TestClient(create_app(settings)) as client:
        client.get("/healthz", headers={"traceparent": TRACEPARENT[:-1] + "0"})
    assert collector.spans == []


def test_off_there_is_no_middleware(client: TestClient) -> None:
    application: Any = client.app
    assert TraceMiddleware not in {each.cls for each in application.user_middleware}


def test_the_log_has_the_callers_trace(stand_in_models: Path) -> None:
    settings = Settings(models_dir=stand_in_models, log_requests=True)
    with capture_logs() as lines, TestClient(create_app(settings)) as client:
        client.get("/healthz", headers={"traceparent": TRACEPARENT})
        client.get("/healthz", headers={"traceparent": "x"})
    logged = [line for line in lines if line["event"] == "request"]
    assert [line.get("trace_id") for line in logged] == [TRACE, None]


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (TRACEPARENT, TRACE),
        (f"cc-{TRACE}-{PARENT}-01-of-the-future", TRACE),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
        ("", None),
        ("00-x", None),
    ],
)
def test_only_a_sane_traceparent_is_a_trace(value: str, trace: str | None) -> None:
    assert trace_id_of([(b"traceparent", value.encode())]) == trace
    assert trace_id_of([]) is None
