from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.serving.limits import Admission, Lease
from app.serving.microbatch import MicroBatcher
from app.serving.workers import WorkerPool

INLINE_COST, BATCH_COST = 5, 10


def open_lease() -> Lease:
    return Lease(Admission(max_waiting_images=1, body_bytes=1, working_bytes=1), math.inf)


@dataclass(eq=False)
class Work:
    """What is submitted: its result, or the exception that it fails with."""

    result: int | Exception
    lease: Lease = field(default_factory=open_lease)


Batch = tuple[str, list[Any]]
"""The thread that has processed a batch, and what was in it."""


def recorded(
    scene: Callable[[MicroBatcher[Work, int]], object], *, fails: bool = False
) -> list[Batch]:
    """The batches that are processed of what `scene` submits, in one iteration of the loop."""
    batches: list[Batch] = []

    def process(items: Sequence[Work]) -> list[int | Exception]:
        batches.append((threading.current_thread().name, [item.result for item in items]))
        if fails:
            raise LookupError
        return [item.result for item in items]

    async def run() -> None:
        workers = WorkerPool(threads=1, max_batch_cost=100)
        batcher = MicroBatcher(process, workers, inline_cost=INLINE_COST, batch_cost=BATCH_COST)
        awaited = scene(batcher)
        if asyncio.iscoroutine(awaited):
            await awaited
        await asyncio.sleep(0)
        while batcher._waiting:
            await asyncio.sleep(0)
        await workers.close(60)

    asyncio.run(run())
    return batches


HERE = threading.main_thread().name


def test_what_arrives_in_one_iteration_is_one_batch() -> None:
    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        async def request(number: int) -> int:
            return await batcher.submit(Work(number), 1)

        assert await asyncio.gather(*map(request, range(4))) == [0, 1, 2, 3]
        assert await request(4) == 4
        assert await asyncio.gather(*map(request, range(5, 7))) == [5, 6]

    assert recorded(scene) == [(HERE, [0, 1, 2, 3]), (HERE, [4]), (HERE, [5, 6])]


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([5, 5], [[5, 5]]),
        ([5, 4, 2], [[5, 4], [2]]),
        ([4, 4, 4, 4, 4], [[4, 4], [4, 4], [4]]),
        ([0] * 50, [[0] * 50]),
    ],
)
def test_a_batch_costs_no_more_than_it_may(costs: list[int], expected: list[list[int]]) -> None:
    def scene(batcher: MicroBatcher[Work, int]) -> None:
        for cost in costs:
            batcher.submit(Work(cost), cost)

    assert recorded(scene) == [(HERE, batch) for batch in expected]


def test_other_callbacks_have_their_turn_between_batches() -> None:
    heard: list[int] = []

    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        loop = asyncio.get_running_loop()
        futures = [batcher.submit(Work(number), 5) for number in range(6)]
        loop.call_soon(lambda: loop.call_soon(lambda: heard.append(sum(f.done() for f in futures))))
        await asyncio.gather(*futures)

    assert [batch for _, batch in recorded(scene)] == [[0, 1], [2, 3], [4, 5]]
    assert heard[0] < 6


def test_what_is_expensive_goes_to_the_threads() -> None:
    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        assert batcher.runs_inline(INLINE_COST)
        assert not batcher.runs_inline(INLINE_COST + 1)
        expensive = batcher.submit(Work(1), INLINE_COST + 1)
        assert await batcher.submit(Work(2), INLINE_COST) == 2
        assert await expensive == 1

    assert sorted(recorded(scene)) == [(HERE, [2]), ("worker-0", [1])]


def test_each_has_its_own_outcome() -> None:
    error = LookupError()

    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        futures = [batcher.submit(Work(result), 1) for result in (1, error, 3)]
        assert await asyncio.gather(*futures, return_exceptions=True) == [1, error, 3]

    recorded(scene)


def test_an_exception_of_the_processing_is_everyones() -> None:
    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        futures = [batcher.submit(Work(number), 1) for number in range(2)]
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(outcome) for outcome in found] == [LookupError, LookupError]

    recorded(scene, fails=True)


def test_what_is_cancelled_is_not_processed() -> None:
    def scene(batcher: MicroBatcher[Work, int]) -> None:
        futures = [batcher.submit(Work(number), 5) for number in range(4)]
        futures[0].cancel()
        futures[2].cancel()

    # And costs nothing: both of the others fit into one batch.
    assert recorded(scene) == [(HERE, [1, 3])]


def test_when_all_are_cancelled_nothing_is_processed() -> None:
    def scene(batcher: MicroBatcher[Work, int]) -> None:
        for number in range(2):
            batcher.submit(Work(number), 5).cancel()

    assert recorded(scene) == []


def test_a_future_that_is_cancelled_by_another_of_its_batch() -> None:
    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        first, second = (batcher.submit(Work(number), 1) for number in range(2))
        first.add_done_callback(lambda _: second.cancel())
        assert await first == 0
        await asyncio.gather(second, return_exceptions=True)

    assert recorded(scene) == [(HERE, [0, 1])]


def test_an_outcome_that_no_future_takes_is_the_error_of_its_item_alone() -> None:
    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        futures = [batcher.submit(Work(result), 1) for result in (StopIteration(), 2)]
        first, second = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(first, RuntimeError)
        assert second == 2

    recorded(scene)


@given(waves=st.lists(st.lists(st.integers(0, 8), max_size=12), max_size=4))
@hypothesis_settings(max_examples=50)
def test_each_is_processed_once_in_order_and_at_once(waves: list[list[int]]) -> None:
    costs = [cost for wave in waves for cost in wave]
    numbers = iter(range(len(costs)))

    async def scene(batcher: MicroBatcher[Work, int]) -> None:
        futures = []
        for wave in waves:
            futures += [batcher.submit(Work(next(numbers)), cost) for cost in wave]
            await asyncio.sleep(0)
        assert await asyncio.gather(*futures) == [*range(len(costs))]

    batches = recorded(scene)
    processed = [number for _, batch in batches for number in batch]
    assert sorted(processed) == [*range(len(costs))]
    for name, batch in batches:
        assert batch == sorted(batch)
        assert all((costs[number] <= INLINE_COST) == (name == HERE) for number in batch)
        assert name != HERE or sum(costs[number] for number in batch) <= BATCH_COST
