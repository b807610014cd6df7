from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.errors import (
    BodyTooLarge,
    ClientGone,
    DeadlineExceeded,
    DigitsError,
    Draining,
    ImageTooLarge,
    QueueFull,
)
from app.serving.limits import (
    MAX_RESERVED_IMAGES,
    PASSING_SHARE,
    RESERVED_SHARE,
    SMALL_BODY_BYTES,
    Admission,
    Budget,
    Lease,
)

MIB = 2**20
LIMIT = 16 * MIB
LARGE = SMALL_BODY_BYTES + 1
PATIENT = 60.0
"""Seconds that no test waits for."""


def admission(
    *, max_waiting_images: int = 10, body_bytes: int = LIMIT, working_bytes: int = LIMIT
) -> Admission:
    return Admission(
        max_waiting_images=max_waiting_images, body_bytes=body_bytes, working_bytes=working_bytes
    )


def open_lease(limits: Admission, *, seconds: float = PATIENT) -> Lease:
    lease = limits.open_lease(time.monotonic() + seconds)
    lease.hold()
    return lease


def held(limits: Admission) -> tuple[int, int, int]:
    return limits.images.held, limits.bodies.held, limits.working.held


async def settle() -> None:
    """Let every task go on until it waits for something that is not due."""
    for _ in range(10):
        await asyncio.sleep(0)


def waiting(
    budget: Budget, amount: int, *, reserve: int = 0, seconds: float = PATIENT
) -> asyncio.Task[None]:
    return asyncio.create_task(budget.acquire(amount, seconds=seconds, reserve=reserve))


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, QueueFull):
        await task


# Budget


def test_a_budget_is_held_up_to_its_limit() -> None:
    budget = Budget(10)
    assert budget.try_acquire(7)
    assert not budget.try_acquire(4)
    assert budget.try_acquire(3)
    assert budget.held == 10
    budget.release(7)
    assert budget.held == 3
    assert budget.try_acquire(7)


def test_a_reserve_stays_free() -> None:
    budget = Budget(10)
    assert budget.try_acquire(7, reserve=3)
    assert not budget.try_acquire(1, reserve=3)
    assert budget.try_acquire(3)


def test_what_fits_is_acquired_without_waiting() -> None:
    budget = Budget(10)
    coroutine = budget.acquire(10, seconds=0)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert budget.held == 10


def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(10)
        first, second, third = (waiting(budget, amount) for amount in (6, 5, 1))
        await settle()
        budget.release(5)
        await settle()
        assert not any(task.done() for task in (first, second, third))  # 1 would fit
        budget.release(1)
        await settle()
        assert [task.done() for task in (first, second, third)] == [True, False, False]
        budget.release(4)
        await settle()
        assert not second.done()
        budget.release(6)
        await settle()
        assert second.done()
        assert third.done()
        assert budget.held == 6

    asyncio.run(scene())


def test_who_comes_later_and_wants_as_much_waits_behind() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(6)
        waits = waiting(budget, 5, reserve=2)
        await settle()
        assert not budget.try_acquire(1, reserve=2)
        assert budget.try_acquire(1)  # what is reserved is for those
        budget.release(7)
        await settle()
        assert waits.done()
        assert budget.held == 5

    asyncio.run(scene())


def test_a_small_waiter_does_not_wait_for_a_large_one() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(8)  # an upload that never ends
        large = waiting(budget, 4, reserve=2)
        await settle()
        assert budget.try_acquire(2)
        small = waiting(budget, 2)
        await settle()
        assert not small.done()
        budget.release(2)
        await settle()
        assert small.done()
        assert not large.done()
        assert budget.held == 10
        await cancel(large)

    asyncio.run(scene())


def test_what_is_small_passes_what_is_large_but_not_for_ever() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(2)
        large = waiting(budget, 10)
        await settle()
        passed = 0
        while budget.try_acquire(2):  # each before the one ahead of it is done
            passed += 2
            budget.release(2)
        assert passed == PASSING_SHARE * 10
        late = waiting(budget, 2)
        await settle()
        assert not late.done()
        budget.release(2)
        await settle()
        assert large.done()
        assert not late.done()
        budget.release(10)
        await settle()
        assert late.done()
        assert budget.held == 2

    asyncio.run(scene())


def test_each_that_waits_is_passed_anew() -> None:
    async def scene() -> None:
        budget = Budget(10)
        for _ in range(2):
            assert budget.try_acquire(1)
            large = waiting(budget, 10)
            await settle()
            for _ in range(PASSING_SHARE * 10):
                assert budget.try_acquire(1)
                budget.release(1)
            assert not budget.try_acquire(1)
            await cancel(large)
            budget.release(1)

    asyncio.run(scene())


def test_the_next_who_waits_is_passed_anew() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(3)
        first, second = waiting(budget, 8), waiting(budget, 10)
        await settle()
        while budget.try_acquire(1):
            budget.release(1)
        budget.release(3)
        await settle()
        assert first.done()
        assert not second.done()
        assert budget.try_acquire(1)
        budget.release(9)
        await settle()
        assert second.done()

    asyncio.run(scene())


def test_who_waits_in_vain_is_told_so_and_holds_nothing() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(8)
        late, patient = waiting(budget, 5, seconds=0.001), waiting(budget, 3)
        await settle()
        with pytest.raises(QueueFull, match="memory"):
            await late
        assert budget.held == 8
        budget.release(1)
        await settle()
        assert patient.done()
        assert budget.held == 10

    asyncio.run(scene())


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_time_left_nobody_waits(seconds: float) -> None:
    async def scene() -> None:
        budget = Budget(1)
        assert budget.try_acquire(1)
        with pytest.raises(QueueFull):
            await budget.acquire(1, seconds=seconds)
        budget.release(1)
        assert budget.held == 0

    asyncio.run(scene())


def test_a_cancelled_waiter_holds_nothing_and_lets_the_next_one_through() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(6)
        gone, next_one = waiting(budget, 5, reserve=2), waiting(budget, 2, reserve=2)
        await settle()
        assert not next_one.done()
        await cancel(gone)
        await settle()
        assert next_one.done()
        assert budget.held == 8

    asyncio.run(scene())


@pytest.mark.parametrize("cancelled_first", [False, True], ids=["granted first", "cancelled first"])
def test_cancelled_in_the_iteration_in_which_it_is_granted(cancelled_first: bool) -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(10)
        gone, next_one = waiting(budget, 6), waiting(budget, 5)
        await settle()
        if cancelled_first:
            gone.cancel()
        budget.release(10)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await settle()
        assert next_one.done()
        assert budget.held == 5
        budget.release(5)
        assert budget.held == 0

    asyncio.run(scene())


def test_timed_out_in_the_iteration_in_which_it_is_granted() -> None:
    async def scene() -> None:
        budget = Budget(10)
        assert budget.try_acquire(10)
        late = waiting(budget, 6, seconds=0)
        await asyncio.sleep(0)  # it waits, and its time is up in the next iteration
        budget.release(10)
        with pytest.raises(QueueFull):
            await late
        assert budget.held == 0

    asyncio.run(scene())


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "release", "cancel", "release and cancel", "settle"]),
        st.integers(0, 12),
        st.sampled_from([0, 0, 3]),
    ),
    max_size=40,
)


@given(steps=STEPS)
@hypothesis_settings(max_examples=50)
def test_nothing_leaks_in_whatever_order_things_happen(steps: Sequence[Step]) -> None:
    async def scene() -> None:
        budget = Budget(12)
        tasks: list[tuple[int, asyncio.Task[None]]] = []
        granted: list[int] = []

        async def take(amount: int, reserve: int) -> None:
            await budget.acquire(amount, seconds=PATIENT, reserve=reserve)
            granted.append(amount)

        for action, number, reserve in steps:
            if action == "acquire":
                tasks.append((number, asyncio.create_task(take(number, reserve))))
            if "release" in action and granted:
                budget.release(granted.pop(number % len(granted)))
            if "cancel" in action and tasks:
                tasks[number % len(tasks)][1].cancel()
            if action == "settle":
                await settle()
                assert budget.held == sum(granted)
            assert 0 <= budget.held <= 12
        for _, task in tasks:
            task.cancel()
        await settle()
        assert budget.held == sum(granted)
        assert not any(budget._waiters)

    asyncio.run(scene())


# Admission


def test_a_full_queue_refuses_before_a_body_is_read() -> None:
    limits = admission(max_waiting_images=2)
    lease = open_lease(limits)
    lease.charge_images(1)
    other = open_lease(limits)
    other.charge_images(1)
    with pytest.raises(QueueFull):
        limits.open_lease(math.inf)
    other.release()
    with limits.open_lease(math.inf) as third:
        third.charge_images(1)
    assert limits.images.held == 1


def test_more_images_than_there_are_places_are_refused_and_cost_none() -> None:
    limits = admission(max_waiting_images=3)
    lease = open_lease(limits)
    with pytest.raises(QueueFull):
        lease.charge_images(4)
    assert limits.images.held == 0
    lease.charge_images(3)
    lease.release()
    assert limits.images.held == 0


def test_when_closed_what_was_admitted_goes_on() -> None:
    limits = admission()
    lease = open_lease(limits)
    limits.close()
    with pytest.raises(Draining):
        limits.open_lease(math.inf)
    lease.charge_images(1)
    lease.check()
    lease.release()
    assert limits.images.held == 0


# Bodies


def test_small_bodies_find_room_where_large_ones_wait() -> None:
    async def scene() -> None:
        limits = admission()
        uploads = [open_lease(limits) for _ in range(12)]
        for upload in uploads:
            await upload.charge_body(MIB)
        late = open_lease(limits, seconds=0)
        with pytest.raises(QueueFull):
            await late.charge_body(LARGE)
        small = [open_lease(limits, seconds=0) for _ in range(16)]
        for lease in small:
            await lease.charge_body(SMALL_BODY_BYTES)
        assert limits.bodies.held == LIMIT
        with pytest.raises(QueueFull):
            await late.charge_body(1)
        for lease in (*uploads, *small, late):
            lease.release()
        assert limits.bodies.held == 0

    asyncio.run(scene())


def test_a_large_body_waits_until_another_is_done() -> None:
    async def scene() -> None:
        limits = admission()
        first, second = open_lease(limits), open_lease(limits)
        await first.charge_body(10 * MIB)
        task = asyncio.create_task(second.charge_body(4 * MIB))
        await settle()
        assert not task.done()
        assert second.body_bytes == 0
        first.release()
        await task
        assert limits.bodies.held == second.body_bytes == 4 * MIB

    asyncio.run(scene())


def test_a_body_of_more_than_the_budget_is_too_large() -> None:
    async def scene() -> None:
        limits = admission()
        lease = open_lease(limits)
        most = int(LIMIT * (1 - RESERVED_SHARE))
        with pytest.raises(BodyTooLarge, match=f"{most:,}"):
            await lease.charge_body(most + 1)
        assert limits.bodies.held == 0
        await lease.charge_body(most)

    asyncio.run(scene())


def test_a_body_of_unknown_length_is_charged_as_it_arrives() -> None:
    limits = admission()
    lease = open_lease(limits)
    for _ in range(12):
        lease.charge_chunk(MIB)
    assert limits.bodies.held == lease.body_bytes == 12 * MIB
    with pytest.raises(QueueFull):
        lease.charge_chunk(1)  # a quarter is for small ones
    small = open_lease(limits)
    small.charge_chunk(SMALL_BODY_BYTES - 1)
    small.charge_chunk(1)
    with pytest.raises(QueueFull):
        small.charge_chunk(1)
    assert small.body_bytes == SMALL_BODY_BYTES
    lease.release()
    small.charge_chunk(1)
    small.release()
    assert limits.bodies.held == 0


# Working memory


def test_working_memory_takes_the_place_of_that_of_the_step_before() -> None:
    async def scene() -> None:
        limits = admission()
        lease = open_lease(limits)
        await lease.charge_working(10 * MIB)
        await lease.charge_working(12 * MIB)
        assert limits.working.held == lease.working == 12 * MIB
        await lease.charge_working(MIB)
        assert limits.working.held == MIB
        lease.release()
        assert limits.working.held == 0

    asyncio.run(scene())


def test_who_gets_no_more_has_given_back_what_it_had() -> None:
    async def scene() -> None:
        limits = admission()
        other, lease = open_lease(limits), open_lease(limits, seconds=0)
        await other.charge_working(6 * MIB)
        await lease.charge_working(10 * MIB)
        with pytest.raises(QueueFull):
            await lease.charge_working(11 * MIB)
        assert lease.working == 0
        lease.release()
        assert limits.working.held == 6 * MIB

    asyncio.run(scene())


def test_requests_that_each_want_more_do_not_wait_for_each_other() -> None:
    async def scene() -> None:
        limits = admission()
        leases = [open_lease(limits) for _ in range(4)]
        for lease in leases:
            await lease.charge_working(LIMIT // 4)

        async def go_on(lease: Lease) -> None:
            await lease.charge_working(LIMIT)
            lease.release()

        await asyncio.gather(*(go_on(lease) for lease in leases))
        assert limits.working.held == 0

    asyncio.run(scene())


def test_an_image_that_takes_more_than_there_may_be_is_too_large() -> None:
    async def scene() -> None:
        limits = admission()
        lease = open_lease(limits)
        await lease.charge_working(MIB)
        with pytest.raises(ImageTooLarge, match=r"17 MiB.* 16 MiB") as refused:
            await lease.charge_working(17 * MIB)
        assert refused.value.status == 422
        await lease.charge_working(LIMIT)
        lease.release()
        assert limits.working.held == 0

    asyncio.run(scene())


async def charge_body(lease: Lease) -> None:
    await lease.charge_body(10 * MIB)


async def charge_working(lease: Lease) -> None:
    await lease.charge_working(10 * MIB)


CHARGES = pytest.mark.parametrize("charge", [charge_body, charge_working])


@CHARGES
def test_without_room_before_the_deadline_it_is_503(
    charge: Callable[[Lease], Coroutine[None, None, None]],
) -> None:
    async def scene() -> None:
        limits = admission()
        holder = open_lease(limits)
        await charge(holder)
        before = held(limits)
        late = open_lease(limits, seconds=0.001)
        with pytest.raises(QueueFull) as refused:
            await charge(late)
        assert refused.value.status == 503
        assert held(limits) == before
        late.release()
        holder.release()
        assert held(limits) == (0, 0, 0)

    asyncio.run(scene())


@CHARGES
@pytest.mark.parametrize("at_once", [False, True], ids=["waiting", "as it is granted"])
def test_who_goes_while_waiting_leaves_nothing_behind(
    charge: Callable[[Lease], Coroutine[None, None, None]], at_once: bool
) -> None:
    async def scene() -> None:
        limits = admission()
        holder = open_lease(limits)
        await charge(holder)

        async def request() -> None:
            with limits.open_lease(time.monotonic() + PATIENT) as lease:
                await charge(lease)

        task = asyncio.create_task(request())
        await settle()
        if at_once:
            holder.release()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if not at_once:
            holder.release()
        assert held(limits) == (0, 0, 0)

    asyncio.run(scene())


# Leases


def test_the_last_holder_returns_everything() -> None:
    async def scene() -> None:
        limits = admission()
        with limits.open_lease(math.inf) as lease:
            await lease.charge_body(5)
            lease.charge_images(2)
            await lease.charge_working(7)
            lease.hold()  # as a thread does
        assert held(limits) == (2, 5, 7)
        lease.release()
        assert held(limits) == (0, 0, 0)

    asyncio.run(scene())


def test_a_failure_returns_everything() -> None:
    async def scene() -> None:
        limits = admission()

        async def request() -> None:
            with limits.open_lease(math.inf) as lease:
                lease.charge_chunk(5)
                lease.charge_images(2)
                await lease.charge_working(7)
                raise LookupError

        with pytest.raises(LookupError):
            await request()
        assert held(limits) == (0, 0, 0)

    asyncio.run(scene())


def test_the_time_that_remains() -> None:
    limits = admission()
    assert limits.open_lease(time.monotonic() - 1).remaining_seconds == 0
    assert 0 < limits.open_lease(time.monotonic() + 60).remaining_seconds <= 60
    assert limits.open_lease(math.inf).remaining_seconds == math.inf


def test_past_its_deadline_no_work_is_wanted() -> None:
    limits = admission()
    limits.open_lease(time.monotonic() + 60).check()
    with pytest.raises(DeadlineExceeded):
        limits.open_lease(time.monotonic() - 1).check()


def test_a_revoked_lease_says_why_from_any_thread() -> None:
    lease = admission().open_lease(time.monotonic() - 1)
    lease.revoke(ClientGone())
    lease.revoke(DeadlineExceeded())
    raised: list[DigitsError] = []

    def check() -> None:
        try:
            lease.check()
        except DigitsError as error:
            raised.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [ClientGone]


class Request:
    """A request that charges, waits, is cancelled, and is held by threads."""

    def __init__(self, limits: Admission) -> None:
        self.limits = limits
        self.lease = open_lease(limits)
        self.holders = 1
        self.task: asyncio.Task[None] | None = None

    def body(self, amount: int) -> None:
        self._wait(self.lease.charge_body(amount))

    def working(self, amount: int) -> None:
        self._wait(self.lease.charge_working(amount))

    def _wait(self, charge: Coroutine[None, None, None]) -> None:
        if self.task and not self.task.done():
            charge.close()
        else:
            self.task = asyncio.create_task(charge)

    def chunk(self, amount: int) -> None:
        with suppress(QueueFull):
            self.lease.charge_chunk(amount)

    def images(self, amount: int) -> None:
        with suppress(QueueFull):
            self.lease.charge_images(amount % 5)

    def hold(self, amount: int) -> None:
        self.lease.hold()
        self.holders += 1

    async def release(self, amount: int) -> None:
        if self.holders == 1:
            await self.cancel(amount)  # a request does not end while it waits
        self.lease.release()
        self.holders -= 1
        if not self.holders:
            assert (self.lease.images, self.lease.body_bytes, self.lease.working) == (0, 0, 0)
            self.lease = Lease(self.limits, math.inf)
            self.hold(amount)

    async def cancel(self, amount: int) -> None:
        if self.task:
            await cancel(self.task)

    async def settle(self, amount: int) -> None:
        await settle()

    async def end(self) -> None:
        await self.cancel(0)
        for _ in range(self.holders):
            self.lease.release()


ACTIONS = ["body", "chunk", "images", "working", "hold", "release", "cancel", "settle"]
HISTORIES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS), st.integers(0, 9 * MIB)), max_size=50
)


@given(history=HISTORIES)
@hypothesis_settings(max_examples=50)
def test_leases_return_everything_exactly_once(history: list[tuple[int, str, int]]) -> None:
    async def scene() -> None:
        limits = admission()
        requests = [Request(limits) for _ in range(4)]
        for index, action, amount in history:
            done = getattr(requests[index], action)(amount)
            if done is not None:
                await done
            for budget in (limits.images, limits.bodies, limits.working):
                assert 0 <= budget.held <= budget.limit
        for request in requests:
            await request.cancel(0)
        leases = [request.lease for request in requests]
        assert held(limits) == (
            sum(lease.images for lease in leases),
            sum(lease.body_bytes for lease in leases),
            sum(lease.working for lease in leases),
        )
        for request in requests:
            await request.end()
        assert held(limits) == (0, 0, 0)

    asyncio.run(scene())


# places before parsing


def test_no_more_requests_are_parsed_at_once_than_there_are_places_for() -> None:
    limits = admission(max_waiting_images=40)
    for _ in range(100):
        with limits.open_lease(math.inf) as lease:
            lease.reserve_images()
            lease.charge_images(8)
    begun = [open_lease(limits) for _ in range(5)]
    for lease in begun:
        lease.reserve_images()
    with pytest.raises(QueueFull):
        Lease(limits, math.inf).reserve_images()
    for lease in begun:
        lease.charge_images(8)
    assert limits.images.held == 40


@pytest.mark.parametrize("count", [1, 3, 9])
def test_what_was_reserved_becomes_what_is_there(count: int) -> None:
    limits = admission()
    with limits.open_lease(math.inf) as lease:
        lease.reserve_images()
        assert limits.images.held == 1
        lease.charge_images(count)
        assert limits.images.held == count
    assert limits.images.held == 0
    assert limits.typical_images == pytest.approx(1 + (count - 1) / 16)


def test_a_request_for_more_places_than_are_left_keeps_what_it_had_until_it_ends() -> None:
    limits = admission()
    with limits.open_lease(math.inf) as lease:
        lease.reserve_images()
        with pytest.raises(QueueFull):
            lease.charge_images(11)
    assert limits.images.held == 0


def test_large_requests_take_few_places_before_they_are_parsed() -> None:
    limits = admission(max_waiting_images=512)
    for _ in range(100):
        with limits.open_lease(math.inf) as lease:
            lease.charge_images(256)
    lease = open_lease(limits)
    lease.reserve_images()
    assert limits.images.held == MAX_RESERVED_IMAGES
