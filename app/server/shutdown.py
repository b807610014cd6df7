"""Shutdown: what a process does between SIGTERM and its exit.

    SIGTERM ──▶ notice ──▶ drain ──────▶ exit
                /readyz     no new        at the limit at the latest,
                says 503    connections   whatever threads still do

During the notice requests are still taken, for a load balancer needs a moment to look away. Then
the server's own shutdown answers what was accepted. A second signal ends the process at once, and
so does the first while it starts: nothing was accepted then, and a model load can't be interrupted.

A worker takes SIGTERM alone, and once: what is sent to the whole process group, by Ctrl+C or by
systemd, reaches it twice, the second time from its supervisor, which kills it if need be. Where the
supervisor itself was killed, its workers drain: they would keep the address from the next one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType

import structlog

log = structlog.get_logger()

SIGNALS = (signal.SIGTERM, signal.SIGINT)
OVERDUE = 1
"""Exit status of a process that had to be ended at the limit."""


class Drain:
    """The process's signal handlers, in front of the server's.

    Args:
        notice_seconds: From the first signal until the server's shutdown begins.
        limit_seconds: From there to the end of the process. A thread that is stuck in a call of C
            would keep the interpreter for ever: it can't be ended, and is waited for at the exit.

    Attributes:
        began: Whether the process is about to stop; `/readyz` says so.
        started: Whether requests have come to be accepted; the application sets it.
        on_end_of_notice: Called when the server's shutdown begins, of what else takes requests.
    """

    def __init__(self, notice_seconds: float, *, limit_seconds: float = 60.0) -> None:
        self.notice_seconds = notice_seconds
        self.limit_seconds = limit_seconds
        self.began = False
        self.started = False
        self.on_end_of_notice: Callable[[], object] = bool
        self._is_worker = multiprocessing.parent_process() is not None

    @contextmanager
    def installed(self) -> Iterator[Drain]:
        """Handle the signals within; outside the main thread, which Python asks for, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._loop = asyncio.get_running_loop()
        self._servers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        if self._is_worker:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Thread(target=_follow_supervisor, name="supervisor", daemon=True).start()
        try:
            yield self
        finally:
            for number, previous in self._servers.items():
                signal.signal(number, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.began and self._is_worker:
            return
        if self.began or not self.started:
            os._exit(128 + number)
        self.began = True
        overdue = threading.Timer(self.notice_seconds + self.limit_seconds, _end_overdue)
        overdue.daemon = True
        overdue.start()
        # On the loop, for the signal may have interrupted the log in the middle of a line; and in
        # an empty context, for a request's ID may be bound in the interrupted one.
        self._loop.call_soon_threadsafe(self._begin, number, context=Context())

    def _begin(self, number: int) -> None:
        log.info("draining", notice_seconds=self.notice_seconds)
        self._loop.call_later(self.notice_seconds, self._pass_on, number)

    def _pass_on(self, number: int) -> None:
        self.on_end_of_notice()
        previous = self._servers[signal.Signals(number)]
        if callable(previous):
            previous(number, None)


def _follow_supervisor() -> None:
    if supervisor := multiprocessing.parent_process():
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _end_overdue() -> None:
    log.critical("the drain is over, but threads are not; the process ends without them")
    os._exit(OVERDUE)
