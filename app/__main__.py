"""`python -m app`: settings, then the server.

Exit status: 0 when told to stop, 2 for settings that are wrong, 3 where no server came to serve.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from .server.environment import restart_with_variables

if __name__ == "__main__":
    restart_with_variables()  # before the imports, which would be made twice

try:
    import structlog
    from uvicorn.config import STARTUP_FAILURE

    from .api.problems import render_problem
    from .observe.logs import configure_logging
    from .server.protocol import ConnectionClock, ConnectionLimits, HttpProtocol
    from .server.supervisor import Config, run
    from .settings import Settings, unknown_settings
    from .startup import (
        StartupError,
        metrics_folder,
        read_settings,
        require_avx,
        require_free_port,
    )
except ImportError as error:
    raise SystemExit(f"A module can't be imported: {error}. `make serve` installs all.") from None

log = structlog.get_logger()

USAGE_ERROR = 2
SILENT_SECONDS = 120
"""How long a worker may be silent: it can't answer its supervisor while TensorFlow is imported."""


def main() -> None:
    """Serve until told to stop."""
    try:
        settings = read_settings()
    except StartupError as error:
        print(*error.args, sep="\n", file=sys.stderr)
        raise SystemExit(USAGE_ERROR) from None
    config = config_of(settings)
    for name in unknown_settings():
        log.warning("unknown setting", variable=name)
    try:
        require_avx()
        require_free_port(settings)
        served = run(config, metrics_folder)
    except StartupError as error:
        log.critical("the server can't start", reason=str(error))
        served = False
    if not served:
        raise SystemExit(STARTUP_FAILURE)


def config_of(settings: Settings, factory: str = f"{__package__}.main:create_app") -> Config:
    """Return how the application is served that `factory` makes."""
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
        HttpProtocol,
        clock=ConnectionClock(limits),
        render_problem=partial(render_problem, root_path=settings.root_path),
    )
    return Config(
        factory,
        configure_logging=partial(configure_logging, json=settings.log_json),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=protocol,
        ws="none",
        loop=f"{__package__}.server.listener:Loop" if sys.platform != "win32" else "asyncio",
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # nothing depends on who the client is, or how it came
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_worker_healthcheck=SILENT_SECONDS,
        drain_notice_seconds=settings.drain_notice_seconds,
    )


if __name__ == "__main__":
    main()
