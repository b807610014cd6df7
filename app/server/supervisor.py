"""The server of one process, and the supervisor of several that share a listening socket.

The supervisor starts the workers, replaces those that die or fall silent, and stops them. Workers
that end before any of them was ready end the service, with an exit status that says so; once there
has been a ready one, the others are tried again for as long as it takes.
"""

from __future__ import annotations

import pickle
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

log = structlog.get_logger()

MAX_FAILURES = 3
"""Workers in a row that may end before the first was ready."""
RETRY_SECONDS = 5.0
"""Pause before a worker is started again that ended before it was ready, beside others that are."""
POLL_SECONDS = 0.1
STOP_MARGIN_SECONDS = 4.0
"""What a worker gets beyond its drain before it is killed: to close, and to give up by itself."""


class Config(uvicorn.Config):
    """uvicorn's configuration, for processes that say in one line why they can't serve.

    Args:
        app: Of the application: `module:factory`.
        configure_logging: Sets up the log of a process, before anything of the application is
            imported; pickled for the workers.
        drain_notice_seconds: Between a signal and the end of accepting; see `shutdown.Drain`.
        options: uvicorn's.
    """

    def __init__(
        self,
        app: str,
        *,
        configure_logging: Callable[[], None],
        drain_notice_seconds: float = 0.0,
        **options: Any,
    ) -> None:
        self._configure_logging = configure_logging
        self.stop_seconds = (
            drain_notice_seconds
            + (options.get("timeout_graceful_shutdown") or 0)
            + STOP_MARGIN_SECONDS
        )
        super().__init__(app, factory=True, log_config=None, access_log=False, **options)

    def configure_logging(self) -> None:
        """Set up the log; uvicorn calls it first in each process."""
        super().configure_logging()  # turns the access log off
        self._configure_logging()

    def load(self) -> None:
        """Import and make the application.

        Raises:
            SystemExit: With STARTUP_FAILURE, where a module or a file is missing or broken.
        """
        try:
            super().load()
        except (ImportError, OSError) as error:
            _refuse_to_load(error)

    def load_app(self) -> Any:
        """Import the application; uvicorn calls it within `load`."""
        try:
            return super().load_app()
        except Exception as error:  # noqa: BLE001 -- modules that do not fit raise anything
            _refuse_to_load(error)


def _refuse_to_load(error: Exception) -> NoReturn:
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    log.critical("the application can't be loaded", reason=reason)
    raise SystemExit(STARTUP_FAILURE) from None


def bind(config: uvicorn.Config) -> socket.socket:
    """Bind a socket to the address; nobody can connect to it before a process listens.

    Raises:
        OSError: The address is another process's, or none of this machine.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    try:
        if sys.platform != "win32":  # where it would let two processes have the same port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((config.host, config.port))
    except OSError:
        sock.close()
        raise
    return sock


def log_address(config: uvicorn.Config, sock: socket.socket) -> None:
    """Say where the service can be reached, in the words that a terminal makes a link of."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    if config.host in ("0.0.0.0", "127.0.0.1", "::", "::1"):  # noqa: S104 -- compared, not bound
        host = "localhost"
    log.info("ready: open http://%s:%d (Ctrl+C stops it)", host, sock.getsockname()[1])


def run(
    config: Config,
    shared: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> bool:
    """Serve until told to stop.

    Args:
        config: Of the server; its `workers` says of how many processes.
        shared: What several processes share is there within it: entered before the first starts,
            left when the last has ended.

    Returns:
        Whether a server came to serve, or was stopped before it did.
    """
    try:
        sock = bind(config)
    except OSError as error:
        address = f"{config.host}:{config.port}"
        log.critical("the address can't be used", address=address, reason=error.strerror)
        return False
    with sock:
        if config.workers == 1:
            server = Server(config)
            with suppress(KeyboardInterrupt):  # raised again by uvicorn once it has stopped
                server.run([sock])
            return server.started
        workers = Workers(config, [sock])
        with shared():
            workers.run()
        return not workers.failed


class Server(uvicorn.Server):
    """uvicorn's server at a socket that is bound already."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen."""
        try:
            await super().startup(sockets)
        except OSError as error:  # another process has begun to listen there since it was bound
            log.critical("no connection can be accepted", reason=error.strerror)
            await self.lifespan.shutdown()
            raise SystemExit(STARTUP_FAILURE) from None
        for sock in sockets or []:
            log_address(self.config, sock)


@dataclass
class Pulse:
    """What is known of a worker.

    Attributes:
        answered_at: When it last answered, or was started.
        is_asked: Whether an answer is awaited.
        was_ready: Whether it has come to serve.
    """

    answered_at: float = field(default_factory=time.monotonic)
    is_asked: bool = False
    was_ready: bool = False


class Workers(Multiprocess):
    """uvicorn's supervisor, which gives up, never waits for a silent worker, and stops at once.

    Attributes:
        failed: Whether it gave up, for no worker came to be ready.
    """

    config: Config

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.failed = False
        self._is_forced = False
        self._was_ready = False
        self._failures = 0
        self._pulses: dict[Process, Pulse] = {}
        self._next_start = 0.0

    def keep_subprocess_alive(self) -> None:
        """Look after each worker once, without waiting for any."""
        self._pulses = {process: self._pulses.get(process, Pulse()) for process in self.processes}
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            pulse = self._pulses[process]
            _feel(process, pulse)
            if pulse.was_ready and not self._was_ready:
                self._was_ready = True
                log_address(self.config, self.sockets[0])
            if self._has_ended(process, pulse):
                self._replace(index, pulse)

    def _has_ended(self, process: Process, pulse: Pulse) -> bool:
        if process.exitcode is not None:
            return True
        seconds = time.monotonic() - pulse.answered_at
        if seconds <= self.config.timeout_worker_healthcheck:
            return False
        log.error("a worker is silent and is killed", pid=process.pid, seconds=round(seconds))
        process.kill()
        process.join()
        return True

    def _replace(self, index: int, pulse: Pulse) -> None:
        ended = self.processes[index]
        if not self._was_ready:
            self._failures += 1
            if ended.exitcode == STARTUP_FAILURE or self._failures == MAX_FAILURES:
                self._give_up(ended)
                return
        elif not pulse.was_ready and time.monotonic() < self._next_start:
            return
        self._next_start = time.monotonic() + RETRY_SECONDS
        log.error("a worker has ended and is replaced", pid=ended.pid, exit_code=ended.exitcode)
        self.processes[index] = Process(self.config, self.sockets)
        self.processes[index].start()

    def _give_up(self, ended: Process) -> None:
        self.failed = True
        self.should_exit.set()
        log.critical(
            "no worker comes to be ready", ended=self._failures, last_exit_code=ended.exitcode
        )

    def handle_term(self) -> None:
        """Stop; at a second signal, at once."""
        self._is_forced = self.should_exit.is_set()
        super().handle_term()

    def handle_int(self) -> None:
        """Stop; at a second signal, at once."""
        self._is_forced = self.should_exit.is_set()
        super().handle_int()

    def join_all(self) -> None:
        """Wait for the workers as long as they may drain, but for a second signal.

        The workers have the socket, too. Open here, it would let clients connect when these accept
        no more, and wait for nothing until the last one has ended.
        """
        for sock in self.sockets:
            sock.close()
        end = time.monotonic() + self.config.stop_seconds
        while running := [worker for worker in self.processes if worker.exitcode is None]:
            self.handle_signals()
            if self._is_forced or time.monotonic() > end:
                for worker in running:
                    log.error("a worker does not stop and is killed", pid=worker.pid)
                    worker.kill()
            time.sleep(POLL_SECONDS)


def _feel(process: Process, pulse: Pulse) -> None:
    """Take up the worker's answer, if it is there, and ask again."""
    with suppress(OSError, EOFError, pickle.UnpicklingError):  # it has ended
        if pulse.is_asked and process.parent_conn.poll():
            pulse.was_ready |= process.parent_conn.recv()
            pulse.answered_at = time.monotonic()
            pulse.is_asked = False
        if not pulse.is_asked:
            process.parent_conn.send(b"ping")
            pulse.is_asked = True
