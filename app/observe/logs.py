from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure_logging(*, json: bool) -> None:
    """Send structlog's and the standard library's lines through one formatter to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    line = logging.StreamHandler()
    line.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    line.addFilter(_no_startup_traceback)
    logging.basicConfig(handlers=[line], level=logging.INFO, force=True)


def _no_startup_traceback(record: logging.LogRecord) -> bool:
    # Starlette hands a failed start-up's whole traceback to the server as its message; the line
    # that says what is wrong has been logged by then.
    return not record.getMessage().startswith("Traceback (most recent call last)")
