"""What a request may take of the process: places in the queue, bytes of memory, time.

A request has one `Lease` from its first header to its last byte. What it will take is charged
before it is taken: the body's declared length before it is read, the working memory of its most
expensive image before that is decoded. A lease is returned when nothing uses it any more: a thread
can't be interrupted, so a request whose client has gone keeps its share until its thread is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Self

from ..errors import (
    BodyTooLarge,
    DeadlineExceeded,
    DigitsError,
    Draining,
    ImageTooLarge,
    QueueFull,
)
from .turns import Turns

SMALL_BODY_BYTES = 256 * 1024
"""Bodies up to this size may use all of the budget, larger ones only what is not reserved."""
RESERVED_SHARE = 0.25
"""Share of the budget for bodies that large bodies leave free. Without it, eight uploads that never
end would keep every small request out."""
PASSING_SHARE = 4
"""Of its limit, how much of a budget may go to others before the first who waits has his turn. With
none, every drawing would wait for a large photo's memory; without end, the photo for ever."""

PIECES_A_TURN = 2
"""Pieces of bodies that are received in an iteration of the event loop, beside each body's first.
If every upload has one in each, the worst `/healthz` beside 64 of 8 MB is 33 to 44 ms, with two of
them 15 to 35 (`python -m benchmarks --only worst --worst json-base64`)."""

TYPICAL_MEMORY = 16
"""Requests over which the number of images that a request typically has is averaged."""
MAX_RESERVED_IMAGES = 32
"""Places that are taken before a body is parsed, at most. With more, a few large requests that wait
to be parsed would keep everyone out, themselves included."""

Waiter = tuple[int, int, asyncio.Future[None]]
"""The amount, the reserve to be left free, and where it is awaited."""


class Budget:
    """A number of units, bytes or images, of which at most `limit` are held at once.

    Used on one event loop. Waiters are served in the order in which they came, but those that must
    leave a reserve free hold up nobody who need not: the reserve is there for these. What fits need
    not wait behind what does not, up to PASSING_SHARE.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._waiters: tuple[deque[Waiter], deque[Waiter]] = (deque(), deque())
        """Those without a reserve, and those with one."""
        self._passed = 0

    def try_acquire(self, amount: int, *, reserve: int = 0) -> bool:
        """Take `amount` if that leaves `reserve` free; with a reserve, only if nobody waits."""
        if self.held + amount + reserve > self.limit or (reserve and any(self._waiters)):
            return False
        if self._waiters[0]:
            if self._passed + amount > PASSING_SHARE * self.limit:
                return False
            self._passed += amount
        self.held += amount
        return True

    async def acquire(self, amount: int, *, seconds: float, reserve: int = 0) -> None:
        """Take `amount`, waiting until that leaves `reserve` free.

        Raises:
            QueueFull: it was not to be had within `seconds`.
        """
        if self.try_acquire(amount, reserve=reserve):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (amount, reserve, granted)
        waiters = self._waiters[reserve > 0]
        if not self._waiters[0]:
            self._passed = 0
        waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled():
                self.release(amount)
            else:
                with suppress(ValueError):  # `_grant` has passed it over
                    waiters.remove(waiter)
                self._grant()
            if isinstance(error, TimeoutError):
                raise QueueFull("The memory for requests is in use; try again shortly.") from None
            raise

    def release(self, amount: int) -> None:
        """Give `amount` back, and let waiters have it."""
        self.held -= amount
        self._grant()

    def _grant(self) -> None:
        for waiters in self._waiters:
            while waiters:
                wanted, reserve, granted = waiters[0]
                if self.held + wanted + reserve > self.limit:
                    break
                waiters.popleft()
                self._passed = 0
                if not granted.done():
                    self.held += wanted
                    granted.set_result(None)


class Admission:
    """The limits of one process, of which every request leases its share.

    Args:
        max_waiting_images: Images admitted and not yet answered.
        body_bytes: Bytes of all bodies that are being read or worked on.
        working_bytes: Bytes of working memory for parsing and decoding.
    """

    def __init__(self, *, max_waiting_images: int, body_bytes: int, working_bytes: int) -> None:
        self.images = Budget(max_waiting_images)
        self.bodies = Budget(body_bytes)
        self.working = Budget(working_bytes)
        self.pieces = Turns(PIECES_A_TURN)
        self.closed = False
        self.typical_images = 1.0

    def open_lease(self, deadline: float) -> Lease:
        """A lease that ends at `deadline`, in seconds of `time.monotonic()`.

        Raises:
            Draining: the process is about to stop.
            QueueFull: the queue is full, so that a body would be read and parsed in vain.
        """
        if self.closed:
            raise Draining
        if self.images.held >= self.images.limit:
            raise QueueFull("As many images wait as may wait; try again shortly.")
        return Lease(self, deadline)

    def close(self) -> None:
        """Admit nothing more; what was admitted goes on."""
        self.closed = True


class Lease:
    """One request's share of the limits, returned when its last holder lets go."""

    __slots__ = (
        "_admission",
        "_holders",
        "_revoked",
        "body_bytes",
        "deadline",
        "images",
        "working",
    )

    def __init__(self, admission: Admission, deadline: float) -> None:
        self.deadline = deadline
        self.body_bytes = 0
        self.images = 0
        self.working = 0
        self._admission = admission
        self._holders = 0
        self._revoked: DigitsError | None = None

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    async def charge_body(self, count: int) -> None:
        """Charge a body's declared length before it is read, waiting within the deadline.

        Raises:
            QueueFull: there was no room before the deadline.
        """
        bodies = self._admission.bodies
        reserve = int(bodies.limit * RESERVED_SHARE) if count > SMALL_BODY_BYTES else 0
        if count + reserve > bodies.limit:
            raise BodyTooLarge(f"A body has at most {bodies.limit - reserve:,} bytes here.")
        await bodies.acquire(count, seconds=self.remaining_seconds, reserve=reserve)
        self.body_bytes += count

    def charge_chunk(self, count: int) -> None:
        """Charge part of a body of unknown length as it arrives.

        It does not wait: requests that each wait for more while holding a part would wait for
        each other.

        Raises:
            QueueFull: there is no room for it now.
        """
        bodies = self._admission.bodies
        is_large = self.body_bytes + count > SMALL_BODY_BYTES
        reserve = int(bodies.limit * RESERVED_SHARE) if is_large else 0
        if not bodies.try_acquire(count, reserve=reserve):
            raise QueueFull("The memory for requests is in use; try again shortly.")
        self.body_bytes += count

    async def await_turn(self) -> None:
        """Wait until it is this request's turn to receive a further piece of its body."""
        await self._admission.pieces.take()

    def reserve_images(self) -> None:
        """Charge the places that a request typically takes, before its body is parsed.

        Else all that are parsed at once see the same few free places, and most are parsed in vain:
        at twice the peak 43% of the refusals came after the parse (`python -m benchmarks.overload`
        has the goodput).

        Raises:
            QueueFull: there are not as many left.
        """
        typical = round(self._admission.typical_images)
        self._take_places(max(1, min(typical, MAX_RESERVED_IMAGES)))

    def charge_images(self, count: int) -> None:
        """Charge places in the queue; they take the place of those that were reserved.

        Raises:
            QueueFull: there are not as many left.
        """
        admission = self._admission
        admission.typical_images += (count - admission.typical_images) / TYPICAL_MEMORY
        self._take_places(count)

    def _take_places(self, count: int) -> None:
        images = self._admission.images
        more = count - self.images
        if more > 0 and not images.try_acquire(more):
            raise QueueFull("As many images wait as may wait; try again shortly.")
        if more < 0:
            images.release(-more)
        self.images = count

    async def charge_working(self, count: int) -> None:
        """Charge `count` bytes of working memory, waiting within the deadline.

        They take the place of what was charged for the step before, which is given back first:
        requests that each held a part while they wait for more would wait for each other.

        Raises:
            ImageTooLarge: it is more than the process may ever use.
            QueueFull: there was no room before the deadline.
        """
        working = self._admission.working
        if count > working.limit:
            raise ImageTooLarge(
                f"It takes {count >> 20:,} MiB to decode; there are {working.limit >> 20:,} MiB. "
                "Send the image smaller, or as a JPEG."
            )
        working.release(self.working)
        self.working = 0
        await working.acquire(count, seconds=self.remaining_seconds)
        self.working = count

    def revoke(self, reason: DigitsError) -> None:
        """Nobody waits for the answer any more: `check` raises `reason` from now on."""
        self._revoked = self._revoked or reason

    def check(self) -> None:
        """Look whether the work is still wanted; safe from any thread.

        Raises:
            DeadlineExceeded: the deadline has passed.
            ClientGone: the client has closed its connection.
        """
        if self._revoked is not None:
            raise self._revoked
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded

    def hold(self) -> None:
        """Keep the lease from being returned until a `release` that belongs to this."""
        self._holders += 1

    def release(self) -> None:
        """Let go; the last holder returns everything that was charged."""
        self._holders -= 1
        if self._holders:
            return
        admission = self._admission
        admission.images.release(self.images)
        if self.body_bytes:
            admission.bodies.release(self.body_bytes)
        if self.working:
            admission.working.release(self.working)
        self.images = self.body_bytes = self.working = 0

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()
