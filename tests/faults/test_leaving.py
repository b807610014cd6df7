"""How a process ends: at full load, and before it has begun."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import png, spoken
from tests.faults.conftest import Gate, gated
from tests.faults.server import (
    Server,
    file_part,
    multipart,
    read_reply,
    request,
    serving,
    start,
    wait_until,
)

CLIENTS = 16
IMAGES = 4
BODY, KIND = multipart(*[file_part(png(gated(spoken(7))))] * IMAGES)
ASK = request("POST", "/predict?normalize=false", {"content-type": KIND}, BODY)

DRAIN_SECONDS = 60
EXIT_SECONDS = 90


def ask_until_told_to_go(server: Server) -> int:
    """How many requests are answered on one connection, rightly, until an answer is the last."""
    answered = 0
    with server.connect() as connection:
        while True:
            connection.sendall(ASK)
            reply = read_reply(connection)
            assert reply.status == 200
            assert [one["label"] for one in reply.json["predictions"]] == [7] * IMAGES
            answered += 1
            if reply.headers["connection"] == "close":
                return answered


@contextmanager
def asking(server: Server, gate: Gate) -> Iterator[None]:
    """Full load until the server goes; what is asked meanwhile waits at the gate."""
    gate.shut()
    with ThreadPoolExecutor(CLIENTS) as clients:
        try:
            answered = [clients.submit(ask_until_told_to_go, server) for _ in range(CLIENTS)]
            wait_until(lambda: server.metric("digits_waiting_images") == CLIENTS * IMAGES)
            yield
        finally:
            gate.open()
        assert all(count.result() > 0 for count in answered)


def test_at_full_load_every_accepted_request_is_answered(
    gated_models: Path, gate: Gate, tmp_path: Path
) -> None:
    settings = {"drain_notice_seconds": 2, "drain_seconds": DRAIN_SECONDS}
    with serving(gated_models, tmp_path / "log", **settings) as server:
        with asking(server, gate):
            assert server.get("/readyz").status == 200
            server.process.send_signal(signal.SIGTERM)
            refusal = wait_until(lambda: (r := server.get("/readyz")).status == 503 and r)
            assert refusal.json["status"] == "unavailable"
            assert server.get("/healthz").status == 200
        server.process.wait(EXIT_SECONDS)
        assert "Traceback" not in server.log


def test_a_signal_during_start_up_ends_it(stand_in_models: Path, tmp_path: Path) -> None:
    server = start(stand_in_models, tmp_path / "log")
    wait_until(lambda: "Waiting for application startup" in server.log)
    time.sleep(0.2)  # well into the loading of TensorFlow
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(EXIT_SECONDS) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert "ready " not in server.log
