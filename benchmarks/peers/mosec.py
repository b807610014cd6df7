"""mosec: a Rust front, one process a worker, dynamic batching. Takes the image as the raw body."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from mosec import Server, Worker

from benchmarks.peers import digit


class Digits(Worker):
    """Decode and predict in the same process: a stage of its own for decoding costs a hand-over."""

    def __init__(self) -> None:
        self.predict = digit.load()

    def deserialize(self, data: bytes) -> digit.Images:
        """Decode a body to [n,28,28]."""
        if data[:1] == b"{":
            return digit.read_json(data)
        return digit.read(data)[None]

    def serialize(self, data: list[Any]) -> bytes:
        """Return the JSON of an answer."""
        return json.dumps(data).encode()

    def forward(self, data: list[digit.Images]) -> list[Any]:
        """Answer a batch of requests with any number of images each."""
        rows = iter(self.predict(np.concatenate(data)))
        return [[digit.answer(next(rows)) for _ in images] for images in data]


if __name__ == "__main__":
    sys.argv += ["--port", str(digit.port()), "--address", "127.0.0.1"]
    server = Server()
    server.append_worker(Digits, num=2, max_batch_size=digit.MAX_BATCH, max_wait_time=1)
    server.run()
