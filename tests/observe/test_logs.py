"""Logging is set up once a process, so that each case is a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

SET_UP = """
import logging, os, sys, threading, warnings, structlog
from app.observe.logs import configure_logging, native_lines
configure_logging(json=JSON)
log = structlog.get_logger()
"""


def run(code: str, *, as_json: bool = True) -> str:
    """What `code` says on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", SET_UP.replace("JSON", str(as_json)) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.stderr


def lines(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(code).splitlines()]


BOTH = """
structlog.contextvars.bind_contextvars(request_id="r-1")
log.info("ours", images=3)
logging.getLogger("uvicorn").info("theirs %d", 4)
logging.getLogger("uvicorn").error("Traceback (most recent call last):\\n  secret")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
log.debug("unheard")
"""


def test_structlogs_and_pythons_lines_are_json_of_one_form() -> None:
    said = lines(BOTH)
    assert [line["event"] for line in said] == ["ours", "theirs 4", "failed"]
    assert [line["level"] for line in said] == ["info", "info", "error"]
    assert all(line["request_id"] == "r-1" for line in said)
    assert all(line["timestamp"].endswith("Z") for line in said)
    assert said[0]["images"] == 3
    assert "ZeroDivisionError" in said[2]["exception"]


def test_lines_are_for_people_otherwise() -> None:
    said = run(BOTH, as_json=False)
    assert "images=3" in said
    assert "theirs 4" in said
    assert "secret" not in said
    assert "unheard" not in said


def test_warnings_and_uncaught_errors_are_lines() -> None:
    warning, in_thread, uncaught = lines(
        "warnings.warn('beware')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='worker-1')\n"
        "thread.start(); thread.join()\n"
        "raise RuntimeError('over')"
    )
    assert "beware" in warning["event"]
    assert (in_thread["event"], in_thread["thread"]) == ("uncaught", "worker-1")
    assert uncaught["level"] == "critical"
    assert "RuntimeError: over" in uncaught["exception"]


@pytest.mark.parametrize(
    "error",
    [
        "ConnectionResetError(104, 'reset')",
        "BrokenPipeError()",
        "__import__('starlette.requests').requests.ClientDisconnect()",
        "__import__('app.errors').errors.ClientGone()",
    ],
)
def test_a_client_that_leaves_is_one_line_without_a_traceback(error: str) -> None:
    said = lines(
        f"try:\n    raise {error}\n"
        "except Exception:\n"
        "    logging.getLogger('uvicorn.error').exception('Exception in ASGI application')\n"
        "    log.exception('failed')\n"
    )
    assert [line["event"] for line in said] == ["client left"] * 2
    assert [line["level"] for line in said] == ["info"] * 2
    assert all("exception" not in line for line in said)


def test_native_lines_take_the_same_form() -> None:
    said = lines(
        "with native_lines():\n"
        "    os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called\\n')\n"
        "    os.write(2, b'I0000 00:00:1795675122.99  15566 port.cc:153] oneDNN is on.\\n')\n"
        "    os.write(2, b'2026-11-26 06:00:00.1: E tensorflow/core.cc:1] as it is\\n\\n')\n"
        "    os.write(2, b'ERROR: delegate failed')\n"
        "    log.info('ours')\n"
        "log.info('after')\n"
    )
    native = [(line["level"], line["event"]) for line in said if "tensor" not in line["event"]]
    assert ("info", "oneDNN is on.") in native
    assert ("error", "delegate failed") in native
    assert ("info", "ours") in native
    assert native[-1] == ("info", "after")
    assert len(said) == 5


def test_after_native_lines_stderr_is_stderr() -> None:
    said = run("with native_lines():\n    pass\nos.write(2, b'last words')")
    assert said == "last words"
