"""One timer for all who may wait equally long: one a request costs more than the waiting."""

from __future__ import annotations

import asyncio

from ..errors import DeadlineExceeded
from .batcher import Job

EXPIRED = "The deadline passed before the images were looked at."


class Deadlines:
    """Gives jobs up that still wait `seconds` after they were added. Made and used on one loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due: dict[Job, float] = {}  # the first to come is the first to be due
        self._timer: asyncio.TimerHandle | None = None

    def add(self, job: Job) -> None:
        self._due[job] = due = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._on_due)

    def discard(self, job: Job) -> None:
        """The job has ended, or is nobody's any more."""
        self._due.pop(job, None)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _on_due(self) -> None:
        self._timer = None
        now = self._loop.time()
        for job, due in [*self._due.items()]:
            if due > now:
                self._timer = self._loop.call_at(due, self._on_due)
                return
            self.discard(job)
            job.abandon(DeadlineExceeded(EXPIRED))
