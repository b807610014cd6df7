from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import DeadlineExceeded
from app.serving.batcher import Job
from app.serving.deadlines import Deadlines

SOON = 0.05


class Waiting(Job):
    """A job that notes when it was given up, and why."""

    def __init__(self, note: Callable[[Job, Exception], None]) -> None:
        self.note = note

    def abandon(self, error: Exception) -> None:
        self.note(self, error)


def run(main: Callable[[Deadlines, Callable[[], Waiting], list[Any]], Any]) -> list[Any]:
    """What was given up in `main`, in order."""
    given_up: list[Any] = []

    async def running() -> None:
        deadlines = Deadlines(SOON)
        await main(deadlines, lambda: Waiting(lambda job, e: given_up.append((job, e))), given_up)
        deadlines.close()

    asyncio.run(running())
    return given_up


def test_who_waits_too_long_is_given_up_in_turn() -> None:
    jobs: list[Job] = []

    async def main(deadlines: Deadlines, job: Callable[[], Waiting], given_up: list[Any]) -> None:
        began = asyncio.get_running_loop().time()
        for _ in range(3):
            jobs.append(job())
            deadlines.add(jobs[-1])
            await asyncio.sleep(0.01)
        while len(given_up) < 3:
            await asyncio.sleep(0.001)
        assert asyncio.get_running_loop().time() - began >= SOON + 0.02

    given_up = run(main)
    assert [job for job, _ in given_up] == jobs
    assert all(isinstance(error, DeadlineExceeded) for _, error in given_up)


def test_who_has_an_answer_is_not() -> None:
    async def main(deadlines: Deadlines, job: Callable[[], Waiting], given_up: list[Any]) -> None:
        early, late = job(), job()
        deadlines.add(early)
        deadlines.add(late)
        deadlines.discard(early)
        deadlines.discard(early)
        while not given_up:
            await asyncio.sleep(0.001)
        assert given_up[0][0] is late
        again = job()  # the timer had gone off with nobody left
        deadlines.add(again)
        while len(given_up) < 2:
            await asyncio.sleep(0.001)

    assert len(run(main)) == 2


@pytest.mark.parametrize("jobs", [0, 1])
def test_closed_it_gives_nobody_up(jobs: int) -> None:
    async def main(deadlines: Deadlines, job: Callable[[], Waiting], given_up: list[Any]) -> None:
        for _ in range(jobs):
            deadlines.add(job())
        deadlines.close()
        await asyncio.sleep(2 * SOON)

    assert run(main) == []
