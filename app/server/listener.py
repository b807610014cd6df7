"""The listening socket: accepts connections in small portions, so that workers share them fairly.

libuv accepts all that wait. Of connections opened at once, the worker that wakes first could get
all, and the others none for as long as these last. Where each request brings its own connection,
each would be read in an event-loop iteration of its own, which takes twice the work.

    readable ──▶ accept a portion ──▶ pause to the end of the window ──▶ readable …
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

WINDOW_SECONDS = 0.001
"""Length of a window, in which a worker accepts one portion."""
FIRST_WINDOW_SECONDS = 0.004
"""Length of the first window after an idle time: a worker that slept may wake milliseconds later
than another, and would find nothing left."""
MIN_PORTION, MAX_PORTION = 1, 8
"""Connections accepted in a window: one more in every second window, within these bounds, so that
each worker gets its share: of 4 connections 2, of 64 some 30. With at most 16 it could get 5 of 64;
with at most 4, clients that connect for each request had half as many answers."""
IDLE_SECONDS = 0.005
"""Time without a connection after which the portion is the least again."""
MAX_WAITING = 4096
"""Connections that are accepted at the end, at most; systems let hardly more wait."""
RETRY_SECONDS = 1.0
"""Pause where the process has no descriptor or memory left, as asyncio makes it."""


class Listener:
    """Accept connections until closed; those accepted by then go on.

    Args:
        loop: The event loop.
        protocol_factory: Makes a connection's protocol.
        sock: Bound and listening; other processes may listen at it, too.

    Attributes:
        sockets: The socket, as asyncio's servers have it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], BaseProtocol],
        sock: socket.socket,
    ) -> None:
        self.sockets = [sock]
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._socket = sock
        self._timer: asyncio.TimerHandle | None = None
        self._window_ends = 0.0
        self._windows = 0  # since it was idle
        self._portion = self._accepted = 0  # in the window
        self._opening: set[asyncio.Task[Any]] = set()
        sock.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Accept those that have connected by now, and no more.

        They would be reset, and what they have sent would be lost; a worker that goes on listening
        at the socket may take its share of them.
        """
        self._accept(MAX_WAITING)
        self._loop.remove_reader(self._socket)
        if self._timer:
            self._timer.cancel()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Wait for the protocols of the last connections accepted."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _watch(self) -> None:
        self._loop.add_reader(self._socket, self._on_readable)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._timer = self._loop.call_later(seconds, self._watch)

    def _on_readable(self) -> None:
        now = self._loop.time()
        if now >= self._window_ends:
            self._begin_window(now)
        self._accepted += self._accept(self._portion - self._accepted)
        if self._accepted == self._portion:
            self._pause(self._window_ends - now)

    def _begin_window(self, now: float) -> None:
        was_idle = now >= self._window_ends + IDLE_SECONDS
        self._windows = 0 if was_idle else self._windows + 1
        self._portion = min(MIN_PORTION + self._windows // 2, MAX_PORTION)
        self._accepted = 0
        self._window_ends = now + (FIRST_WINDOW_SECONDS if was_idle else WINDOW_SECONDS)

    def _accept(self, count: int) -> int:
        """Accept up to `count` connections; return how many there were."""
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
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OSError):  # the client has gone
            log.info("client left", reason=type(error).__name__)
        elif error:
            log.error("a connection can't be opened", exc_info=error)


class Loop(uvloop.Loop):
    """uvloop's event loop, whose servers are `Listener`s."""

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
        """Listen at `sock`, or at the address.

        Raises:
            OSError: The address is another process's.
        """
        if sock is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, port), family=family)
        sock.listen(backlog)
        return Listener(self, protocol_factory, sock)
