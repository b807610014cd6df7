"""BentoML: adaptive batching, two workers, and a cap on latency high enough to refuse nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from benchmarks.peers import digit


@bentoml.service(workers=2, traffic={"timeout": 30}, metrics={"enabled": False})
class Digits:
    """The service that BentoML runs in each worker."""

    def __init__(self) -> None:
        self.model = digit.load()

    @bentoml.api(batchable=True, max_batch_size=digit.MAX_BATCH, max_latency_ms=10_000)
    def predict(self, file: list[Path]) -> list[dict[str, Any]]:
        """Answer a batch of uploads, which BentoML hands over as files."""
        images = np.stack([digit.read(one.read_bytes()) for one in file])
        return [digit.answer(row) for row in self.model(images)]


if __name__ == "__main__":
    program = str(Path(sys.executable).with_name("bentoml"))
    arguments = ["serve", "benchmarks.peers.bentoml:Digits", "--port", str(digit.port()), "--quiet"]
    os.execv(program, [program, *arguments])  # noqa: S606 -- it starts by its command line only
