"""LitServe: two API processes in front of two workers that batch."""

# Annotations are not deferred: LitServe looks at them to tell a form from JSON.

from typing import Any

import litserve
import numpy as np
from fastapi import Request

from benchmarks.peers import digit


class Digits(litserve.LitAPI):
    """The API, of which every worker has an instance."""

    def setup(self, device: str) -> None:
        """Load the SavedModel."""
        self.model = digit.load()

    def decode_request(self, request: Request) -> digit.Images:
        """Decode the upload; the request is its parsed form by now."""
        return digit.read(request["file"].file.read())

    def batch(self, inputs: list[digit.Images]) -> digit.Images:
        """Stack images to [n,28,28]."""
        return np.stack(inputs)

    def predict(self, x: digit.Images) -> digit.Rows:
        """Return probabilities [n,10]."""
        return self.model(x)

    def unbatch(self, output: digit.Rows) -> list[digit.Rows]:
        """Split probabilities by request."""
        return list(output)

    def encode_response(self, output: digit.Rows) -> dict[str, Any]:
        """Return the JSON of an answer."""
        return digit.answer(output)


if __name__ == "__main__":
    server = litserve.LitServer(
        Digits(max_batch_size=digit.MAX_BATCH, batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=2,
    )
    server.run(
        host="127.0.0.1",
        port=digit.port(),
        num_api_servers=2,
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )
