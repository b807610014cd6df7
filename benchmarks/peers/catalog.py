"""What else a Python user would pick to serve the same SavedModel, each in its own environment.

`python -m benchmarks.peers install [NAME …]` makes the environments, in `.peers/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies
from benchmarks.bodies import Body

ENVIRONMENTS = Path(".peers")
REQUIREMENTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """How one is asked: where, and in which form it takes an image file."""

    name: str
    form: Callable[[bytes], Body] = bodies.multipart
    path: str = "/predict"
    json_path: str | None = None
    """Where it takes 28×28 arrays as JSON, if it does without a framework's own protocol."""
    environment: str = ""
    """Whose environment it runs in, where that is another's."""

    @property
    def python(self) -> Path:
        return ENVIRONMENTS / (self.environment or self.name) / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        return os.access(self.python, os.X_OK)


PEERS = (
    Peer("mosec", bodies.raw, "/inference", json_path="/inference"),
    Peer("signature", json_path="/batch"),
    Peer("litserve"),
    Peer("bentoml"),
    Peer("tutorial", environment="signature"),
    Peer("ray"),
    Peer("mlserver", bodies.tensor, "/v2/models/digits/infer"),
    Peer("kserve", bodies.instances, "/v1/models/digits:predict"),
)
