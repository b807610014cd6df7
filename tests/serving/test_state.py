from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import numpy as np
import pytest

from app.serving.batcher import Batcher, Images, Rows
from app.serving.state import State
from app.settings import Settings

ONE = np.zeros((1, 28, 28), np.uint8)
UNUSED = cast("Any", None)


def state(batcher: Batcher, settings: Settings) -> State:
    return State(settings, UNUSED, UNUSED, UNUSED, UNUSED, batcher, UNUSED, UNUSED, UNUSED)


def test_a_call_that_does_not_return_is_an_ailment() -> None:
    began, over = threading.Event(), threading.Event()

    def busy(images: Images) -> Rows:
        began.set()
        over.wait()
        return np.zeros((1, 11), np.float32)

    async def scene() -> None:
        batcher = Batcher(threads=1, max_batch=1, max_images=1)
        assert state(batcher, Settings(stall_seconds=1e-9)).ailment() is None
        with batcher.reserve(1) as job:
            asker = asyncio.create_task(job.run(busy, ONE))
            await asyncio.to_thread(began.wait)
            assert state(batcher, Settings(stall_seconds=1e9)).ailment() is None
            ailment = state(batcher, Settings(stall_seconds=1e-9)).ailment()
            assert ailment == "A model call does not return."
            over.set()
            await asker
        await batcher.close()

    asyncio.run(scene())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_is_an_ailment() -> None:
    def ends(images: Images) -> Rows:
        raise SystemExit

    async def scene() -> None:
        batcher = Batcher(threads=1, max_batch=1, max_images=1)
        with batcher.reserve(1) as job:
            asker = asyncio.create_task(job.run(ends, ONE))
            while batcher.alive:
                await asyncio.sleep(0.001)
            assert state(batcher, Settings()).ailment() == "An inference thread has ended."
            asker.cancel()
        await batcher.close()

    asyncio.run(scene())
