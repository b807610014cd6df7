"""Leaving without losing anyone: what the process does between SIGTERM and its exit.

First it says so: `/readyz` turns 503 while requests are still taken, for a load balancer needs a
moment to look away. Then the server's own shutdown begins: no new connections, and what was
accepted is answered. A second signal ends that at once, and so does the first during start-up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger()

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Stands before the server's signal handlers; `began` is what readiness asks."""

    def __init__(self, notice_seconds: float) -> None:
        self.notice_seconds = notice_seconds
        self.began = False
        self.started = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals over, where this thread may; the server's handlers come afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._loop = asyncio.get_running_loop()
        self._servers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, previous in self._servers.items():
                signal.signal(number, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.started:
            os._exit(128 + number)  # nothing was accepted, and a model load can't be interrupted
        if self.began:
            # uvicorn's handler takes one SIGINT as "stop" and another as "now".
            self._pass_on(signal.SIGINT)
            self._pass_on(signal.SIGINT)
            return
        self.began = True
        log.info("draining", notice_seconds=self.notice_seconds)
        self._loop.call_soon_threadsafe(
            self._loop.call_later, self.notice_seconds, self._pass_on, number
        )

    def _pass_on(self, number: int) -> None:
        previous = self._servers[signal.Signals(number)]
        if callable(previous):
            previous(number, None)
