from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from numpy.typing import NDArray

from app.errors import DeadlineExceeded, Draining, ModelError, QueueFull
from app.serving.batcher import Batcher, Images, Job, Rows

T = TypeVar("T")
PATIENCE_SECONDS = 30  # a hang is a failure; nothing that works comes near


def images(*numbers: int) -> Images:
    """Images [n,28,28] that carry their numbers."""
    made = np.zeros((len(numbers), 28, 28), np.uint8)
    for image, number in zip(made, numbers, strict=True):
        image[0, :4] = np.array([number], ">u4").view(np.uint8)
    return made


def numbers_of(batch: Images) -> tuple[int, ...]:
    """The numbers that the images [n,28,28] carry."""
    raw = np.ascontiguousarray(batch[:, 0, :4])
    return tuple(int(number) for number in raw.view(">u4")[:, 0])


def echo(batch: Images) -> Rows:
    """A model whose rows [n,1] are the images' numbers."""
    return np.array(numbers_of(batch), np.float32)[:, None]


@dataclass(eq=False)
class Gate:
    """A model that holds every call until it is let go, and says which calls it holds."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    held: dict[tuple[str, tuple[int, ...]], bool | None] = field(default_factory=dict)

    def __call__(self, batch: Images, *, name: str = "") -> Rows:
        call = name, numbers_of(batch)
        with self.changed:
            self.held[call] = None
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.held[call] is not None, PATIENCE_SECONDS)
            succeeds = self.held.pop(call)
            self.changed.notify_all()
        if not succeeds:
            raise ValueError(repr(call))
        return echo(batch)

    def let_go(self, call: tuple[str, tuple[int, ...]], *, succeeds: bool = True) -> None:
        with self.changed:
            self.held[call] = succeeds
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: call not in self.held, PATIENCE_SECONDS)

    def wait_until_held(self, calls: set[tuple[str, tuple[int, ...]]]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: set(self.held) == calls, PATIENCE_SECONDS), (
                f"{set(self.held)} and not {calls}"
            )


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, PATIENCE_SECONDS))


async def ask(batcher: Batcher, batch: Images, model: Any = echo, places: int = 0) -> Rows:
    with batcher.reserve(places or len(batch)) as job:
        return await job.run(model, batch)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sizes", [[1], [5], [1] * 9, [3, 1, 7, 2]], ids=str)
def test_every_asker_gets_its_own_rows_in_order(threads: int, sizes: list[int]) -> None:
    async def scene() -> None:
        batcher = Batcher(threads=threads, max_batch=4, max_images=99)
        starts = np.cumsum([0, *sizes])
        asked = [range(a, b) for a, b in pairwise(starts)]
        answers = await asyncio.gather(*(ask(batcher, images(*one)) for one in asked))
        assert [answer[:, 0].tolist() for answer in answers] == [list(one) for one in asked]
        assert batcher.reserved == 0
        await batcher.close()

    run(scene())


def test_what_gathers_while_the_thread_is_busy_leaves_together() -> None:
    async def scene() -> None:
        sizes: list[int] = []
        gate = Gate()
        batcher = Batcher(
            threads=1, max_batch=4, max_images=99, on_batch=lambda size, seconds: sizes.append(size)
        )
        tasks = [asyncio.create_task(ask(batcher, images(0), gate))]
        await asyncio.to_thread(gate.wait_until_held, {("", (0,))})
        assert batcher.longest_call_seconds > 0
        tasks += [asyncio.create_task(ask(batcher, images(i), gate)) for i in range(1, 7)]
        await asyncio.sleep(0)
        for call in [(0,), (1, 2, 3, 4), (5, 6)]:
            await asyncio.to_thread(gate.wait_until_held, {("", call)})
            await asyncio.to_thread(gate.let_go, ("", call))
        rows = await asyncio.gather(*tasks)
        assert [row.item() for row in rows] == [0, 1, 2, 3, 4, 5, 6]
        assert sizes == [1, 4, 2]
        await batcher.close()
        assert batcher.longest_call_seconds == 0

    run(scene())


def test_a_large_job_is_shared_by_the_threads_and_comes_back_in_order() -> None:
    async def scene() -> None:
        gate = Gate()
        batcher = Batcher(threads=2, max_batch=2, max_images=9)
        asker = asyncio.create_task(ask(batcher, images(1, 2, 3, 4), gate))
        await asyncio.to_thread(gate.wait_until_held, {("", (1, 2)), ("", (3, 4))})
        await asyncio.to_thread(gate.let_go, ("", (3, 4)))
        await asyncio.to_thread(gate.let_go, ("", (1, 2)))
        assert (await asker)[:, 0].tolist() == [1, 2, 3, 4]
        await batcher.close()

    run(scene())


def test_a_batch_is_of_one_model() -> None:
    async def scene() -> None:
        gate = Gate()
        old, new = partial(gate, name="old"), partial(gate, name="new")
        batcher = Batcher(threads=1, max_batch=4, max_images=9)
        askers = [asyncio.create_task(ask(batcher, images(0), old))]
        await asyncio.to_thread(gate.wait_until_held, {("old", (0,))})
        askers += [
            asyncio.create_task(ask(batcher, images(number), model))
            for number, model in enumerate([old, new, new, old], 1)
        ]
        for call in [("old", (0,)), ("old", (1,)), ("new", (2, 3)), ("old", (4,))]:
            await asyncio.to_thread(gate.wait_until_held, {call})
            await asyncio.to_thread(gate.let_go, call)
        assert [row.item() for row in await asyncio.gather(*askers)] == [0, 1, 2, 3, 4]
        await batcher.close()

    run(scene())


@pytest.mark.parametrize(("count", "places"), [(0, 1), (2, 1)], ids=["none", "more"])
def test_images_fit_their_places(count: int, places: int) -> None:
    async def scene() -> None:
        batcher = Batcher(threads=1, max_batch=4, max_images=9)
        with pytest.raises(ValueError, match=f"{count} images in {places} places"):
            await ask(batcher, images(*range(count)), places=places)
        assert batcher.reserved == 0
        await batcher.close()

    run(scene())


def short(batch: Images) -> Rows:
    return echo(batch)[1:]


@pytest.mark.parametrize(
    ("model", "error"), [(short, ModelError), (lambda batch: 1 / 0, ZeroDivisionError)]
)
def test_a_model_that_fails_fails_its_askers_and_no_one_else(
    model: Any, error: type[Exception]
) -> None:
    async def scene() -> None:
        batcher = Batcher(threads=1, max_batch=4, max_images=9)
        with pytest.raises(error):
            await ask(batcher, images(1, 2), model)
        assert (await ask(batcher, images(3))).item() == 3
        assert batcher.alive
        await batcher.close()

    run(scene())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_shows() -> None:
    def ends(batch: Images) -> Rows:
        raise SystemExit

    async def scene() -> None:
        batcher = Batcher(threads=2, max_batch=4, max_images=9)
        asker = asyncio.create_task(ask(batcher, images(1), ends))
        while batcher.alive:
            await asyncio.sleep(0.001)
        asker.cancel()
        await batcher.close()

    run(scene())


def test_after_close_nothing_is_taken() -> None:
    async def scene() -> None:
        batcher = Batcher(threads=1, max_batch=4, max_images=9)
        with batcher.reserve(1) as early:
            await batcher.close()
            with pytest.raises(Draining):
                batcher.reserve(1)
            with pytest.raises(Draining):
                await early.run(echo, images(1))

    run(scene())


@dataclass(eq=False)
class Asker:
    """What the test knows of one asker: its numbers, and how far they have come."""

    numbers: tuple[int, ...]
    model: str
    places: int
    task: asyncio.Task[Rows] | None = None
    job: Job | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    queued: bool = False
    taken: int = 0
    running: int = 0
    answered: int = 0
    expects: Any = None  # None while it waits, then its numbers, or an exception's type
    left: bool = False


class BatcherMachine(RuleBasedStateMachine):
    """Askers come, wait, are abandoned and go; calls end well or badly, in any order.

    Between two rules the threads have settled: the next calls are known, and are compared.
    """

    askers: list[Asker]

    @initialize(
        threads=st.integers(1, 3), max_batch=st.integers(1, 4), max_images=st.integers(1, 30)
    )
    def begin(self, threads: int, max_batch: int, max_images: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.gate = Gate()
        self.models = {name: partial(self.gate, name=name) for name in "AB"}
        self.threads, self.max_batch, self.max_images = threads, max_batch, max_images
        self.askers: list[Asker] = []
        self.queue: list[Asker] = []
        self.calls: dict[tuple[str, tuple[int, ...]], list[tuple[Asker, int]]] = {}
        self.next_number = 0
        self.delivered: list[int] = []
        self.let_go = 0
        self.batcher = self.within(self.start())

    async def start(self) -> Batcher:
        return Batcher(
            threads=self.threads,
            max_batch=self.max_batch,
            max_images=self.max_images,
            on_batch=lambda size, seconds: self.delivered.append(size),
        )

    def within(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE_SECONDS))

    async def settle_loop(self) -> None:
        while len(self.delivered) < self.let_go:
            await asyncio.sleep(0)
        for _ in range(6):
            await asyncio.sleep(0)

    def take(self) -> None:
        """What the free threads take, by the rules that the batcher's docstring gives."""
        while self.queue and len(self.calls) < self.threads:
            model, room = self.queue[0].model, self.max_batch
            parts: list[tuple[Asker, int]] = []
            numbers: tuple[int, ...] = ()
            while room and self.queue and self.queue[0].model == model:
                asker = self.queue[0]
                count = min(room, len(asker.numbers) - asker.taken)
                numbers += asker.numbers[asker.taken : asker.taken + count]
                parts.append((asker, count))
                asker.taken += count
                asker.running += 1
                room -= count
                if asker.taken == len(asker.numbers):
                    self.unqueue(asker)
            self.calls[model, numbers] = parts
        self.gate.wait_until_held(set(self.calls))

    def unqueue(self, asker: Asker) -> None:
        if asker.queued:
            self.queue.remove(asker)
            asker.queued = False

    def end(self, asker: Asker, expects: Any) -> None:
        asker.expects = expects
        asker.left = True
        self.unqueue(asker)

    async def ask(self, asker: Asker) -> Rows:
        with self.batcher.reserve(asker.places) as asker.job:
            await asker.go.wait()
            return await asker.job.run(self.models[asker.model], images(*asker.numbers))

    @property
    def reserved(self) -> int:
        return sum(one.places for one in self.askers if not one.left or one.running)

    @rule(
        several=st.lists(
            st.tuples(st.integers(1, 7), st.integers(0, 2), st.sampled_from("AB"), st.booleans()),
            min_size=1,
            max_size=4,
        )
    )
    def come(self, several: list[tuple[int, int, str, bool]]) -> None:
        for one in several:
            self.come_alone(*one)

    def come_alone(self, count: int, spare: int, model: str, at_once: bool) -> None:
        numbers = tuple(range(self.next_number, self.next_number + count))
        self.next_number += count
        asker = Asker(numbers, model, count + spare)
        fits = self.reserved + asker.places <= self.max_images
        asker.task = self.loop.create_task(self.ask(asker))
        self.within(self.settle_loop())
        self.askers.append(asker)
        if not fits:
            self.end(asker, QueueFull)
        elif at_once:
            self.start_asker(asker)

    def start_asker(self, asker: Asker) -> None:
        asker.go.set()
        self.within(self.settle_loop())
        if asker.expects is None:
            self.queue.append(asker)
            asker.queued = True
        asker.left = asker.expects is not None
        self.take()

    def waiting(self) -> list[Asker]:
        return [one for one in self.askers if not one.left and not one.go.is_set()]

    def present(self) -> list[Asker]:
        return [one for one in self.askers if not one.left]

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def be_ready(self, data: st.DataObject) -> None:
        self.start_asker(data.draw(st.sampled_from(self.waiting())))

    @precondition(lambda self: self.present())
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        asker = data.draw(st.sampled_from(self.present()))
        assert asker.job is not None
        asker.job.abandon(DeadlineExceeded())
        self.within(self.settle_loop())
        if not asker.taken:
            asker.expects = DeadlineExceeded
            if asker.go.is_set():
                self.end(asker, DeadlineExceeded)

    @precondition(lambda self: self.present())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        asker = data.draw(st.sampled_from(self.present()))
        assert asker.task is not None
        asker.task.cancel()
        self.within(self.settle_loop())
        self.end(asker, asyncio.CancelledError)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), succeeds=st.booleans())
    def finish(self, data: st.DataObject, succeeds: bool) -> None:
        call = data.draw(st.sampled_from(sorted(self.calls)))
        parts = self.calls.pop(call)
        self.let_go += 1
        self.gate.let_go(call, succeeds=succeeds)
        self.take()  # the thread goes on before the loop hears of the outcome
        for asker, count in parts:
            asker.running -= 1
            asker.answered += count
            if asker.left:
                continue
            if not succeeds:
                self.end(asker, ValueError)
            elif asker.answered == len(asker.numbers):
                self.end(asker, asker.numbers)
        self.within(self.settle_loop())

    @invariant()
    def places_are_those_of_unfinished_work(self) -> None:
        if hasattr(self, "batcher"):
            assert self.batcher.reserved == self.reserved
            assert self.batcher.reserved <= self.max_images
            assert all(1 <= size <= self.max_batch for size in self.delivered)

    @invariant()
    def everyone_has_what_is_theirs(self) -> None:
        for asker in getattr(self, "askers", []):
            assert asker.task is not None
            assert asker.task.done() == asker.left
            if asker.left:
                assert _outcome(asker.task) == asker.expects

    def teardown(self) -> None:
        """Closing answers everything that is queued, and lets no one else in."""
        if not hasattr(self, "batcher"):
            return
        for asker in self.waiting():
            self.start_asker(asker)
        closing = self.loop.create_task(self.batcher.close())
        self.within(self.settle_loop())
        late = self.loop.create_task(self.ask(Asker((), "A", 1)))
        self.within(self.settle_loop())
        assert isinstance(late.exception(), Draining)
        while self.calls:
            call = min(self.calls)
            parts = self.calls.pop(call)
            self.let_go += 1
            self.gate.let_go(call)
            self.take()
            for asker, count in parts:
                asker.running -= 1
                asker.answered += count
                if not asker.left and asker.answered == len(asker.numbers):
                    self.end(asker, asker.numbers)
            self.within(self.settle_loop())
        self.within(asyncio.wait_for(closing, PATIENCE_SECONDS))
        self.everyone_has_what_is_theirs()
        assert self.batcher.reserved == 0
        assert all(asker.left for asker in self.askers)
        self.within(self.loop.shutdown_default_executor())
        self.loop.close()


def _outcome(task: asyncio.Task[NDArray[np.float32]]) -> Any:
    """A done task's numbers, or the type of what it raised."""
    if task.cancelled():
        return asyncio.CancelledError
    error = task.exception()
    return type(error) if error else tuple(int(number) for number in task.result()[:, 0])


TestBatcherMachine = BatcherMachine.TestCase
TestBatcherMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)
