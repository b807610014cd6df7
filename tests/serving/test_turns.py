from __future__ import annotations

import asyncio

from app.serving.turns import Turns


async def iterations_of(turns: Turns, callers: int) -> list[int]:
    """In which iteration of the loop, from the first, each caller has had its turn."""
    iteration, had = 0, []

    async def take() -> None:
        await turns.take()
        had.append(iteration)

    tasks = [asyncio.create_task(take()) for _ in range(callers)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        iteration += 1
    return had


def test_so_many_have_a_turn_in_an_iteration() -> None:
    had = asyncio.run(iterations_of(Turns(2), 7))
    assert had == sorted(had)
    assert all(had.count(iteration) <= 2 for iteration in had)
    assert len(set(had)) == 4


def test_turns_are_in_the_order_of_coming() -> None:
    turns, order = Turns(1), list[int]()

    async def take(number: int) -> None:
        await turns.take()
        order.append(number)

    async def take_all() -> None:
        await asyncio.gather(*map(take, range(5)))

    asyncio.run(take_all())
    assert order == [0, 1, 2, 3, 4]


def test_who_has_gone_takes_no_turn() -> None:
    async def leave() -> None:
        turns = Turns(1)
        _, gone, waiting = [asyncio.create_task(turns.take()) for _ in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(waiting, 60)
        assert gone.cancelled()

    asyncio.run(leave())


def test_turns_left_over_are_not_saved_up() -> None:
    async def idle() -> list[int]:
        turns = Turns(1)
        for _ in range(3):
            await turns.take()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return await iterations_of(turns, 3)

    assert len(set(asyncio.run(idle()))) == 3
