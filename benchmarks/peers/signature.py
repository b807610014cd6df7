"""FastAPI as its users come to write it: the SavedModel's signature in a `def` route.

The route runs in a thread; there are two worker processes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, UploadFile
from pydantic import BaseModel

from benchmarks.peers import digit


class Batch(BaseModel):
    """Images as numbers, [n,28,28]."""

    images: list[list[list[int]]]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Load the SavedModel before the first request."""
    yield {"predict": digit.load()}


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(request: Request, file: UploadFile) -> dict[str, Any]:
    """Answer an upload."""
    return digit.answer(request.state.predict(digit.read(file.file.read())[None])[0])


@app.post("/batch")
def batch(request: Request, body: Batch) -> list[dict[str, Any]]:
    """Answer images as numbers."""
    images = np.array(body.images, np.uint8)
    return [digit.answer(row) for row in request.state.predict(images)]


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.peers.signature:app",
        port=digit.port(),
        workers=2,
        log_level="error",
        access_log=False,
        timeout_worker_healthcheck=120,
    )
