"""A listening socket from which a worker accepts a few connections at a time.

libuv accepts as long as there is something to accept. Of 64 connections that were opened at once,
the worker that woke first could have them all, and the other nothing to do for as long as they
lasted. And where every request brings its own connection, each was read by itself: twice the work.

    readable ──▶ AT_ONCE accepted ──▶ PAUSE_SECONDS, in which other workers accept ──▶ readable …
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

AT_ONCE, PAUSE_SECONDS = 8, 0.001
"""8,000 connections a second are more than a worker answers, and none waits so long for a free one
that it would be noticed. With 4 a pause was waited for, with 16 a worker could still have 59 of
64."""
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
        self._loop.add_reader(self._socket, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._timer = self._loop.call_later(seconds, self._watch)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):  # another worker's, or gone
                return
            except OSError as error:
                log.warning("no connection is accepted", reason=str(error))
                self._pause(RETRY_SECONDS)
                return
            self._open(connection)
        self._pause(PAUSE_SECONDS)

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
