"""More work than there is time or room for: refusals, deadlines, clients that go.

The model waits at a gate that the test opens, so that nothing here depends on how long work takes.
"""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import png, spoken
from tests.faults.conftest import Gate, gated
from tests.faults.server import (
    GOLDEN,
    Reply,
    Server,
    assert_unharmed,
    file_part,
    multipart,
    read_reply,
    request,
    serving,
    wait_until,
)

MAX_WAITING_IMAGES = 40
LARGE_BODY_BYTES = 600_000
"""Two of them have no room at once, nor has one beside another what is kept for small bodies."""
JOB = 16
"""Images of a request; two of them leave room for half of one."""


@pytest.fixture(scope="module")
def server(gated_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log_file = tmp_path_factory.mktemp("load") / "log"
    settings = {
        "worker_threads": 1,
        "inline_cost_pixels": 0,  # the event loop must not wait at the gate
        "max_images": JOB,
        "max_waiting_images": MAX_WAITING_IMAGES,
        "max_body_bytes": LARGE_BODY_BYTES,
        "body_budget_bytes": 1_000_000,
        "working_budget_bytes": 16 * 2**20,
    }
    with serving(gated_models, log_file, **settings) as server:
        yield server


def predict(images: int, **headers: str) -> bytes:
    """A request with so many images, small enough to be parsed at once."""
    body, kind = multipart(*[file_part(png(gated(spoken(7))))] * images)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", "/predict?normalize=false", {"content-type": kind} | named, body)


@contextmanager
def busy(server: Server, gate: Gate, jobs: int = 2) -> Iterator[None]:
    """That many jobs under way, the first of them in work; they are right in the end."""
    gate.shut()
    with ThreadPoolExecutor(jobs) as clients:
        try:
            under_way = [clients.submit(server.exchange, predict(JOB)) for _ in range(jobs)]
            wait_until(lambda: server.metric("digits_waiting_images") == jobs * JOB)
            yield
        finally:
            gate.open()
        for job in under_way:
            assert_right(job.result())
    wait_until(lambda: server.metric("digits_waiting_images") == 0)


def assert_right(reply: Reply) -> None:
    assert reply.status == 200
    assert [one["label"] for one in reply.json["predictions"]] == [7] * JOB


def test_a_full_queue_refuses_and_says_when_to_come_back(server: Server, gate: Gate) -> None:
    with busy(server, gate):
        refusal = server.exchange(predict(JOB))
        assert refusal.problem == "queue-full"
        assert refusal.status == 503
        assert refusal.headers["retry-after"] == "1"


def test_a_full_queue_is_in_nobody_elses_way(server: Server, gate: Gate) -> None:
    with busy(server, gate):
        for path in ("/healthz", "/readyz", "/livez", "/metrics", "/model", "/"):
            assert server.get(path).status == 200
        assert server.metric("digits_waiting_images") == 2 * JOB  # they waited for none of it


def test_a_deadline_that_passes_costs_no_work(server: Server, gate: Gate) -> None:
    before = server.metric("digits_batch_images_sum")
    with busy(server, gate):
        refusal = server.exchange(predict(4, x_deadline_seconds="0.01"))
        assert refusal.problem == "deadline-exceeded"
        assert refusal.status == 504
    assert server.metric("digits_batch_images_sum") - before == 2 * JOB


def test_who_goes_away_while_waiting_costs_no_work(server: Server, gate: Gate) -> None:
    before = server.metric("digits_batch_images_sum")
    gone = 'digits_http_request_duration_seconds_count{method="POST",route="/predict",status="499"}'
    left = server.metric(gone)
    with busy(server, gate):
        with server.connect() as connection:
            connection.sendall(predict(8))
            wait_until(lambda: server.metric("digits_waiting_images") == 2 * JOB + 8)
        wait_until(lambda: server.metric(gone) == left + 1)
    assert server.metric("digits_batch_images_sum") - before == 2 * JOB


def test_who_goes_away_during_inference_gives_the_places_back_when_it_ends(
    server: Server, gate: Gate
) -> None:
    for _ in range(5):
        gate.shut()
        with server.connect() as gone:
            gone.sendall(predict(JOB))
            wait_until(lambda: server.metric("digits_waiting_images") == JOB)
        gate.open()
        wait_until(lambda: server.metric("digits_waiting_images") == 0)
    assert server.metric("digits_body_bytes") == 0
    assert server.metric("digits_working_bytes") == 0
    assert_right(server.exchange(predict(JOB)))


def test_a_refused_connection_can_be_used_again(server: Server, gate: Gate) -> None:
    with busy(server, gate), server.connect() as connection:
        connection.sendall(predict(JOB))
        assert read_reply(connection).problem == "queue-full"
        connection.sendall(request("GET", "/livez"))
        assert read_reply(connection).status == 200


def upload(**headers: str) -> tuple[bytes, bytes]:
    """A large request, and the rest of its body that it is right with."""
    body = GOLDEN + bytes(LARGE_BODY_BYTES - len(GOLDEN))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    whole = request("POST", "/predict?normalize=false", {"content-type": "image/png"} | named, body)
    return whole[:-1000], whole[-1000:]


@contextmanager
def unfinished(server: Server) -> Iterator[socket.socket]:
    """An upload that takes its room and does not end."""
    begin, _ = upload()
    with server.connect() as connection:
        connection.sendall(begin)
        wait_until(lambda: server.metric("digits_body_bytes") == LARGE_BODY_BYTES)
        yield connection
    wait_until(lambda: server.metric("digits_body_bytes") == 0)


def test_small_requests_find_room_beside_uploads_that_do_not_end(server: Server) -> None:
    with unfinished(server):
        for _ in range(20):
            assert server.predict(GOLDEN, query="?normalize=false").status == 200


def test_an_upload_without_room_waits_within_its_deadline(server: Server) -> None:
    with unfinished(server):
        refusal = server.exchange(*upload(x_deadline_seconds="0.2"))
        assert refusal.problem == "queue-full"
        assert refusal.status == 503
        assert refusal.headers["retry-after"] == "1"


def test_an_upload_that_waits_has_its_turn_when_there_is_room(server: Server) -> None:
    with server.connect() as second, unfinished(server) as first:
        for segment in upload():
            second.sendall(segment)
        first.sendall(upload()[1])
        assert read_reply(first).status == 200
        assert read_reply(second).status == 200


def test_who_goes_away_while_waiting_for_room_leaves_none_taken(server: Server) -> None:
    with unfinished(server) as first:
        with server.connect() as gone:
            gone.sendall(upload()[0])
        first.sendall(upload()[1])
        assert read_reply(first).status == 200
    assert server.exchange(*upload()).status == 200


def test_an_image_that_needs_more_memory_than_there_is_is_not_decoded(server: Server) -> None:
    file = bytearray(png(np.zeros((10, 10), np.uint8)))
    file[16:24] = struct.pack(">II", 5000, 5000)
    file[29:33] = struct.pack(">I", zlib.crc32(file[12:29]))
    refusal = server.predict(bytes(file))
    assert refusal.problem == "image-too-large"
    assert refusal.status == 422
    assert "16 MiB" in refusal.json["detail"]
    assert server.metric("digits_working_bytes") == 0


def test_afterwards_nothing_is_held(server: Server) -> None:
    assert_unharmed(server)
    for level in ("waiting_images", "body_bytes", "working_bytes"):
        assert server.metric(f"digits_{level}") == 0
