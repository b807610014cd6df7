"""Open-loop load: a request is due every 1/rate seconds, whatever became of those before it.

Latency counts from when a request was due, so that a server that stalls pays for everyone who came
meanwhile; a closed loop would stop asking and hide it. One plain loop sends what is due and takes
what has come, to a fifth of a millisecond (an event loop's timers tick in whole ones): whatever the
driver computes is missing to the server.
"""

from __future__ import annotations

import gc
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from benchmarks.bodies import Body
from benchmarks.wrk import Figures

CONNECTIONS = 128
TICK_SECONDS = 0.0001
"""How long it sleeps while nothing is due and nothing came, where latency is to be measured."""
SEND_BUFFER_BYTES = 2**20
"""Room for a whole request, so that sending waits for no server."""
GRACE_SECONDS = 1.0
"""How long answers are waited for after the last request was due."""


@dataclass(slots=True, eq=False)
class Connection:
    """A kept connection: idle, or with one request on its way."""

    socket: socket.socket
    due: float = 0.0
    sent: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def answer(self) -> tuple[str, bytes] | None:
        """Status and body of the answer, once the whole of it is there."""
        head, end, body = bytes(self.received).partition(b"\r\n\r\n")
        if not end or not is_whole(head, body):
            return None
        self.received.clear()
        return head.split(b" ", 2)[1].decode(), body


class Answer(NamedTuple):
    """What became of a request: when it was due, when it left, when its answer was whole."""

    status: str
    body: bytes
    due: float
    sent: float
    came: float


def is_whole(head: bytes, body: bytes) -> bool:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
        if line.startswith(b"transfer-encoding:"):
            return body.endswith(b"0\r\n\r\n")
    raise ValueError("An answer without a length.")


class OpenLoop:
    """One run at a constant rate against one server, the bodies in turn."""

    def __init__(
        self,
        url: str,
        sent: Sequence[Body],
        *,
        connections: int = CONNECTIONS,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self.tick_seconds = tick_seconds
        address = urlsplit(url)
        target = f"{address.path or '/'}?{address.query}".removesuffix("?")
        self.requests = cycle([_request(address.netloc, target, body) for body in sent])
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()  # due, and no connection was idle
        self.answers: list[Answer] = []
        self.broken = 0  # connections that the server closed on a request
        self.selector = selectors.DefaultSelector()
        for _ in range(connections):
            one = socket.create_connection((address.hostname or "", address.port or 80))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            connection = Connection(one)
            self.selector.register(one, selectors.EVENT_READ, connection)
            self.idle.append(connection)

    def run(self, *, rate: float, seconds: float) -> Figures:
        """Latency in milliseconds, how many a second were answered meanwhile, how many failed."""
        total, end = self.send(rate, seconds)
        answered = [one for one in self.answers if one.status == "200"]
        # What was never answered waited at least as long as it was waited for.
        lost = [seconds + GRACE_SECONDS] * (total - len(answered))
        waits = 1000 * np.array([one.came - one.due for one in answered] + lost)
        return {
            "offered_per_second": total / seconds,
            "answered_per_second": sum(one.came < end for one in answered) / seconds,
            "p50_ms": float(np.percentile(waits, 50)),
            "p99_ms": float(np.percentile(waits, 99)),
            "failed": float(len(lost)),
        }

    def send(self, rate: float, seconds: float) -> tuple[int, float]:
        """All requests, and then wait for their answers; how many, and when the last was due."""
        gc.disable()  # it would look through all answers again and again, for 15 ms at a time
        try:
            return self._send_all(rate, seconds)
        finally:
            gc.enable()

    def _send_all(self, rate: float, seconds: float) -> tuple[int, float]:
        total, sent = int(rate * seconds), 0
        began = time.perf_counter() + 0.02
        end = began + seconds
        while len(self.answers) + self.broken < total:
            now = time.perf_counter()
            while sent < total and began + sent / rate <= now:
                self._send(began + sent / rate)
                sent += 1
            came = self.selector.select(0)
            for key, _ in came:
                self._take(key.data)
            if now > end + GRACE_SECONDS:
                break
            if not came:
                time.sleep(self.tick_seconds)
        self._close()
        return total, end

    def _send(self, due: float) -> None:
        if self.idle:
            self._send_on(self.idle.popleft(), due)
        else:
            self.waiting.append(due)

    def _send_on(self, connection: Connection, due: float) -> None:
        connection.due, connection.sent = due, time.perf_counter()
        with suppress(OSError):  # the receiver sees it too
            connection.socket.sendall(next(self.requests))

    def _take(self, connection: Connection) -> None:
        data = b""
        with suppress(OSError):
            data = connection.socket.recv(65536)
        if not data:  # closed by the server, and not opened again: that server has failed
            self.selector.unregister(connection.socket)
            self.broken += bool(connection.due)
            return
        connection.received += data
        answer = connection.answer()
        if answer is None:
            return
        came = time.perf_counter()
        self.answers.append(Answer(*answer, connection.due, connection.sent, came))
        connection.due = 0.0
        if self.waiting:
            self._send_on(connection, self.waiting.popleft())
        else:
            self.idle.append(connection)

    def _close(self) -> None:
        for key in [*self.selector.get_map().values()]:
            key.data.socket.close()
        self.selector.close()


def _request(host: str, target: str, body: Body) -> bytes:
    headers = {"host": host, "content-length": str(len(body.data)), **body.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode() + body.data
