"""Open-loop load: a request is due every 1/rate seconds, whatever became of those before it.

Latency counts from the moment a request was due, so that a server that stalls pays for every
request of that time; a closed loop would stop asking and hide it. A plain loop sends what is due
and takes what has come, to a tenth of a millisecond (an event loop's timers tick in whole ones).
The driver computes on the server's cores, so it does as little as it can.
"""

from __future__ import annotations

import gc
import re
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
"""Sleep while nothing is due and nothing has come, where latency is measured."""
SEND_BUFFER_BYTES = 2**20
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding:")
GRACE_SECONDS = 1.0
"""Wait for answers after the last request was due."""


@dataclass(slots=True, eq=False)
class Connection:
    """A kept connection: idle, or with one request on its way."""

    socket: socket.socket
    due: float = 0.0
    sent: float = 0.0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    events: int = selectors.EVENT_READ
    received: bytes = b""

    def answer(self) -> tuple[str, bytes] | None:
        """Return status and body of the answer, once the whole of it is there."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or not is_whole(head, body):
            return None
        self.received = b""
        return head[9:12].decode(), body


class Answer(NamedTuple):
    """An answered request: when it was due, when it left, when its answer was whole (seconds)."""

    status: str
    body: bytes
    due: float
    sent: float
    came: float


def is_whole(head: bytes, body: bytes) -> bool:
    """Tell whether an answer's body has come. Raises ValueError where its length is not given."""
    length = LENGTH.search(head)
    if length:
        return len(body) >= int(length[1])
    if CHUNKED.search(head):
        return body.endswith(b"0\r\n\r\n")
    raise ValueError("An answer without a length.")


class OpenLoop:
    """A run at a constant rate against one server; the bodies are sent in turn."""

    def __init__(
        self,
        url: str,
        bodies: Sequence[Body],
        *,
        connections: int = CONNECTIONS,
        tick_seconds: float = TICK_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """Open the connections. Raises OSError where the server takes none."""
        self.tick_seconds = tick_seconds
        self.grace_seconds = grace_seconds
        address = urlsplit(url)
        target = f"{address.path or '/'}?{address.query}".removesuffix("?")
        self.requests = cycle([body.request(address.netloc, target) for body in bodies])
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()  # due, and no connection was idle
        self.answers: list[Answer] = []
        self.broken = 0  # connections that the server closed on a request
        self.selector = selectors.DefaultSelector()
        for _ in range(connections):
            opened = socket.create_connection((address.hostname or "", address.port or 80))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            opened.setblocking(False)
            connection = Connection(opened)
            self.selector.register(opened, selectors.EVENT_READ, connection)
            self.idle.append(connection)

    def run(self, *, rate: float, seconds: float) -> Figures:
        """Send at a rate and return latency in milliseconds, answers a second and failures."""
        total, end = self.send(rate, seconds)
        answered = [answer for answer in self.answers if answer.status == "200"]
        # A request that was never answered took at least as long as the wait for it.
        lost = [seconds + self.grace_seconds] * (total - len(answered))
        waits = 1000 * np.array([answer.came - answer.due for answer in answered] + lost)
        return {
            "offered_per_second": total / seconds,
            "answered_per_second": sum(answer.came < end for answer in answered) / seconds,
            "requests": float(len(answered)),
            "p50_ms": float(np.percentile(waits, 50)),
            "p99_ms": float(np.percentile(waits, 99)),
            "failed": float(len(lost)),
        }

    def send(self, rate: float, seconds: float) -> tuple[int, float]:
        """Send all requests and wait for their answers.

        Returns:
            The number of requests, and when the last was due.
        """
        gc.disable()  # it would walk through all answers again and again, for 15 ms at a time
        try:
            return self._send_all(rate, seconds)
        finally:
            gc.enable()

    def _send_all(self, rate: float, seconds: float) -> tuple[int, float]:
        total, sent = max(1, int(rate * seconds)), 0
        began = time.perf_counter() + 0.02
        end = began + seconds
        while len(self.answers) + self.broken < total:
            now = time.perf_counter()
            while sent < total and began + sent / rate <= now:
                self._send(began + sent / rate)
                sent += 1
            ready = self.selector.select(0)
            for key, events in ready:
                if events & selectors.EVENT_WRITE:
                    self._write(key.data)
                if events & selectors.EVENT_READ:
                    self._read(key.data)
            if now > end + self.grace_seconds:
                break
            if not ready:
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
        connection.unsent = memoryview(next(self.requests))
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        with suppress(OSError):  # a full buffer; the reader sees all else
            sent = connection.socket.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if connection.events != wanted:
            connection.events = wanted
            with suppress(KeyError):  # unregistered: the server has closed it
                self.selector.modify(connection.socket, wanted, connection)

    def _read(self, connection: Connection) -> None:
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
