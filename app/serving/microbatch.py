"""Requests that arrive together are worked off together.

Cheap items are processed on the event loop, as one batch an iteration: a hand-over to a thread
would cost more than the work. Expensive items go to the worker threads.

    submit ─┬─ cheap ──▶ waiting ──▶ one batch an iteration, on the loop
            └─ expensive ──▶ worker threads
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic

from .workers import Item, Process, Result, WorkerPool, resolve


class MicroBatcher(Generic[Item, Result]):
    """Process everything that arrives in one event-loop iteration as one batch.

    Args:
        process: Works off a batch.
        workers: Where items go that cost more than `inline_cost`.
        inline_cost: Cost of an item on the loop, at most.
        batch_cost: Cost of a batch on the loop, at most: other callbacks have their turn after it.
    """

    def __init__(
        self,
        process: Process[Item, Result],
        workers: WorkerPool,
        *,
        inline_cost: int,
        batch_cost: int,
    ) -> None:
        self.inline_cost = inline_cost
        self.batch_cost = batch_cost
        self._process = process
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._is_due = False

    def runs_inline(self, cost: int) -> bool:
        """Whether an item of this cost is processed on the event loop."""
        return cost <= self.inline_cost

    def submit(self, item: Item, cost: int) -> asyncio.Future[Result]:
        """Have `item` processed; the future gets its result."""
        if not self.runs_inline(cost):
            return self._workers.submit(self._process, item, cost)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((item, cost, future))
        self._schedule()
        return future

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._is_due = False
        batch = self._take()
        if self._waiting:
            self._schedule()
        if not batch:  # all were cancelled
            return
        items = [item for item, _ in batch]
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = self._process(items)
        except Exception as error:  # noqa: BLE001 -- for its requests to raise
            outcomes = [error] * len(items)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            resolve(future, outcome)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        room = self.batch_cost
        while self._waiting and (not batch or self._waiting[0][1] <= room):
            item, cost, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
                room -= cost
        return batch
