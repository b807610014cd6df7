"""Health: the reasons for which a process can't answer, or should not be sent requests."""

from __future__ import annotations

from typing import Protocol

from ..errors import NotReady


class Registry(Protocol):
    """Holds the live model."""

    @property
    def live(self) -> object:
        """The live classifier.

        Raises:
            NotReady: none is loaded.
        """


class Workers(Protocol):
    """Threads that work off requests."""

    @property
    def alive(self) -> bool:
        """Whether every thread still runs."""

    @property
    def longest_call_seconds(self) -> float:
        """For how long the oldest call that is still in work has run; 0 without one."""


class Drain(Protocol):
    """The process's way out."""

    @property
    def began(self) -> bool:
        """Whether the process has been told to stop."""


class Health:
    """Says why the process can't answer. No answer waits for anything.

    Args:
        registry: Holds the live model.
        workers: The threads that decode and classify.
        drain: Whether the process is about to stop.
        stall_seconds: A call that runs longer counts as stuck.
    """

    def __init__(
        self, registry: Registry, workers: Workers, drain: Drain, *, stall_seconds: float
    ) -> None:
        self._registry = registry
        self._workers = workers
        self._drain = drain
        self._stall_seconds = stall_seconds

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to stop."""
        return self._drain.began

    def unhealthy_reason(self) -> str | None:
        """Return why this process can't answer correctly, for `/healthz`; None where it can."""
        try:
            self._registry.live  # noqa: B018 -- it raises
        except NotReady as error:
            return error.detail
        if not self._workers.alive:
            return "A worker thread has ended."
        seconds = self._workers.longest_call_seconds
        if seconds > self._stall_seconds:
            return f"A call in a worker thread has not returned for {seconds:.0f} s."
        return None

    def unready_reason(self) -> str | None:
        """Return why this process should not be sent requests, for `/readyz`; None if it may."""
        return "The process is about to stop." if self.is_draining else self.unhealthy_reason()
