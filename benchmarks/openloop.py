"""Open-loop load: a request is due every 1/rate seconds, whatever became of those before it.

Latency counts from when a request was due, so that a server that stalls pays for everyone who came
meanwhile; a closed loop would stop asking and hide it. One plain loop sends what is due and takes
what has come, to a fifth of a millisecond (an event loop's timers tick in whole ones): whatever the
driver computes is missing to the server.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from benchmarks.bodies import Body
from benchmarks.wrk import Figures

CONNECTIONS = 128
TICK_SECONDS = 0.0001
"""How long it sleeps, at most, while nothing is due and nothing came."""
GRACE_SECONDS = 1.0
"""How long answers are waited for after the last request was due."""


@dataclass(slots=True, eq=False)
class Connection:
    """A kept connection: idle, or with one request on its way."""

    socket: socket.socket
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def status(self) -> bytes | None:
        """The status of the answer, once the whole of it is there."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or not is_whole(bytes(head), bytes(body)):
            return None
        status = bytes(head.split(b" ", 2)[1])
        self.received.clear()
        return status


def is_whole(head: bytes, body: bytes) -> bool:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
        if line.startswith(b"transfer-encoding:"):
            return body.endswith(b"0\r\n\r\n")
    raise ValueError("An answer without a length.")


class OpenLoop:
    """One run at a constant rate against one server."""

    def __init__(self, url: str, body: Body, *, connections: int = CONNECTIONS) -> None:
        address = urlsplit(url)
        self.request = _request(address.netloc, address.path, body)
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()  # due, and no connection was idle
        self.answered: list[tuple[float, float]] = []  # due, and when it came
        self.failed = 0
        self.selector = selectors.DefaultSelector()
        for _ in range(connections):
            one = socket.create_connection((address.hostname or "", address.port or 80))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(one)
            self.selector.register(one, selectors.EVENT_READ, connection)
            self.idle.append(connection)

    def run(self, *, rate: float, seconds: float) -> Figures:
        """Latency in milliseconds, how many a second were answered meanwhile, how many failed."""
        total = int(rate * seconds)
        began = time.perf_counter() + 0.02
        end = began + seconds
        sent = 0
        while len(self.answered) + self.failed < total:
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
                time.sleep(TICK_SECONDS)
        self._close()
        # What was never answered waited at least as long as it was waited for.
        lost = [seconds + GRACE_SECONDS] * (total - len(self.answered))
        waits = 1000 * np.array([came - due for due, came in self.answered] + lost)
        return {
            "offered_per_second": total / seconds,
            "answered_per_second": sum(came < end for _, came in self.answered) / seconds,
            "p50_ms": float(np.percentile(waits, 50)),
            "p99_ms": float(np.percentile(waits, 99)),
            "failed": float(len(lost)),
        }

    def _send(self, due: float) -> None:
        if self.idle:
            self._send_on(self.idle.popleft(), due)
        else:
            self.waiting.append(due)

    def _send_on(self, connection: Connection, due: float) -> None:
        connection.due = due
        with suppress(OSError):  # the receiver sees it too
            connection.socket.sendall(self.request)

    def _take(self, connection: Connection) -> None:
        data = b""
        with suppress(OSError):
            data = connection.socket.recv(65536)
        if not data:  # closed by the server, and not opened again: that server has failed
            self.selector.unregister(connection.socket)
            self.failed += bool(connection.due)
            return
        connection.received += data
        status = connection.status()
        if status is None:
            return
        if status == b"200":
            self.answered.append((connection.due, time.perf_counter()))
        else:
            self.failed += 1
        connection.due = 0.0
        if self.waiting:
            self._send_on(connection, self.waiting.popleft())
        else:
            self.idle.append(connection)

    def _close(self) -> None:
        for key in [*self.selector.get_map().values()]:
            key.data.socket.close()
        self.selector.close()


def _request(host: str, path: str, body: Body) -> bytes:
    headers = {"host": host, "content-length": str(len(body.data)), **body.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path or '/'} HTTP/1.1\r\n{lines}\r\n".encode() + body.data
