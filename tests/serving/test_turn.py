from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from app.server.exchange import Exchange
from app.serving.batcher import Batcher
from app.serving.predictor import Asked, Recognizer
from app.serving.turn import Turn

LITTLE = np.zeros((1, 1), np.uint8)
MUCH = np.zeros((9, 9), np.uint8)
BAD = np.zeros((1, 2), np.uint8)
LATE = np.zeros((1, 3), np.uint8)
UNSPEAKABLE = np.zeros((1, 4), np.uint8)


@dataclass(eq=False)
class Asker:
    """Stands for an exchange, and notes what becomes of it."""

    image: Any
    became: Any = None
    made: str | None = None

    def parse(self) -> Asked | None:
        if self.image is None:
            self.became = "not parsed"
            return None
        return Asked([self.image], True)

    def is_over(self) -> bool:
        return self.image is LATE

    def wait_for(self, asked: Asked) -> None:
        self.became = "waits"

    def respond(self, classifier: str, readings: list[str]) -> str | None:
        if self.image is UNSPEAKABLE:
            self.became = "failed"
            return None
        self.made = f"{classifier}: {readings}"
        return self.made

    def send(self, status: int, response: str) -> None:
        self.became = status, response

    def fail(self, error: Exception) -> None:
        self.became = error


@dataclass
class Reader:
    """Stands for the recognizer, and notes how many it read together."""

    together: list[int] = field(default_factory=list)

    def is_little(self, asked: Asked) -> bool:
        return asked.images[0] is not MUCH

    def read_together(self, requests: list[Asked]) -> tuple[str, list[list[str] | Exception]]:
        self.together.append(len(requests))
        bad = ValueError("bad")
        return "4", [bad if asked.images[0] is BAD else ["read"] for asked in requests]


def scene(
    main: Callable[[Turn, Reader], Coroutine[Any, Any, None]],
    *,
    max_images: int = 8,
    places: int = 20,
) -> None:
    async def running() -> None:
        batcher = Batcher(threads=1, max_batch=1, max_images=places)
        reader = Reader()
        await main(Turn(batcher, cast("Recognizer", reader), max_images=max_images), reader)
        assert batcher.reserved == 0
        await batcher.close()

    asyncio.run(running())


def added(turn: Turn, *images: Any) -> list[Asker]:
    askers = [Asker(image) for image in images]
    for asker in askers:
        turn.add(cast("Exchange", asker))
    return askers


def test_what_is_whole_by_then_is_read_together() -> None:
    async def main(turn: Turn, reader: Reader) -> None:
        askers = added(turn, LITTLE, MUCH, None, BAD, LITTLE, LATE)
        assert [asker.became for asker in askers] == [None] * 6
        await asyncio.sleep(0)
        assert reader.together == [3]
        one, two, three, four, five, six = (asker.became for asker in askers)
        assert six is None
        assert one == five == (200, "4: ['read']")
        assert (two, three, str(four)) == ("waits", "not parsed", "bad")
        added(turn, LITTLE)
        await asyncio.sleep(0)
        assert reader.together == [3, 1]

    scene(main)


def test_answers_are_sent_when_all_are_made() -> None:
    made: list[int] = []

    async def main(turn: Turn, reader: Reader) -> None:
        askers = added(turn, LITTLE, UNSPEAKABLE, LITTLE)

        def send(status: int, response: str) -> None:
            made.append(sum(asker.made is not None for asker in askers))

        for asker in askers:
            asker.send = send  # type: ignore[method-assign]
        await asyncio.sleep(0)
        assert made == [2, 2]
        assert askers[1].became == "failed"

    scene(main)


def test_the_loop_has_other_things_to_do_between_many() -> None:
    async def main(turn: Turn, reader: Reader) -> None:
        askers = added(turn, *[LITTLE] * 7)
        seen = []
        for _ in range(4):
            await asyncio.sleep(0)
            seen.append(sum(asker.became is not None for asker in askers))
        assert seen == [3, 6, 7, 7]
        assert reader.together == [3, 3, 1]

    scene(main, max_images=3)


def test_who_finds_no_place_is_refused() -> None:
    async def main(turn: Turn, reader: Reader) -> None:
        askers = added(turn, *[LITTLE] * 4)
        await asyncio.sleep(0)
        assert [type(asker.became).__name__ for asker in askers] == [
            "tuple", "NoneType", "QueueFull", "QueueFull"
        ]  # fmt: skip
        await asyncio.sleep(0)
        assert reader.together == [1, 1]

    scene(main, max_images=1, places=2)
