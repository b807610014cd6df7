"""Stalls of a server are seen from outside, and its answers are counted."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import processes, stress
from benchmarks.bodies import Body
from benchmarks.servers import Server

STALL_SECONDS = 0.3


class Turn(socketserver.StreamRequestHandler):
    """Answers requests one at a time, whoever sends them, like an event loop; a POST stalls it."""

    loop = threading.Lock()

    def handle(self) -> None:
        """Answer until the client leaves."""
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) != b"\r\n":
                name, _, value = header.lower().partition(b":")
                length = int(value) if name == b"content-length" else length
            self.rfile.read(length)
            with self.loop:
                if line.startswith(b"POST"):
                    time.sleep(STALL_SECONDS)
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def stalling() -> Iterator[int]:
    with Threads(("127.0.0.1", 0), Turn) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_stall_is_the_worst_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress, "WORKERS", 1)
    monkeypatch.setattr(processes, "marked", lambda mark: [os.getpid()])
    monkeypatch.setattr(processes, "send", lambda number, of: None)  # not to this process
    with stalling() as port:
        server = Server("stalling", f"http://127.0.0.1:{port}", "mark")
        with stress.probing(server) as probes:
            ask = Body(b"ask")
            outcome = stress.measure(probes, lambda: stress.send_together(port, "/predict", ask, 3))
    assert outcome.statuses == {"200": 3}
    assert outcome.record()["status_200"] == 3
    assert outcome.figures["health_worst_ms"] > 500 * STALL_SECONDS


def test_a_probe_tells_for_how_long_it_did_not_run() -> None:
    with stalling() as port, stress._probe(port) as process:
        probes = stress.Probes()
        probes.running.append(process)
        probes.report()
        process.send_signal(signal.SIGSTOP)
        time.sleep(STALL_SECONDS)
        process.send_signal(signal.SIGCONT)
        assert probes.report()["late_ms"] > 500 * STALL_SECONDS


def test_requests_without_an_answer_are_counted() -> None:
    with stalling() as port:
        pass  # nobody listens any more
    assert stress.send_together(port, "/predict", Body(b"ask"), 2) == {"none": 2}
