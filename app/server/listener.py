"""A listening socket from which a worker accepts a portion at a time.

libuv accepts as long as there is something to accept. Of connections that were opened at once, the
worker that woke first could have all, and the others nothing to do for as long as they lasted. And
where every request brings a connection of its own, each was read by itself: twice the work.

    readable ──▶ a portion accepted ──▶ the rest of the span, for other workers ──▶ readable …
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import BaseProtocol
from collections.abc import Callable
from typing import Any

import structlog
import uvloop

log = structlog.get_logger()

SPAN_SECONDS = 0.001
LEAST, MOST = 2, 8
"""Connections in a span. The portion is one more than were accepted in the span before, so that a
worker that wakes late finds some left: of four it still got two, and of 64 some 30. With 16 at most
it could get as few as 5; with 4 at most, clients that connect for every request got half as many
answers."""
REST_SECONDS = 0.005
"""After so long without a connection the portion is the least again."""
RETRY_SECONDS = 1.0
"""Until it is tried again where the process has no descriptor or memory left, as asyncio does."""


class Listener:
    """Accepts until it is closed. What it accepted goes on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], BaseProtocol],
        sock: socket.socket,
    ) -> None:
        """`sock` is bound and listening; others may listen at it, too."""
        self.sockets = [sock]
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._socket = sock
        self._timer: asyncio.TimerHandle | None = None
        self._span_ends = 0.0
        self._portion = self._taken = 0  # in the span
        self._opening: set[asyncio.Task[Any]] = set()
        sock.setblocking(False)
        self._watch()

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._timer:
            self._timer.cancel()
        self._socket.close()

    async def wait_closed(self) -> None:
        if self._opening:
            await asyncio.wait(self._opening)

    def _watch(self) -> None:
        self._loop.add_reader(self._socket, self._on_readable)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._timer = self._loop.call_later(seconds, self._watch)

    def _on_readable(self) -> None:
        now = self._loop.time()
        if now >= self._span_ends:
            rested = now >= self._span_ends + REST_SECONDS
            self._portion = LEAST if rested else min(max(LEAST, self._taken + 1), MOST)
            self._taken = 0
            self._span_ends = now + SPAN_SECONDS
        self._taken += self._accept(self._portion - self._taken)
        if self._taken == self._portion:
            self._pause(SPAN_SECONDS)

    def _accept(self, count: int) -> int:
        for accepted in range(count):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):  # another worker's, or gone
                return accepted
            except OSError as error:
                log.warning("no connection is accepted", reason=str(error))
                self._pause(RETRY_SECONDS)
                return accepted
            self._open(connection)
        return count

    def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        opening = self._loop.connect_accepted_socket(self._protocol_factory, connection)
        task = self._loop.create_task(opening)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)


class Loop(uvloop.Loop):
    """uvloop's event loop, whose servers are Listeners."""

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], BaseProtocol],
        host: str = "",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: None = None,
    ) -> Listener:
        """Listens at `sock`, or at one address. Raises OSError where it is another's."""
        if sock is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, port), family=family)
        sock.listen(backlog)
        return Listener(self, protocol_factory, sock)
