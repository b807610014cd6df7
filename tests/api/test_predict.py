"""`POST /predict` and the routes beside it, in process, with the stand-in for the model."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from starlette.testclient import TestClient
from starlette.types import Message, Scope
from structlog.testing import capture_logs

from app.api.services import Services
from app.errors import PROBLEMS
from app.serving.limits import Lease
from app.serving.workers import WorkerPool
from tests.conftest import png, spoken

AS_IS = "/predict?normalize=false"
PNG = {"content-type": "image/png"}
GOOD = png(spoken(7))
WIDE = png(np.zeros((200, 201), np.uint8))
LARGE = png(np.random.default_rng(0).integers(0, 255, (150, 150), np.uint8))
"""Too much for the event loop: a worker thread reads it."""


def services(client: TestClient) -> Services:
    """What the lifespan built."""
    built = client.app_state["services"]
    assert isinstance(built, Services)
    return built


class Occupant:
    """An item of work that keeps the one worker thread busy until it is told to end."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.began, self.over = threading.Event(), threading.Event()


def occupy(items: Sequence[Occupant]) -> list[None]:
    for item in items:
        item.began.set()
        item.over.wait()
    return [None] * len(items)


@contextmanager
def occupied(client: TestClient) -> Iterator[None]:
    """The one worker thread is busy until the end."""
    built = services(client)
    pool = built.predictions._workers
    assert isinstance(pool, WorkerPool)
    lease = built.admission.open_lease(time.monotonic() + 600)

    async def submit() -> Occupant:
        occupant = Occupant(lease)
        pool.submit(occupy, occupant, 1)
        return occupant

    assert client.portal
    occupant = client.portal.call(submit)
    occupant.began.wait()
    try:
        yield
    finally:
        occupant.over.set()


@contextmanager
def held(client: TestClient, *, images: int = 0, body: int = 0) -> Iterator[None]:
    """Another request's share of the limits."""
    lease = services(client).admission.open_lease(time.monotonic() + 600)
    with lease:
        lease.charge_images(images)
        lease.charge_chunk(body)
        yield


def labels(response: Any) -> list[int | None]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()["model"] == {"name": "digits", "version": "1"}
    return [prediction["label"] for prediction in response.json()["predictions"]]


def problem(response: Any, status: int, slug: str) -> str:
    """Hold a refusal against its form; returns its detail."""
    document = response.json()
    assert (response.status_code, document["type"]) == (status, f"/problems/{slug}")
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["title"] == PROBLEMS[slug].title
    assert document["request_id"] == response.headers["x-request-id"]
    assert document.keys() == {"type", "title", "status", "detail", "request_id"}
    return str(document["detail"])


def test_one_image_as_the_body(client: TestClient) -> None:
    assert labels(client.post(AS_IS, content=png(spoken(7)), headers=PNG)) == [7]


def test_what_the_bytes_are_decides(client: TestClient) -> None:
    bmp = cv2.imencode(".bmp", spoken(7))[1].tobytes()
    assert labels(client.post(AS_IS, content=bmp, headers=PNG)) == [7]
    part = {"file": ("seven.txt", bmp, "text/plain")}
    assert labels(client.post(AS_IS, files=part)) == [7]


def test_files_of_a_form(client: TestClient) -> None:
    files = [("file", png(spoken(label))) for label in (3, 1, 4)]
    response = client.post(AS_IS, files=files, data={"note": "x"})
    assert labels(response) == [3, 1, 4]


@pytest.mark.parametrize("flat", [False, True], ids=["rows", "flat"])
@pytest.mark.parametrize("share", [False, True], ids=["0-255", "0-1"])
def test_numbers(client: TestClient, flat: bool, share: bool) -> None:
    image: NDArray[Any] = spoken(7, share=1) / 255 if share else spoken(7)
    sent = image.ravel().tolist() if flat else image.tolist()
    assert labels(client.post(AS_IS, json={"image": sent})) == [7]


def test_numbers_of_several_images(client: TestClient) -> None:
    sent = [spoken(label).tolist() for label in (2, 7, 1)]
    assert labels(client.post(AS_IS, json={"images": sent})) == [2, 7, 1]


def test_an_answer_in_full(client: TestClient) -> None:
    response = client.post(AS_IS, content=png(spoken(7)), headers=PNG)
    (prediction,) = response.json()["predictions"]
    assert prediction.keys() == {"label", "confidence", "probabilities", "rejected"}
    assert len(prediction["probabilities"]) == 10
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert prediction["confidence"] == prediction["probabilities"][7]
    assert prediction["rejected"] is None


def test_reasons_not_to_use_an_answer_cost_no_other(client: TestClient) -> None:
    images = [
        spoken(1),
        np.zeros((28, 28), np.uint8),
        spoken(2, score=0.2),
        spoken(3, share=0.3),
        spoken(4),
    ]
    response = client.post(AS_IS, json={"images": [image.tolist() for image in images]})
    assert labels(response) == [1, None, 2, 3, 4]
    assert [one["rejected"] for one in response.json()["predictions"]] == [
        None,
        "blank",
        "not_a_digit",
        "uncertain",
        None,
    ]
    assert response.json()["predictions"][1]["probabilities"] == [0.1] * 10
    assert response.json()["predictions"][1]["confidence"] == 0.1


def test_include_seen(client: TestClient) -> None:
    page = np.full((90, 70), 255, np.uint8)
    cv2.line(page, (35, 20), (35, 69), 0, 6)
    response = client.post("/predict?include=seen", content=png(page), headers=PNG)
    seen = response.json()["predictions"][0]["seen"]
    assert seen.keys() == {"image", "inverted", "box", "warnings"}
    assert seen["inverted"] is True
    assert np.abs(np.subtract(seen["box"], (32, 20, 38, 70))).max() <= 3
    kind, data = seen["image"].split(",")
    assert kind == "data:image/png;base64"
    raw = np.frombuffer(base64.b64decode(data), np.uint8)
    digit = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    assert digit is not None
    assert digit.shape == (28, 28)
    assert digit.max() > 200


def test_seen_as_it_is(client: TestClient) -> None:
    image = spoken(5)
    response = client.post(f"{AS_IS}&include=seen", content=png(image), headers=PNG)
    seen = response.json()["predictions"][0]["seen"]
    assert (seen["inverted"], seen["box"], seen["warnings"]) == (False, [0, 0, 28, 28], [])
    raw = np.frombuffer(base64.b64decode(seen["image"].split(",")[1]), np.uint8)
    digit = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    assert digit is not None
    assert (digit == image).all()


@pytest.mark.parametrize(
    ("request_", "status", "slug"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "malformed-body"),
        ({"content": bytes(200_001), "headers": PNG}, 413, "body-too-large"),
        ({"content": iter([bytes(100_000)] * 3), "headers": PNG}, 413, "body-too-large"),
        (
            {"content": GOOD, "headers": {"content-type": "video/mp4"}},
            415,
            "unsupported-content-type",
        ),
        ({"data": {"file": "x"}}, 422, "bad-pixels"),
        (
            {"content": GOOD, "headers": PNG | {"content-encoding": "gzip"}},
            415,
            "unsupported-encoding",
        ),
        ({"content": b"text", "headers": PNG}, 415, "not-an-image"),
        ({"content": GOOD[:-20], "headers": PNG}, 422, "broken-image"),
        ({"content": WIDE, "headers": PNG}, 422, "image-too-large"),
        ({"content": b"", "headers": PNG}, 422, "empty-batch"),
        ({"files": {"picture": GOOD}}, 422, "unknown-field"),
        ({"files": [("file", GOOD)] * 9}, 422, "too-many-images"),
        ({"json": {"image": [[256]]}}, 422, "bad-pixels"),
        ({"json": {"image": [[0, 1]]}}, 422, "bad-pixels"),
        ({"json": {"image": [[0] * 200] * 201}, "params": {}}, 422, "image-too-large"),
        ({"json": {"image": [[100] * 100] * 250}}, 413, "body-too-large"),
        (
            {"content": b'{"image": [[NaN]]}', "headers": {"content-type": "application/json"}},
            422,
            "bad-pixels",
        ),
    ],
    ids=[
        "not JSON",
        "too many bytes",
        "too many bytes in chunks",
        "another content type",
        "urlencoded",
        "compressed",
        "no image",
        "truncated",
        "too many pixels",
        "no bytes",
        "other field",
        "too many images",
        "out of range",
        "not 28×28",
        "an array of too many pixels",
        "too much JSON",
        "not a number",
    ],
)
def test_bad_input(client: TestClient, request_: dict[str, Any], status: int, slug: str) -> None:
    before = client.post(AS_IS, content=GOOD, headers=PNG).content
    response = client.post(AS_IS, **request_)
    assert problem(response, status, slug)
    assert "retry-after" not in response.headers
    admission = services(client).admission
    assert (admission.images.held, admission.bodies.held, admission.working.held) == (0, 0, 0)
    assert client.post(AS_IS, content=GOOD, headers=PNG).content == before


def test_a_bad_image_of_several_is_named(client: TestClient) -> None:
    files = [("file", GOOD), ("file", b"text"), ("file", GOOD)]
    assert problem(client.post(AS_IS, files=files), 415, "not-an-image").startswith("Image 1: ")


def test_bad_parameters_are_refused(client: TestClient) -> None:
    detail = problem(client.post("/predict?x=1", content=GOOD, headers=PNG), 422, "bad-parameter")
    assert "normalize and include" in detail
    headers = PNG | {"X-Deadline-Seconds": "soon"}
    problem(client.post("/predict", content=GOOD, headers=headers), 422, "bad-parameter")


def test_a_failure_inside_is_ours(client: TestClient) -> None:
    image = spoken(7)
    image[0, 11] = 255
    detail = problem(client.post(AS_IS, content=png(image), headers=PNG), 500, "internal-error")
    assert "assert" not in detail
    assert labels(client.post(AS_IS, content=GOOD, headers=PNG)) == [7]


def test_figures_that_are_not_finite_are_a_failure(client: TestClient) -> None:
    image = spoken(7)
    image[0, 12] = 255
    problem(client.post(AS_IS, content=png(image), headers=PNG), 500, "internal-error")


def test_too_many_images_wait(client: TestClient) -> None:
    with held(client, images=12):
        response = client.post(AS_IS, content=GOOD, headers=PNG)
        problem(response, 503, "queue-full")
        assert response.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        assert "digits_waiting_images 12.0" in client.get("/metrics").text
    assert labels(client.post(AS_IS, content=GOOD, headers=PNG)) == [7]


def test_a_batch_that_does_not_fit_beside_those_that_wait(client: TestClient) -> None:
    with held(client, images=11):
        files = [("file", GOOD)] * 2
        problem(client.post(AS_IS, files=files), 503, "queue-full")
        assert labels(client.post(AS_IS, content=GOOD, headers=PNG)) == [7]


def test_too_many_bytes_are_held(client: TestClient) -> None:
    with held(client, body=300_000), held(client, body=99_990):
        headers = PNG | {"X-Deadline-Seconds": "0.05"}
        response = client.post(AS_IS, content=GOOD, headers=headers)
        problem(response, 503, "queue-full")
        assert "digits_body_bytes 399990.0" in client.get("/metrics").text


def test_the_deadline_passes_while_the_request_waits(client: TestClient) -> None:
    with occupied(client):
        headers = PNG | {"X-Deadline-Seconds": "0.05"}
        response = client.post("/predict", content=LARGE, headers=headers)
        problem(response, 504, "deadline-exceeded")
        assert services(client).admission.images.held == 1  # until a thread has seen it
    assert labels(client.post(AS_IS, content=GOOD, headers=PNG)) == [7]


def test_a_deadline_has_passed_before_anything_is_parsed(client: TestClient) -> None:
    headers = PNG | {"X-Deadline-Seconds": "1e-9"}
    problem(client.post(AS_IS, content=b"no image", headers=headers), 504, "deadline-exceeded")


def test_nothing_is_admitted_while_the_process_stops(client: TestClient) -> None:
    admission = services(client).admission
    admission.close()
    try:
        response = client.post(AS_IS, content=GOOD, headers=PNG)
    finally:
        admission.closed = False
    problem(response, 503, "draining")
    assert response.headers["retry-after"] == "1"


def test_a_deadline_does_not_stop_what_has_begun(client: TestClient) -> None:
    headers = PNG | {"X-Deadline-Seconds": "1000"}
    assert labels(client.post(AS_IS, content=GOOD, headers=headers)) == [7]


def call(client: TestClient, app: FastAPI, body: bytes, *rest: Message) -> Future[list[Message]]:
    """POST a PNG in ASGI's own words, with what the client does `rest` of the time."""
    sent: list[Message] = []
    incoming: list[Message] = [{"type": "http.request", "body": body}, *rest]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> list[Message]:
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "raw_path": b"/predict",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(b"content-type", b"image/png")],
            "client": ("test", 1),
            "server": ("test", 80),
            "state": dict(client.app_state),
        }
        await app(scope, receive, send)
        return sent

    assert client.portal
    return client.portal.start_task_soon(run)


def test_what_nobody_waits_for_is_given_up(client: TestClient, app: FastAPI) -> None:
    with occupied(client), capture_logs() as lines:
        start, body = call(client, app, LARGE, {"type": "http.disconnect"}).result()
        assert start["status"] == 499
        assert json.loads(body["body"])["type"] == "/problems/client-gone"
    assert [line for line in lines if line["log_level"] in ("error", "critical")] == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, len(GOOD)), max_size=5))
def test_a_body_in_pieces_is_the_same_body(client: TestClient, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(GOOD)]
    pieces = [GOOD[start:end] for start, end in pairwise(edges)]
    response = client.post(AS_IS, content=iter(pieces), headers=PNG)
    assert labels(response) == [7]


def test_a_path_with_a_slash_is_the_same(client: TestClient) -> None:
    response = client.post("/predict/?normalize=false", content=GOOD, headers=PNG)
    assert labels(response) == [7]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
def test_health(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    model = None if path == "/livez" else {"name": "digits", "version": "1"}
    assert response.json() == {"status": "ok", "model": model, "detail": None}


def test_health_does_not_wait_behind_predictions(client: TestClient) -> None:
    with occupied(client):
        for path in ["/healthz", "/readyz", "/livez", "/metrics", "/model"]:
            assert client.get(path).status_code == 200


def test_health_says_that_a_newer_version_was_rejected(client: TestClient) -> None:
    services(client).registry.rejected = "Version 2: golden.npz is not the listed file."
    assert "golden.npz" in client.get("/healthz").json()["detail"]
    assert client.get("/healthz").status_code == 200
    services(client).registry.rejected = None


def test_not_ready_while_draining(client: TestClient) -> None:
    drain = services(client).health._drain
    drain.began = True  # type: ignore[misc]
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert "stop" in response.json()["detail"]
    assert client.get("/healthz").status_code == 200
    drain.began = False  # type: ignore[misc]
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "path", ["/healthz", "/livez", "/metrics", "/model", "/", "/docs", "/redoc"]
)
def test_head_is_answered_as_get(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == client.get(path).status_code == 200


def test_the_card(client: TestClient) -> None:
    card = client.get("/model").json()
    assert (card["name"], card["version"]) == ("digits", "1")
    assert card["thresholds"] == {"digit_score": 0.5, "confidence": 0.5}


def test_metrics_count_what_was_answered(client: TestClient) -> None:
    def figures() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
        }

    before = figures()
    client.post(AS_IS, json={"images": [spoken(1).tolist(), np.zeros((28, 28)).tolist()]})
    client.post(AS_IS, content=b"text", headers=PNG)
    after = figures()
    count = "digits_http_request_duration_seconds_count"
    for name in [
        count + '{method="POST",route="/predict",status="200"}',
        count + '{method="POST",route="/predict",status="415"}',
        'digits_predictions_total{label="1",version="1"}',
        'digits_predictions_total{label="none",version="1"}',
        'digits_rejections_total{reason="blank"}',
        "digits_batch_images_sum",
    ]:
        assert after[name] - before.get(name, 0) == 1, name
    assert after["digits_waiting_images"] == 0


@pytest.mark.parametrize("slug", PROBLEMS)
def test_problems_are_documented_at_their_address(client: TestClient, slug: str) -> None:
    response = client.get(f"/problems/{slug}")
    assert response.status_code == 200
    known = PROBLEMS[slug]
    assert response.json()["remedy"] == known.remedy
    assert response.json()["status"] == known.status


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/problems/nothing", 404, "not-found"),
        ("GET", "/web/nothing.js", 404, "not-found"),
        ("GET", "/predict", 405, "method-not-allowed"),
        ("DELETE", "/healthz", 405, "method-not-allowed"),
        ("POST", "/web/page.js", 405, "method-not-allowed"),
    ],
)
def test_requests_for_what_is_not_there(
    client: TestClient, method: str, path: str, status: int, slug: str
) -> None:
    response = client.request(method, path)
    problem(response, status, slug)
    if path in {"/predict", "/healthz"}:
        assert response.headers["allow"] == {"/predict": "POST", "/healthz": "GET"}[path]


def test_the_page(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "<canvas" in response.text


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_pages_run_only_what_they_brought(client: TestClient, path: str) -> None:
    shown = client.get(path)
    assert "default-src 'self'" in shown.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert shown.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_pages_load_nothing_that_is_not_there(client: TestClient, path: str) -> None:
    named = re.findall(r'(?:src|href)="(?:\./)?(web/[^"]+)"', client.get(path).text)
    assert len(named) >= 2
    for name in named:
        assert client.get(f"/{name}").status_code == 200
