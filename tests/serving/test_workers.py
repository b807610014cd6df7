from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.serving.limits import Admission, Lease
from app.serving.workers import NICE, Process, WorkerPool

PATIENT = 60.0


def limits() -> Admission:
    return Admission(max_waiting_images=1000, body_bytes=1000, working_bytes=1000)


def open_lease(admission: Admission | None = None) -> Lease:
    return Lease(admission or limits(), math.inf)


@dataclass(eq=False)
class Work:
    """What is handed to a pool: its result, or the exception that it fails with."""

    result: int | Exception
    lease: Lease = field(default_factory=open_lease)


class Recorder:
    """Works off batches, and notes which items came together."""

    def __init__(self) -> None:
        self.batches: list[list[int | Exception]] = []

    def process(self, items: Sequence[Work]) -> list[int | Exception]:
        self.batches.append([item.result for item in items])
        return [item.result for item in items]


@asynccontextmanager
async def pool(*, threads: int = 1, max_batch_cost: int = 10) -> AsyncIterator[WorkerPool]:
    made = WorkerPool(threads=threads, max_batch_cost=max_batch_cost)
    yield made
    await made.close(PATIENT)
    assert not any(thread.is_alive() for thread in made._threads)


class Busy:
    """Keeps a thread of a pool at work until it is let go."""

    def __init__(self, workers: WorkerPool, lease: Lease | None = None) -> None:
        self.began, self.over = threading.Event(), threading.Event()
        self.future = workers.submit(self._wait, Work(0, lease or open_lease()), 1)

    def _wait(self, items: Sequence[Work]) -> list[int]:
        self.began.set()
        self.over.wait(PATIENT)
        return [0] * len(items)

    async def begin(self) -> None:
        await asyncio.to_thread(self.began.wait, PATIENT)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([1, 2, 3], [[1, 2, 3]]),
        ([6, 4, 1], [[6, 4], [1]]),
        ([1, 50, 2], [[1], [50], [2]]),
        ([50, 60], [[50], [60]]),
        ([0, 10, 0, 1], [[0, 10, 0], [1]]),
    ],
    ids=["cheap", "up to the limit", "expensive between", "expensive", "free"],
)
def test_what_waits_is_taken_in_batches_by_cost(
    costs: list[int], expected: list[list[int]]
) -> None:
    recorder = Recorder()

    async def scene() -> list[int]:
        async with pool(max_batch_cost=10) as workers:
            busy = Busy(workers)
            await busy.begin()
            futures = [workers.submit(recorder.process, Work(cost), cost) for cost in costs]
            busy.over.set()
            return await asyncio.gather(*futures)

    assert asyncio.run(scene()) == costs
    assert recorder.batches == expected


@given(
    costs=st.lists(st.integers(0, 30), max_size=30),
    threads=st.integers(1, 3),
    fails=st.sets(st.integers(0, 29)),
)
@hypothesis_settings(max_examples=30)
def test_each_item_is_processed_once_and_has_its_own_outcome(
    costs: list[int], threads: int, fails: set[int]
) -> None:
    recorder = Recorder()
    results: list[int | Exception] = [
        LookupError(index) if index in fails else index for index in range(len(costs))
    ]

    async def scene() -> list[object]:
        async with pool(threads=threads, max_batch_cost=10) as workers:
            futures = [
                workers.submit(recorder.process, Work(result), cost)
                for result, cost in zip(results, costs, strict=True)
            ]
            return await asyncio.gather(*futures, return_exceptions=True)

    assert asyncio.run(scene()) == results
    assert sum(map(len, recorder.batches)) == len(costs)
    for batch in recorder.batches:
        indices = [results.index(result) for result in batch]
        assert indices == sorted(indices)
        assert len(batch) == 1 or sum(costs[index] for index in indices) <= 10


def test_what_arrives_together_is_shared_by_the_idle_threads() -> None:
    meeting = threading.Barrier(2)

    def meet(items: Sequence[Work]) -> list[int]:
        return [meeting.wait(PATIENT)] * len(items)

    async def scene() -> None:
        async with pool(threads=2) as workers:
            while workers._idle < 2:
                await asyncio.sleep(0.001)
            await asyncio.gather(*(workers.submit(meet, Work(0), 1) for _ in range(2)))

    asyncio.run(scene())  # one thread alone would wait for the other in vain


def test_a_batch_is_of_one_kind_of_work() -> None:
    one, other = Recorder(), Recorder()

    async def scene() -> None:
        async with pool() as workers:
            busy = Busy(workers)
            await busy.begin()
            kinds = [one, one, other, one]
            futures = [
                workers.submit(kind.process, Work(number), 1) for number, kind in enumerate(kinds)
            ]
            busy.over.set()
            await asyncio.gather(*futures)

    asyncio.run(scene())
    assert one.batches == [[0, 1], [3]]
    assert other.batches == [[2]]


def test_an_exception_is_its_batches_and_the_thread_lives_on() -> None:
    def fail(items: Sequence[Work]) -> list[int]:
        raise LookupError

    recorder = Recorder()

    async def scene() -> list[int | BaseException]:
        async with pool() as workers:
            busy = Busy(workers)
            await busy.begin()
            works: list[Process[Work, int]] = [recorder.process, fail, fail, recorder.process]
            futures = [workers.submit(work, Work(number), 1) for number, work in enumerate(works)]
            busy.over.set()
            found = await asyncio.gather(*futures, return_exceptions=True)
            assert workers.alive
            return found

    found = asyncio.run(scene())
    assert found[0] == 0
    assert found[3] == 3
    assert [type(outcome) for outcome in found[1:3]] == [LookupError, LookupError]


def test_who_stops_waiting_harms_no_one() -> None:
    recorder = Recorder()

    async def scene() -> int:
        async with pool() as workers:
            busy = Busy(workers)
            await busy.begin()
            gone = workers.submit(recorder.process, Work(1), 1)
            stays = workers.submit(recorder.process, Work(2), 1)
            gone.cancel()
            busy.over.set()
            return await stays

    assert asyncio.run(scene()) == 2


def test_a_lease_is_held_until_the_thread_is_done() -> None:
    admission = limits()

    async def scene() -> None:
        async with pool() as workers:
            with open_lease(admission) as lease:
                lease.charge_images(3)
                busy = Busy(workers, lease)
                await busy.begin()
                busy.future.cancel()
            assert admission.images.held == 3
            busy.over.set()
            await workers.submit(Recorder().process, Work(0), 1)
            assert admission.images.held == 0

    asyncio.run(scene())


def test_what_is_done_is_not_held_while_the_next_is_waited_for() -> None:
    async def scene() -> bool:
        async with pool() as workers:
            item = Work(1)
            done, gone = workers.submit(Recorder().process, item, 1), weakref.ref(item)
            del item
            await done
            del done
            end = time.monotonic() + PATIENT
            while gone() and time.monotonic() < end:
                await asyncio.sleep(0.001)
            return gone() is None

    assert asyncio.run(scene())


def test_the_age_of_the_oldest_call() -> None:
    async def scene() -> None:
        async with pool() as workers:
            assert workers.longest_call_seconds == 0
            busy = Busy(workers)
            await busy.begin()
            began = time.monotonic()
            while not workers.longest_call_seconds:
                await asyncio.sleep(0.001)
            age = workers.longest_call_seconds
            assert age >= 0
            assert workers.longest_call_seconds - age <= time.monotonic() - began
            busy.over.set()
            await busy.future
            assert workers.longest_call_seconds == 0

    asyncio.run(scene())


def test_closing_waits_for_what_was_begun_and_begins_nothing_more() -> None:
    recorder, admission = Recorder(), limits()

    async def scene() -> None:
        async with pool() as workers:
            busy = Busy(workers)
            await busy.begin()
            with open_lease(admission) as lease:
                lease.charge_images(1)
                waits = workers.submit(recorder.process, Work(1, lease), 1)
            closing = asyncio.create_task(workers.close(PATIENT))
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert admission.images.held == 0
            assert not closing.done()
            busy.over.set()
            await closing
            assert await busy.future == 0
            assert not workers.alive

    asyncio.run(scene())
    assert recorder.batches == []


def test_closing_does_not_wait_for_a_stuck_thread() -> None:
    async def scene() -> None:
        workers = WorkerPool(threads=2, max_batch_cost=1)
        stuck = Busy(workers)
        await stuck.begin()
        await workers.close(0.01)
        assert not stuck.future.done()
        assert sorted(thread.is_alive() for thread in workers._threads) == [False, True]
        stuck.over.set()
        await stuck.future

    asyncio.run(scene())


def test_what_comes_after_the_closing_is_cancelled() -> None:
    admission = limits()

    async def scene() -> None:
        async with pool() as workers:
            await workers.close(PATIENT)
            with open_lease(admission) as lease:
                lease.charge_images(1)
                late = workers.submit(Recorder().process, Work(1, lease), 1)
            assert late.cancelled()
            assert admission.images.held == 0

    asyncio.run(scene())


def test_an_outcome_that_no_future_takes_is_the_error_of_its_item_alone() -> None:
    """A StopIteration can't be raised into a future."""
    admission = limits()

    def process(items: Sequence[Work]) -> list[int | Exception]:
        return [StopIteration(), 2]

    async def scene() -> list[object]:
        async with pool() as workers:
            busy = Busy(workers)
            await busy.begin()
            with open_lease(admission) as lease:
                lease.charge_images(1)
                futures = [workers.submit(process, Work(number, lease), 1) for number in range(2)]
            busy.over.set()
            return await asyncio.gather(*futures, return_exceptions=True)

    first, second = asyncio.run(scene())
    assert isinstance(first, RuntimeError)
    assert second == 2
    assert admission.images.held == 0


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_threads_run_after_the_event_loop() -> None:
    def priorities(items: Sequence[Work]) -> list[int | Exception]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in items]

    async def main() -> None:
        async with pool() as workers:
            own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            assert await workers.submit(priorities, Work(0), 1) == min(own + NICE, 19)

    asyncio.run(main())
