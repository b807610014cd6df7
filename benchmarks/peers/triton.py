"""Triton Inference Server through PyTriton: two Python callables behind its dynamic batcher.

It takes no plain upload: the file goes as a tensor of bytes behind the JSON of the open inference
protocol, as PyTriton's own client sends it. Triton says ready before its models are bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers import digit

INSTANCES = 2
"""Calls at a time; they are threads of one process, which decode and compute without the GIL."""

predict = digit.load()


@batch
def infer(file: Any) -> dict[str, Any]:
    """Answer a batch of files, bytes objects [n,1]."""
    images = np.stack([digit.read(content) for content in file[:, 0]])
    probabilities = predict(images)
    return {
        "label": probabilities.argmax(axis=1).astype(np.int64)[:, np.newaxis],
        "probabilities": probabilities,
    }


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1", http_port=digit.port(), allow_grpc=False, allow_metrics=False
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="digits",
            infer_func=[infer] * INSTANCES,
            inputs=[Tensor(name="file", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="label", dtype=np.int64, shape=(1,)),
                Tensor(name="probabilities", dtype=np.float32, shape=(10,)),
            ],
            config=ModelConfig(
                max_batch_size=digit.MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=0),
            ),
        )
        triton.serve()
