"""KServe: a custom model, its work in threads: a plain `predict` would hold up its event loop.

It takes no plain upload; the PNG goes in base64 in its first protocol.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import kserve
import numpy as np

from benchmarks.peers import digit


class Digits(kserve.Model):
    """The custom model."""

    def __init__(self) -> None:
        super().__init__("digits")
        self.ready = self.load()

    def load(self) -> bool:
        """Load the SavedModel."""
        self.model = digit.load()
        return True

    async def predict(self, payload: dict[str, Any], headers: Any = None) -> dict[str, Any]:
        """Answer a request, in a thread."""
        return await asyncio.to_thread(self.answer, payload)

    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer a request."""
        files = [base64.b64decode(one["b64"]) for one in payload["instances"]]
        rows = self.model(np.stack([digit.read(file) for file in files]))
        return {"predictions": [digit.answer(row) for row in rows]}


if __name__ == "__main__":
    server = kserve.ModelServer(http_port=digit.port(), enable_grpc=False, access_log_format=None)
    server.start([Digits()])
