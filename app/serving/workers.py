"""Threads for work that is too long for the event loop, taken in groups.

A free thread takes its share of what waits, as one batch, and hands all results back at once: the
digits of a group share a model call, and its requests are answered in one iteration of the loop.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from .limits import Lease


class Leased(Protocol):
    """An item of work that belongs to a request."""

    @property
    def lease(self) -> Lease:
        """The request's share of the limits."""


NICE = 5
"""How far the threads' priority is below a loop's: by 5, they get a third of its time where both
want to run. The worst `/healthz` under 64 of the largest BMP fell from 118 to 58 ms by it."""

Item = TypeVar("Item", bound=Leased)
Result = TypeVar("Result")
Process = Callable[[Sequence[Item]], Sequence[Result | Exception]]
"""Work off a batch: a result, or the exception to raise, for each item, in order."""


class Entry(NamedTuple):
    """An item in the queue, what is to be done with it, and where its result is awaited."""

    process: Process[Any, Any]
    item: Leased
    cost: int
    future: asyncio.Future[Any]


class WorkerPool:
    """Daemon threads that work off a queue; made and used on one event loop.

    Args:
        threads: Number of threads.
        max_batch_cost: Cost of a batch at most, unless a single item costs more: what is cheap
            does not wait for much that is expensive.
    """

    def __init__(self, *, threads: int, max_batch_cost: int) -> None:
        self.max_batch_cost = max_batch_cost
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._idle = 0
        self._closed = False
        self._wake_is_due = False
        self._began: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether every thread still runs."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def longest_call_seconds(self) -> float:
        """For how long the oldest batch that is still in work has been."""
        began = list(self._began.values())
        return time.monotonic() - min(began) if began else 0.0

    def submit(
        self, process: Process[Item, Result], item: Item, cost: int
    ) -> asyncio.Future[Result]:
        """Queue `item`; the future gets its result, or is cancelled when the pool is closed.

        The lease is held until a thread is done.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._closed:
            future.cancel()
            return future
        item.lease.hold()
        with self._changed:
            self._queue.append(Entry(process, item, cost, future))
        if not self._wake_is_due:
            self._wake_is_due = True
            # At the end of the iteration, so that what arrived together goes together.
            self._loop.call_soon(self._wake)
        return future

    async def close(self, seconds: float) -> None:
        """Take nothing more from the queue, and wait up to `seconds` for what is in work."""
        with self._changed:
            self._closed = True
            abandoned, self._queue = [*self._queue], deque()
            self._changed.notify_all()
        for entry in abandoned:
            entry.future.cancel()
            entry.item.lease.release()
        end = time.monotonic() + seconds
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, end - time.monotonic()))

    def _wake(self) -> None:
        self._wake_is_due = False
        with self._changed:
            self._changed.notify(len(self._queue))

    def _work(self) -> None:
        give_way(NICE)
        while batch := self._take():
            self._work_off(batch)
            del batch  # or it would be held while the next is waited for

    def _work_off(self, batch: list[Entry]) -> None:
        name = threading.current_thread().name
        self._began[name] = time.monotonic()
        outcomes = _run(batch)
        del self._began[name]
        self._loop.call_soon_threadsafe(_deliver, batch, outcomes)

    def _take(self) -> list[Entry]:
        """This thread's share of the queue: entries in order that are processed alike.

        Empty when the pool is closed.
        """
        with self._changed:
            self._idle += 1
            while not self._queue and not self._closed:
                self._changed.wait()
            share = -(-len(self._queue) // self._idle)
            self._idle -= 1
            batch: list[Entry] = []
            room = self.max_batch_cost
            while share and self._queue:
                entry = self._queue[0]
                if batch and (entry.cost > room or entry.process != batch[0].process):
                    break
                batch.append(self._queue.popleft())
                room -= entry.cost
                share -= 1
            return batch


def give_way(nice: int) -> None:
    """Have this thread run after the event loops, where there are fewer cores than threads.

    Args:
        nice: By how much its priority is lower than theirs; at most to the lowest, 19.
    """
    if sys.platform == "linux":  # where each thread has a priority of its own
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + nice)


def _run(batch: list[Entry]) -> Sequence[Any]:
    try:
        return batch[0].process([entry.item for entry in batch])
    except Exception as error:  # noqa: BLE001 -- for its requests to raise; the thread must live
        return [error] * len(batch)


def _deliver(batch: list[Entry], outcomes: Sequence[Any]) -> None:
    for entry, outcome in zip(batch, outcomes, strict=True):
        entry.item.lease.release()
        resolve(entry.future, outcome)


def resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    """Give `future` its outcome, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(outcome, StopIteration):  # which a future refuses
        future.set_exception(RuntimeError("The work ended with a StopIteration."))
    elif isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
