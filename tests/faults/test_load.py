"""More work than there is time for: refusals, deadlines, clients that go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import spoken
from tests.faults.server import Reply, Server, read_reply, request, serving, wait_until

MAX_WAITING_IMAGES = 40
JOB = 16
"""Images of one request here: two model calls, of a hundred milliseconds or more."""

BATCH = json.dumps({"images": [spoken(7).tolist()] * JOB}).encode()
HEADERS = {"content-type": "application/json"}
PATH = "/predict?normalize=false"


@pytest.fixture(scope="module")
def server(slow_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log_file = tmp_path_factory.mktemp("load") / "log"
    settings = {
        "inference_threads": 1,
        "max_batch": 8,
        "max_images": JOB,
        "max_waiting_images": MAX_WAITING_IMAGES,
        "retry_after_seconds": 3,
    }
    with serving(slow_models, log_file, **settings) as server:
        yield server


def ask(server: Server, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.exchange(request("POST", PATH, HEADERS | named, BATCH))


@contextmanager
def busy(server: Server, jobs: int = 2) -> Iterator[list[Future[Reply]]]:
    """That many jobs under way; they are right in the end."""
    with ThreadPoolExecutor(jobs) as clients:
        under_way = [clients.submit(ask, server) for _ in range(jobs)]
        wait_until(lambda: server.metric("digits_waiting_images") == jobs * JOB)
        yield under_way
        for job in under_way:
            assert_right(job.result())
    wait_until(lambda: server.metric("digits_waiting_images") == 0)


def assert_right(reply: Reply) -> None:
    assert reply.status == 200
    assert [one["label"] for one in reply.json["predictions"]] == [7] * JOB


def test_a_full_queue_refuses_and_says_when_to_come_back(server: Server) -> None:
    with busy(server):
        refusal = ask(server)
        assert refusal.problem == "queue-full"
        assert refusal.status == 503
        assert refusal.headers["retry-after"] == "3"


def test_a_full_queue_is_in_nobody_elses_way(server: Server) -> None:
    with busy(server):
        for path in ("/healthz", "/readyz", "/livez", "/metrics", "/model", "/"):
            assert server.get(path).status == 200
        assert server.metric("digits_waiting_images") > 0  # they waited for none of it


def test_a_deadline_that_passes_costs_no_work(server: Server) -> None:
    with busy(server):
        before = server.metric("digits_batch_images_sum")
        small = json.dumps({"images": [spoken(7).tolist()] * 4}).encode()
        late = HEADERS | {"x-deadline-seconds": "0.01"}
        refusal = server.exchange(request("POST", PATH, late, small))
        assert refusal.problem == "deadline-exceeded"
        assert refusal.status == 504
    assert server.metric("digits_batch_images_sum") - before <= 2 * JOB


def test_who_goes_away_while_waiting_costs_no_work(server: Server) -> None:
    with busy(server):
        before = server.metric("digits_batch_images_sum")
        small = json.dumps({"images": [spoken(7).tolist()] * 8}).encode()
        with server.connect() as gone:
            gone.sendall(request("POST", PATH, HEADERS, small))
            wait_until(lambda: server.metric("digits_waiting_images") == 2 * JOB + 8)
        wait_until(lambda: server.metric("digits_waiting_images") <= 2 * JOB)
    assert server.metric("digits_batch_images_sum") - before <= 2 * JOB


def test_who_goes_away_during_inference_gives_the_places_back_when_it_ends(server: Server) -> None:
    for _ in range(5):
        with server.connect() as gone:
            gone.sendall(request("POST", PATH, HEADERS, BATCH))
            wait_until(lambda: server.metric("digits_waiting_images") == JOB)
        wait_until(lambda: server.metric("digits_waiting_images") == 0)
    assert server.metric("digits_held_bytes") == 0
    assert_right(ask(server))


def test_a_refused_connection_can_be_used_again(server: Server) -> None:
    with busy(server), server.connect() as connection:
        connection.sendall(request("POST", PATH, HEADERS, BATCH))
        assert read_reply(connection).problem == "queue-full"
        connection.sendall(request("GET", "/livez"))
        assert read_reply(connection).status == 200
