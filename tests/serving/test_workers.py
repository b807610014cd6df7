from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.serving.workers import Pool


@asynccontextmanager
async def pool(*, threads: int = 1, max_weight: int = 10) -> AsyncIterator[Pool]:
    made = Pool(threads=threads, max_weight=max_weight)
    yield made
    await made.close()
    assert not any(thread.is_alive() for thread in made._threads)


class Busy:
    """Keeps one thread of a pool at work until it is let go."""

    def __init__(self, pool: Pool) -> None:
        self.began, self.over = threading.Event(), threading.Event()
        self.task = asyncio.create_task(pool.run(self._work, 1))

    def _work(self) -> None:
        self.began.set()
        self.over.wait()

    async def begin(self) -> None:
        await asyncio.to_thread(self.began.wait)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1, 2, 3], [[1, 2, 3]]),
        ([6, 4, 1], [[6, 4], [1]]),
        ([1, 50, 2], [[1], [50], [2]]),
        ([50, 60], [[50], [60]]),
    ],
    ids=["light", "up to the limit", "heavy between", "heavy alone"],
)
def test_what_waits_goes_in_groups(weights: list[int], expected: list[list[int]]) -> None:
    async def scene() -> list[list[int]]:
        async with pool(threads=0) as made:
            tasks: list[asyncio.Task[object]] = [
                asyncio.create_task(made.run(tuple, weight)) for weight in weights
            ]
            await asyncio.sleep(0)
            taken = [made._take() for _ in expected]
            for task in tasks:
                task.cancel()
            return [[task.weight for task in group] for group in taken]

    assert asyncio.run(scene()) == expected


def test_what_arrives_together_is_shared_by_the_idle_threads() -> None:
    meeting = threading.Barrier(2)

    async def scene() -> None:
        async with pool(threads=2) as made:
            await asyncio.sleep(0.05)  # both are idle by then
            await asyncio.gather(*(made.run(lambda: meeting.wait(30), 1) for _ in range(2)))

    asyncio.run(scene())  # one thread alone would wait for the other in vain


def test_an_error_is_its_askers_and_no_one_elses() -> None:
    def fail() -> None:
        raise LookupError

    work: list[Callable[[], object]] = [lambda: 1, fail, lambda: 3]

    async def scene() -> list[object]:
        async with pool() as made:
            return await asyncio.gather(*(made.run(one, 1) for one in work), return_exceptions=True)

    first, second, third = asyncio.run(scene())
    assert (first, third) == (1, 3)
    assert isinstance(second, LookupError)


def test_an_asker_that_goes_harms_no_one() -> None:
    async def scene() -> int:
        async with pool() as made:
            busy = Busy(made)
            await busy.begin()
            gone = asyncio.ensure_future(made.run(lambda: 1, 1))
            stays = asyncio.ensure_future(made.run(lambda: 2, 1))
            await asyncio.sleep(0)
            gone.cancel()
            busy.over.set()
            return await stays

    assert asyncio.run(scene()) == 2


def test_closing_waits_for_what_was_begun_and_begins_nothing_more() -> None:
    async def scene() -> None:
        async with pool() as made:
            busy = Busy(made)
            await busy.begin()
            waiting = asyncio.ensure_future(made.run(lambda: 1, 1))
            await asyncio.sleep(0)
            closing = asyncio.create_task(made.close())
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not closing.done()
            busy.over.set()
            await closing
            await busy.task

    asyncio.run(scene())
