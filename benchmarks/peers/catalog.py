"""The peers: other servers that a Python user would pick to serve the same SavedModel.

Each has an environment of its own under `.peers/`; `python -m benchmarks.peers install [NAME …]`
makes them from the locked requirements beside this file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies
from benchmarks.bodies import Form

ENVIRONMENTS = Path(".peers")
REQUIREMENTS = Path(__file__).parent
STAMP = "installed.txt"
"""Copy of the requirements in an environment that has them all."""


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is installed and asked.

    Attributes:
        name: The module that serves it, `benchmarks.peers.NAME`.
        form: Puts an image file into the request body that it takes.
        path: Where it takes images.
        json_path: Where it takes 28×28 arrays as JSON; None where only its own protocol does.
        environment: Another peer whose environment it shares; empty for its own.
        python_version: Version of Python that it needs; empty for the one that runs the benchmark.
        needs_library_path: Whether it needs the interpreter's folder of shared libraries named.
    """

    name: str
    form: Form = bodies.multipart
    path: str = "/predict"
    json_path: str | None = None
    environment: str = ""
    python_version: str = ""
    needs_library_path: bool = False

    @property
    def folder(self) -> Path:
        """Its environment."""
        return ENVIRONMENTS / (self.environment or self.name)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def requirements(self) -> Path:
        """Its locked requirements."""
        return REQUIREMENTS / f"{self.environment or self.name}.txt"

    @property
    def is_installed(self) -> bool:
        """Whether its environment is there and has these requirements."""
        stamp = self.folder / STAMP
        return (
            os.access(self.python, os.X_OK)
            and stamp.is_file()
            and stamp.read_bytes() == self.requirements.read_bytes()
        )

    def variables(self) -> dict[str, str]:
        """Return the environment variables that it needs."""
        found = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        if self.needs_library_path:
            # The home of the interpreter from which the environment was made has libpython.
            library = self.python.resolve().parents[1] / "lib"
            found["LD_LIBRARY_PATH"] = f"{library}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        return found


PEERS = (
    Peer("mosec", bodies.raw, "/inference", json_path="/inference"),
    Peer("signature", json_path="/batch"),
    Peer("litserve"),
    Peer("bentoml"),
    Peer("tutorial", environment="signature"),
    Peer("ray"),
    Peer("mlserver", bodies.tensor, "/v2/models/digits/infer"),
    Peer("kserve", bodies.instances, "/v1/models/digits:predict"),
    Peer(
        "triton",
        bodies.binary_tensor,
        "/v2/models/digits/infer",
        python_version="3.12",
        needs_library_path=True,
    ),
)
