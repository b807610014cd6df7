from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

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


async def until(came: list[int], count: int) -> None:
    while len(came) < count:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_gives_notice_and_is_passed_on_later(
    heard: list[int], number: signal.Signals
) -> None:
    async def run() -> None:
        drain = Drain(notice_seconds=0.05)
        with drain.installed():
            drain.started = True
            signal.raise_signal(number)
            assert drain.began
            assert heard == []
            await until(heard, 1)

    asyncio.run(run())
    assert heard == [number]


def test_a_second_signal_is_passed_on_at_once_as_one_that_forces(heard: list[int]) -> None:
    async def run() -> None:
        drain = Drain(notice_seconds=3600)
        with drain.installed():
            drain.started = True
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            await until(heard, 2)

    asyncio.run(run())
    assert heard == [signal.SIGINT, signal.SIGINT]


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


def test_during_start_up_the_first_signal_ends_the_process() -> None:
    program = """
import asyncio, signal
from app.server.shutdown import Drain

async def run():
    with Drain(3600).installed():
        signal.raise_signal(signal.SIGTERM)

asyncio.run(run())
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert ended.returncode == 128 + signal.SIGTERM
