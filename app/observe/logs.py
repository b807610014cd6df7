"""Logs: every line of the process in one form, on stderr.

structlog's lines, those of Python's `logging`, its warnings and what nobody caught go through one
formatter. TensorFlow's libraries write to the descriptor itself; `native_lines` takes that up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import structlog
from starlette.requests import ClientDisconnect

from ..errors import ClientGone

log = structlog.get_logger()

CLIENT_ERRORS = (ConnectionError, ClientDisconnect, ClientGone, asyncio.CancelledError)
"""What is raised where a client has closed its connection, or has not read its answer by the end of
the drain."""

NATIVE_LINE = re.compile(r"(?:([IWEF])\d{4} \S+ +\d+ \S+\] |(INFO|WARNING|ERROR): )(?P<text>.*)")
"""A line of TensorFlow's (absl's form) or of TensorFlow Lite's."""
NATIVE_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
JOIN_SECONDS = 1.0
"""How long to wait for the last line: a child that was started meanwhile may hold the pipe."""
BEFORE_ABSL = "All log messages before absl::InitializeLog()"


def configure_logging(*, json: bool) -> None:
    """Send all lines of the process to stderr, in one form.

    Args:
        json: As JSON, one object a line; else for people.
    """
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
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(_own_stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _shorten_client_errors,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    handler.addFilter(_is_no_startup_traceback)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _own_stderr() -> IO[str]:
    """Stderr by a descriptor of its own, which `native_lines` does not turn away."""
    return os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)


def _is_no_startup_traceback(record: logging.LogRecord) -> bool:
    # Starlette hands a failed start-up's whole traceback to the server as its message; the line
    # that says what is wrong has been logged by then.
    return not record.getMessage().startswith("Traceback (most recent call last)")


def _shorten_client_errors(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave of a client that has gone one line, and no traceback: nothing is wrong here."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exception()
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, CLIENT_ERRORS):
        del event["exc_info"]
        event.update(event="client left", level="info", reason=type(error).__name__)
    return event


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        log.critical("uncaught", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value and not issubclass(args.exc_type, SystemExit):
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.critical("uncaught", thread=args.thread and args.thread.name, exc_info=info)


@contextmanager
def native_lines() -> Iterator[None]:
    """Log what libraries write to descriptor 2 meanwhile, as TensorFlow does while it is loaded.

    Not for longer: the last words of a process that crashes would be lost.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    reader = threading.Thread(target=_log_native, args=(source,), name="native-lines", daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(stderr, 2)  # which closes the pipe's last sink
        os.close(stderr)
        reader.join(JOIN_SECONDS)


def _log_native(source: int) -> None:
    logger = logging.getLogger("tensorflow.native")
    with os.fdopen(source, errors="replace") as lines:
        for line in lines:
            text = line.rstrip()
            if text and BEFORE_ABSL not in text:
                level, text = _native_level(text)
                logger.log(level, "%s", text)


def _native_level(text: str) -> tuple[int, str]:
    match = NATIVE_LINE.fullmatch(text)
    if match is None:
        return logging.INFO, text
    letter = (match[1] or match[2])[0]
    return NATIVE_LEVELS[letter], match["text"]
