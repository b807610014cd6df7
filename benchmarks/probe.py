"""A process that asks a server for `/healthz` all the time and keeps the worst latency.

`python -m benchmarks.probe PORT` prints `ready`, and answers every line on its standard input with
a JSON object of the time since the line before: `worst_ms`, `p50_ms` and `answers`; and `late_ms`,
the longest time for which it did not run itself though it only waited: what nobody on this machine
can answer within. It is a process of its own, with priority where that is allowed, so that the
delays are the server's and not those of the client that sends the load.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

CONNECTIONS = 2
PERIOD_SECONDS = 0.01
"""Pause on a connection between an answer and the next request: 200 requests a second in all."""
WAIT_SECONDS = PERIOD_SECONDS / 5
"""Longest wait for an answer before the pauses are looked at again."""
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
PRIORITY = -10


@dataclass(slots=True)
class Probe:
    """A connection: with a request on its way since `sent`, or idle until `due` (seconds)."""

    socket: socket.socket
    sent: float | None = None
    due: float = 0.0
    received: bytes = b""


class HealthProbes:
    """Requests for `/healthz` on several connections, and their latencies."""

    def __init__(self, port: int) -> None:
        """Connect to a port of this machine. Raises OSError."""
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.latencies: list[float] = []
        self.late = 0.0
        for _ in range(CONNECTIONS):
            self._connect()

    def run(self) -> None:
        """Probe until the standard input ends; report at every line."""
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        woke = time.perf_counter()
        while True:
            ready = self.selector.select(WAIT_SECONDS)
            before, woke = woke, time.perf_counter()
            self.late = max(self.late, woke - before - WAIT_SECONDS)
            for key, _ in ready:
                if key.data:
                    self._read(key.data)
                elif sys.stdin.readline():
                    print(json.dumps(self.report()), flush=True)
                else:
                    return
            self.send()

    def send(self) -> None:
        """Send a request on every connection whose pause is over."""
        now = time.perf_counter()
        for probe in self._probes():
            if probe.sent is None and probe.due <= now:
                probe.sent = now
                with suppress(OSError):  # the reader sees it
                    probe.socket.sendall(REQUEST)

    def report(self) -> dict[str, float]:
        """Return the latencies since the last report, of unanswered requests so far, and reset."""
        now = time.perf_counter()
        open_since = [probe.sent for probe in self._probes() if probe.sent is not None]
        waits = [*self.latencies, *(now - sent for sent in open_since)]
        answers, self.latencies = len(self.latencies), []
        late, self.late = self.late, 0.0
        return {
            "late_ms": 1000 * late,
            "worst_ms": 1000 * max(waits, default=0.0),
            "p50_ms": 1000 * statistics.median(waits) if waits else 0.0,
            "answers": answers,
        }

    def _connect(self) -> None:
        opened = socket.create_connection(("127.0.0.1", self.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(opened, selectors.EVENT_READ, Probe(opened))

    def _probes(self) -> list[Probe]:
        return [key.data for key in self.selector.get_map().values() if key.data]

    def _read(self, probe: Probe) -> None:
        data = b""
        with suppress(OSError):
            data = probe.socket.recv(65536)
        if not data:  # a kept connection that the server closed
            self.selector.unregister(probe.socket)
            probe.socket.close()
            self._connect()
            return
        probe.received += data
        if not _is_whole(probe.received):
            return
        now = time.perf_counter()
        if probe.sent is not None:
            self.latencies.append(now - probe.sent)
        probe.received, probe.sent, probe.due = b"", None, now + PERIOD_SECONDS


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(end) and len(body) >= int(line[15:])
    return False


def main(arguments: list[Any]) -> None:
    """Probe the port that is named first."""
    with suppress(OSError):  # not allowed
        os.nice(PRIORITY)
    HealthProbes(int(arguments[0])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
