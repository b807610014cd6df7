"""What the lifespan builds and the routes use."""

from __future__ import annotations

from dataclasses import dataclass

from ..api.payload import Intake
from ..inference.registry import Versions
from ..observe.metrics import Metrics
from ..server.shutdown import Drain
from ..settings import Settings
from .batcher import Batcher
from .deadlines import Deadlines
from .predictor import Recognizer
from .turn import Turn


@dataclass(frozen=True, slots=True)
class State:
    """One process's working parts."""

    settings: Settings
    metrics: Metrics
    drain: Drain
    intake: Intake
    versions: Versions
    batcher: Batcher
    recognizer: Recognizer
    turn: Turn
    deadlines: Deadlines
    key_hashes: frozenset[str] = frozenset()

    def ailment(self) -> str | None:
        """Why this process can't answer correctly now, or None where it can."""
        if not self.batcher.alive:
            return "An inference thread has ended."
        if self.batcher.longest_call_seconds > self.settings.stall_seconds:
            return "A model call does not return."
        return None
