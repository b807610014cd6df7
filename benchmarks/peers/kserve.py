"""KServe: a custom model. One process with `predict` in a thread, as two share no batching.

It takes no plain upload; the PNG goes in base64 in its first protocol.
"""

from __future__ import annotations

import base64
from typing import Any

import kserve
import numpy as np

from benchmarks.peers import digit


class Digits(kserve.Model):
    def __init__(self) -> None:
        super().__init__("digits")
        self.ready = self.load()

    def load(self) -> bool:
        self.model = digit.load()
        return True

    def preprocess(self, payload: dict[str, Any], headers: Any = None) -> digit.Images:
        files = [base64.b64decode(one["b64"]) for one in payload["instances"]]
        return np.stack([digit.read(file) for file in files])

    def predict(self, payload: digit.Images, headers: Any = None) -> dict[str, Any]:
        return {"predictions": [digit.answer(row) for row in self.model(payload)]}


if __name__ == "__main__":
    server = kserve.ModelServer(http_port=digit.port(), enable_grpc=False, access_log_format=None)
    server.start([Digits()])
