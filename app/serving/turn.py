"""Plain requests that became whole in one turn of the event loop, read together.

All of them are parsed, then all decoded, all normalized, in one model call classified, all their
answers made, all sent. It is the same work as one after the other, and takes half the time beside
the model's: a processor's first cache holds the code of one such step and not of all, and who gets
one answer soon after the other need not be woken for each.

    whole ──the loop comes by──▶ parsed ─┬─ little ──▶ waiting ──▶ read, together ──▶ answered
                                         └─ more: threads' work, awaited in a task
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from ..errors import Unavailable
from .batcher import Batcher
from .predictor import Asked, Recognizer

if TYPE_CHECKING:
    from ..server.exchange import Exchange


class Turn:
    """Reads up to `max_images` images at a time, so that what else has come is not kept from the
    loop for longer. Who waits has as many places in the batcher's queue as it has images.
    """

    def __init__(self, batcher: Batcher, recognizer: Recognizer, *, max_images: int) -> None:
        self.batcher = batcher
        self.recognizer = recognizer
        self.max_images = max_images
        self._loop = asyncio.get_running_loop()
        self._whole: list[Exchange] = []
        self._little: deque[tuple[Exchange, Asked]] = deque()
        self._is_due = False

    def add(self, exchange: Exchange) -> None:
        self._whole.append(exchange)
        self._be_due()

    def _be_due(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._is_due = False
        whole, self._whole = self._whole, []
        for exchange in whole:
            self._sort(exchange, exchange.parse())
        taken = self._take()
        if self._little:
            self._be_due()
        classifier, found = self.recognizer.read_together([asked for _, asked in taken])
        responses = []
        for (exchange, _), readings in zip(taken, found, strict=True):
            if isinstance(readings, Exception):
                exchange.fail(readings)
            elif response := exchange.respond(classifier, readings):
                responses.append((exchange, response))
        for exchange, response in responses:
            exchange.send(200, response)

    def _sort(self, exchange: Exchange, asked: Asked | None) -> None:
        if asked is None:
            return
        if not self.recognizer.is_little(asked):
            exchange.wait_for(asked)
            return
        try:
            self.batcher.occupy(len(asked.images))
        except Unavailable as error:
            exchange.fail(error)
        else:
            self._little.append((exchange, asked))

    def _take(self) -> list[tuple[Exchange, Asked]]:
        taken = []
        images = 0
        while self._little and images < self.max_images:
            exchange, asked = self._little.popleft()
            self.batcher.vacate(len(asked.images))
            if not exchange.is_over():
                taken.append((exchange, asked))
                images += len(asked.images)
        return taken
