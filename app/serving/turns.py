"""Large bodies are received in turns, a few pieces of them in an iteration of the event loop.

A piece is what the system has of a body, up to 250 kB, and is copied four times: some 0.5 ms. If
every upload had one in each iteration, other requests would wait for all of them, at each of their
steps.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Let so many callers pass in an iteration of the event loop, in the order of their coming.

    Used on one event loop.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._left = count
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_due = False

    async def take(self) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._renew, loop)
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin an iteration."""
        self._left = self.count
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # by a client that has gone
                turn.set_result(None)
                self._left -= 1
        self._is_due = self._left < self.count
        if self._is_due:
            loop.call_soon(self._renew, loop)
