"""Threads for work that is too long for the event loop, taken in groups.

A thread that is free takes its share of what waits and hands all results back at once. Their askers
go on in one turn of the loop, and their digits into one model call: one by one, each image paid for
a hand-over and a model call of its own, which cost as much as decoding it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")


class Task(NamedTuple):
    """Work, how heavy it is, and where its result is awaited."""

    work: Callable[[], Any]
    weight: int
    future: asyncio.Future[Any]


class Pool:
    """`threads` threads, made and used on one event loop. A group weighs `max_weight` at most, or
    is a single task: what is light does not wait for much that is heavy.
    """

    def __init__(self, *, threads: int, max_weight: int) -> None:
        self.max_weight = max_weight
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Task] = deque()
        self._changed = threading.Condition()
        self._idle = 0
        self._closed = False
        self._waking = False
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], Result], weight: int) -> Result:
        """What `work` returns, or raises, in one of the threads."""
        future: asyncio.Future[Result] = self._loop.create_future()
        with self._changed:
            self._queue.append(Task(work, weight, future))
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self._wake)
        return await future

    async def close(self) -> None:
        """Begin nothing more; return when what was begun has ended."""
        with self._changed:
            self._closed = True
            for task in self._queue:
                task.future.cancel()
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _wake(self) -> None:
        """Once the loop has run what was ready, so that what arrived together goes together."""
        self._waking = False
        with self._changed:
            self._changed.notify(len(self._queue))

    def _work(self) -> None:
        while group := self._take():
            outcomes = [_outcome(task.work) for task in group]
            self._loop.call_soon_threadsafe(_deliver, group, outcomes)

    def _take(self) -> list[Task]:
        """This thread's share of what waits. Empty when there will be no more."""
        with self._changed:
            self._idle += 1
            while not self._queue and not self._closed:
                self._changed.wait()
            share = -(-len(self._queue) // self._idle)
            self._idle -= 1
            group: list[Task] = []
            room = self.max_weight
            while share and self._queue and (not group or self._queue[0].weight <= room):
                group.append(self._queue.popleft())
                room -= group[-1].weight
                share -= 1
            return group


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 -- its asker's to raise; the thread must live
        return error


def _deliver(group: list[Task], outcomes: list[Any]) -> None:
    for task, outcome in zip(group, outcomes, strict=True):
        if task.future.done():  # its asker was cancelled
            continue
        if isinstance(outcome, Exception):
            task.future.set_exception(outcome)
        else:
            task.future.set_result(outcome)
