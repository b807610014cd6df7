"""`python -m app`: the server, with the options that go with the application."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from .api.middleware import read_key_hashes
from .api.problems import render_problem
from .observe.logs import configure_logging
from .server.protocol import ConnectionClock, ConnectionLimits, HttpProtocol
from .settings import Settings

LOAD_SECONDS = 120
"""How long a worker may be silent: it can't answer its supervisor while TensorFlow is imported."""


def main() -> None:
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            if fault["type"] == "default_factory_not_called":
                continue  # its default hangs on one that is wrong itself
            name = "_".join(str(part) for part in fault["loc"]).upper()
            print(f"DIGITS_{name}: {fault['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    except SettingsError as error:  # a list that is no JSON
        print(f"{error}.", file=sys.stderr)
        raise SystemExit(2) from None
    if settings.api_keys_file:
        try:
            read_key_hashes(settings.api_keys_file)
        except ValueError as error:
            print(f"DIGITS_API_KEYS_FILE: {error}", file=sys.stderr)
            raise SystemExit(2) from None
    configure_logging(json=settings.log_json)  # the supervisor's lines; a server does it again
    if settings.workers > 1:
        os.environ.setdefault(
            "PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="digits-metrics-")
        )
    with suppress(KeyboardInterrupt):  # what a server raises again that was stopped by SIGINT
        if not run(config_of(settings)):
            raise SystemExit(STARTUP_FAILURE)


def config_of(
    settings: Settings, factory: str = f"{__package__}.main:create_app"
) -> uvicorn.Config:
    """How an application is served that `factory` makes."""
    limits = ConnectionLimits(
        max_header_bytes=settings.max_header_bytes,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        min_body_bytes_per_second=settings.min_body_bytes_per_second,
        write_seconds=settings.write_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        max_pipelined_requests=settings.max_pipelined_requests,
    )
    protocol: Any = partial(
        HttpProtocol, clock=ConnectionClock(limits), render_problem=render_problem
    )
    return uvicorn.Config(
        factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=protocol,
        ws="none",
        loop=f"{__package__}.server.listener:Loop" if sys.platform != "win32" else "asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_worker_healthcheck=LOAD_SECONDS,
    )


def run(config: uvicorn.Config) -> bool:
    """Serve until told to stop; whether it came to serve at all."""
    if config.workers > 1:
        return _run_workers(config)
    server = uvicorn.Server(config)
    server.run()
    return server.started


def _run_workers(config: uvicorn.Config) -> bool:
    workers = Workers(config, [config.bind_socket()])
    workers.run()
    return all(process.exitcode != STARTUP_FAILURE for process in workers.processes)


class Workers(Multiprocess):
    """uvicorn's supervisor, which passes a second signal on instead of waiting for the drain, and
    sees at once that a worker is dead.
    """

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            # The worker's end of the pipe: held open here, a worker that has died would look like
            # one that is silent, and is given LOAD_SECONDS.
            process.child_conn.close()
        super().keep_subprocess_alive()

    def join_all(self) -> None:
        while any(process.exitcode is None for process in self.processes):
            if self.signal_queue:
                self.signal_queue.clear()
                for process in self.processes:
                    process.process.terminate()
            time.sleep(0.1)


if __name__ == "__main__":
    main()
