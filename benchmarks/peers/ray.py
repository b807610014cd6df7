"""Ray Serve: two replicas that batch, behind HAProxy, the faster of its proxies."""

from __future__ import annotations

import logging
import os
from typing import Any

os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers import digit


@serve.deployment(num_replicas=2, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
class Digits:
    """The deployment."""

    def __init__(self) -> None:
        self.model = digit.load()

    @serve.batch(max_batch_size=digit.MAX_BATCH, batch_wait_timeout_s=0.001)
    async def predict(self, images: list[digit.Images]) -> list[digit.Rows]:
        """Return probabilities of images that Ray Serve has batched."""
        return list(self.model(np.stack(images)))

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer an upload."""
        form = await request.form()
        rows = await self.predict(digit.read(await form["file"].read()))  # type: ignore[union-attr]
        return digit.answer(rows)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(http_options={"host": "127.0.0.1", "port": digit.port()})
    serve.run(Digits.bind(), route_prefix="/predict", blocking=True)
