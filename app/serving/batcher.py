"""Many requests, few model calls.

A job waits in a queue that is bounded in images. A thread that is free takes what has gathered, up
to `max_batch` images, and leaves at once: there is no timer, so a lone request waits for nothing.
Threads are woken when the event loop has run what was ready, so that requests which arrive together
leave together instead of one by one.
A job larger than a batch is worked off in several, which lets the threads share it; its asker gets
one answer, in order.

    reserved ──run──▶ waiting ──a thread takes its first image──▶ running ──▶ done
        └───abandon───────┘  (deadline passed, client gone: never computed)

Places in the queue are given back when the work has really ended: a thread can't be stopped, so a
job that is running keeps its places until it is not, whoever still listens.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import Draining, ModelError, QueueFull

Images = NDArray[np.uint8]
Rows = NDArray[np.float32]
NO_IMAGES: Images = np.empty((0, 28, 28), np.uint8)
Model = Callable[[Images], Rows]
"""Images [n,28,28] in, one row of figures an image out."""


class Job:
    """One request's places in the queue, and then its images on their way through a model."""

    def __init__(self, batcher: Batcher, places: int, future: asyncio.Future[Rows]) -> None:
        self.batcher = batcher
        self.places = places
        self.future = future
        self.images: Images = NO_IMAGES
        self.rows: dict[int, Rows] = {}  # by the index of their first image: batches may overtake
        self.queued = False
        self.taken = 0  # images that threads have taken so far
        self.running = 0  # batches of this job inside the model now
        self.left = False  # the asker waits no more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.batcher.leave(self)

    async def run(self, model: Model, images: Images) -> Rows:
        """The model's rows [n,…] for `images` [n,28,28], 1 ≤ n ≤ the places reserved.

        Raises what `abandon` was given, or what the model raised.
        """
        if not 1 <= len(images) <= self.places:
            raise ValueError(f"{len(images)} images in {self.places} places")
        self.model, self.images = model, images
        if not self.future.done():
            self.batcher.enqueue(self)
        return await self.future

    def abandon(self, error: Exception) -> None:
        """Answer with `error` instead, unless a thread has begun: then the answer is on its way."""
        if self.batcher.withdraw(self) and not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # its asker may not be waiting yet, and that is no mistake


class Slice(NamedTuple):
    """Part of a job in one batch: its images `start` to `stop`."""

    job: Job
    start: int
    stop: int


class Batcher:
    """The queue and the threads that empty it, made and used on one event loop.

    `threads` model calls run at once, each of at most `max_batch` images; `max_images` may be
    reserved at once. `on_batch` is told the size and the seconds of every call.
    """

    def __init__(
        self,
        *,
        threads: int,
        max_batch: int,
        max_images: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self.max_batch = max_batch
        self.max_images = max_images
        self.reserved = 0
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Job] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._waking = False
        self._call_began: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def close(self) -> None:
        """Take no more; return when what is queued is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    @property
    def longest_call_seconds(self) -> float:
        """For how long the oldest model call that still runs has run."""
        began = list(self._call_began.values())
        return time.monotonic() - min(began) if began else 0.0

    def admit(self, images: int) -> None:
        """Raises QueueFull where there are not that many places, Draining after `close`."""
        if self._closed:
            raise Draining("The service is stopping; send the request again.")
        if self.reserved + images > self.max_images:
            raise QueueFull("As many images wait as may wait; try again shortly.")

    def call(self, model: Model, images: Images) -> Rows:
        """One call on the event loop, past the queue: for what takes less than a hand-over."""
        began = time.monotonic()
        rows = model(images)
        self._on_batch(len(images), time.monotonic() - began)
        return rows

    def occupy(self, places: int) -> None:
        """Until `vacate` gives them back. Raises as `admit`."""
        self.admit(places)
        self.reserved += places

    def vacate(self, places: int) -> None:
        self.reserved -= places

    def reserve(self, images: int) -> Job:
        """Places for so many images, given back by leaving the job's context. Raises as `admit`."""
        self.occupy(images)
        return Job(self, images, self._loop.create_future())

    def enqueue(self, job: Job) -> None:
        """Raises Draining after `close`: there may be no thread left."""
        with self._lock:
            if self._closed:
                raise Draining("The service is stopping; send the request again.")
            self._queue.append(job)
            job.queued = True
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        """A thread that takes a part wakes the next one for the rest."""
        self._waking = False
        with self._changed:
            self._changed.notify()

    def withdraw(self, job: Job) -> bool:
        """Take a job out of the queue; False where a thread has begun it."""
        with self._lock:
            if not job.taken:
                self._unqueue(job)
            return not job.taken

    def leave(self, job: Job) -> None:
        """The asker goes; what no thread has taken of its images is not computed."""
        job.left = True
        if job.queued:
            with self._lock:
                self._unqueue(job)
        self._give_back(job)

    def _unqueue(self, job: Job) -> None:
        if job.queued:
            self._queue.remove(job)
            job.queued = False

    def _give_back(self, job: Job) -> None:
        if job.left and not job.running:
            self.vacate(job.places)
            job.places = 0

    def _work(self) -> None:
        me = threading.current_thread().name
        while batch := self._take():
            began = self._call_began[me] = time.monotonic()
            outcome = _call(batch)
            del self._call_began[me]
            seconds = time.monotonic() - began
            self._loop.call_soon_threadsafe(self._deliver, batch, outcome, seconds)

    def _take(self) -> list[Slice]:
        """The next batch: jobs in order, all for one model. Empty when there will be no more."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return []
                self._changed.wait()
            batch: list[Slice] = []
            model, room = self._queue[0].model, self.max_batch
            while room and self._queue and self._queue[0].model is model:
                job = self._queue[0]
                part = Slice(job, job.taken, min(job.taken + room, len(job.images)))
                batch.append(part)
                room -= part.stop - part.start
                job.taken = part.stop
                job.running += 1
                if job.taken == len(job.images):
                    self._queue.popleft()
                    job.queued = False
            if self._queue:
                self._changed.notify()
            return batch

    def _deliver(self, batch: list[Slice], outcome: Rows | Exception, seconds: float) -> None:
        """Back on the loop: its rows to every job, and the answer where it is whole."""
        first = 0
        for job, start, stop in batch:
            job.running -= 1
            if not job.future.done():
                if isinstance(outcome, Exception):
                    job.future.set_exception(outcome)
                else:
                    _collect(job, start, outcome[first : first + stop - start])
            first += stop - start
            self._give_back(job)
        self._on_batch(first, seconds)


def _call(batch: list[Slice]) -> Rows | Exception:
    parts = [job.images[start:stop] for job, start, stop in batch]
    images = parts[0] if len(parts) == 1 else np.concatenate(parts)
    try:
        rows = batch[0].job.model(images)
        if len(rows) != len(images):  # its askers would wait for ever
            raise ModelError(f"The model gave {len(rows)} rows for {len(images)} images.")
        return rows
    except Exception as error:  # noqa: BLE001 -- the askers' to raise; the thread must live
        return error


def _collect(job: Job, start: int, rows: Rows) -> None:
    """Those of the images from `start` on; the answer where that makes it whole."""
    if len(rows) < len(job.images):
        job.rows[start] = rows
        if sum(map(len, job.rows.values())) < len(job.images):
            return
        rows = np.concatenate([job.rows[first] for first in sorted(job.rows)])
    job.future.set_result(rows)
