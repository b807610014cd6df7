from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.errors import NotReady
from app.observe.health import Health


@dataclass
class Process:
    """Registry, workers and drain in one."""

    loaded: bool = True
    alive: bool = True
    longest_call_seconds: float = 0.0
    began: bool = False

    @property
    def live(self) -> object:
        if not self.loaded:
            raise NotReady("The model is being loaded.")
        return object()


def health_of(process: Process) -> Health:
    return Health(process, process, process, stall_seconds=5.0)


@pytest.mark.parametrize(
    ("process", "reason"),
    [
        (Process(), None),
        (Process(longest_call_seconds=5.0), None),
        (Process(loaded=False), "The model is being loaded."),
        (Process(alive=False), "A worker thread has ended."),
        (Process(longest_call_seconds=6.4), "A call in a worker thread has not returned for 6 s."),
    ],
)
def test_what_keeps_the_process_from_answering(process: Process, reason: str | None) -> None:
    health = health_of(process)
    assert health.unhealthy_reason() == reason
    assert health.unready_reason() == reason


def test_a_process_about_to_stop_is_healthy_and_not_ready() -> None:
    health = health_of(Process(began=True))
    assert health.unhealthy_reason() is None
    assert health.unready_reason() == "The process is about to stop."
