"""MLServer: a custom runtime, adaptive batching, two inference processes.

It takes no plain upload; the PNG goes in base64 in the open inference protocol, which is a third
of the size of the pixels as numbers.
"""

from __future__ import annotations

import asyncio
import base64
import json

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers import digit


class Digits(MLModel):
    """The custom runtime."""

    async def load(self) -> bool:
        """Load the SavedModel."""
        self.model = digit.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a batch that MLServer has put together."""
        files = [base64.b64decode(text) for text in payload.inputs[0].data]
        rows = self.model(np.stack([digit.read(file) for file in files]))
        answers = [json.dumps(digit.answer(row)) for row in rows]
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("answer", answers)]
        )


async def main() -> None:
    """Serve."""
    settings = Settings(
        host="127.0.0.1",
        http_port=digit.port(),
        grpc_port=digit.free_port(),
        metrics_endpoint=None,
        parallel_workers=2,
        debug=False,
    )
    model = ModelSettings(
        name="digits",
        implementation="benchmarks.peers.mlserver.Digits",
        max_batch_size=digit.MAX_BATCH,
        max_batch_time=0.001,
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
