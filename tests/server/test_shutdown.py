from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import structlog
from structlog.testing import LogCapture

from app.server.shutdown import SIGNALS, Drain
from tests.conftest import ROOT


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that came through to the handlers of the server, which stand behind."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda came_now, _: came.append(came_now))
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of an overdue process would be that of the tests; a process of its own shows it."""
    monkeypatch.setattr("app.server.shutdown._end_overdue", lambda: None)


async def until(came: list[int], count: int) -> None:
    while len(came) < count:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_gives_notice_and_is_passed_on_later(
    heard: list[int], number: signal.Signals
) -> None:
    async def run() -> None:
        with Drain(notice_seconds=0.05).installed() as drain:
            drain.started = True
            signal.raise_signal(number)
            assert drain.began
            assert heard == []
            await until(heard, 1)

    asyncio.run(run())
    assert heard == [number]


def test_the_line_names_no_request(heard: list[int]) -> None:
    lines = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, lines])

    async def run() -> None:
        with Drain(notice_seconds=3600).installed() as drain:
            drain.started = True
            with structlog.contextvars.bound_contextvars(request_id="of-a-stranger"):
                signal.raise_signal(signal.SIGTERM)

    before = structlog.get_config()
    try:
        asyncio.run(run())
    finally:
        structlog.configure(**before)
    assert lines.entries == [{"event": "draining", "notice_seconds": 3600, "log_level": "info"}]


def test_the_servers_handlers_come_back(heard: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    async def run() -> None:
        with Drain(0).installed():
            assert [signal.getsignal(number) for number in SIGNALS] != before

    asyncio.run(run())
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_server_in_another_thread_keeps_its_signals(heard: list[int]) -> None:
    async def run() -> None:
        with Drain(0).installed():
            pass

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in SIGNALS] == before


PROGRAM = """
import asyncio, signal
from app.server.shutdown import Drain

async def run():
    drain = Drain(3600)
    with drain.installed():
        drain.started = {started}
        for _ in range({signals}):
            signal.raise_signal(signal.SIGTERM)
        print("alive", flush=True)

asyncio.run(run())
"""


@pytest.mark.parametrize(
    ("started", "signals", "status"),
    [(False, 1, 128 + signal.SIGTERM), (True, 1, 0), (True, 2, 128 + signal.SIGTERM)],
    ids=["during start-up", "first", "second"],
)
def test_which_signal_ends_the_process_at_once(started: bool, signals: int, status: int) -> None:
    program = PROGRAM.format(started=started, signals=signals)
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert ("alive" in ended.stdout) == (status == 0)


def test_a_worker_takes_sigterm_once_and_leaves_sigint_to_its_supervisor(
    heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Mock()
    supervisor.join.side_effect = threading.Event().wait
    monkeypatch.setattr("multiprocessing.parent_process", lambda: supervisor)

    async def run() -> None:
        with Drain(notice_seconds=0).installed() as drain:
            drain.started = True
            signal.raise_signal(signal.SIGINT)
            assert not drain.began
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            await until(heard, 1)

    asyncio.run(run())
    assert heard == [signal.SIGTERM]


def test_a_worker_drains_when_its_supervisor_has_gone(
    heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    supervisor = Mock()
    supervisor.join.side_effect = gone.wait
    monkeypatch.setattr("multiprocessing.parent_process", lambda: supervisor)

    async def run() -> None:
        with Drain(notice_seconds=0).installed() as drain:
            drain.started = True
            assert not drain.began
            gone.set()
            await until(heard, 1)
            assert drain.began

    asyncio.run(run())
    assert heard == [signal.SIGTERM]
