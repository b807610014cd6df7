from __future__ import annotations

from typing import Any


class Health:
    def __init__(self, registry: Any, workers: Any, drain: Any, *, stall_seconds: float) -> None:
        self.workers, self.drain, self.stall_seconds = workers, drain, stall_seconds

    def unhealthy_reason(self) -> str | None:
        if not self.workers.alive:
            return "A worker thread has ended."
        if self.workers.longest_call_seconds > self.stall_seconds:
            return "A call in a worker thread does not return."
        return None

    def unready_reason(self) -> str | None:
        return "The process is about to stop." if self.drain.began else self.unhealthy_reason()
