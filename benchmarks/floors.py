"""The HTTP floor: uvicorn around an endpoint that computes nothing.

It reads the body and answers with a constant; the compute floor is `bare.py`.
"""

from __future__ import annotations

import json
import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PREDICTION = {"label": 7, "confidence": 0.9991, "probabilities": [*[1e-4] * 7, 0.9991, 1e-4, 1e-4]}
ANSWER = json.dumps(
    {"model": {"name": "digits", "version": "0"}, "predictions": [PREDICTION | {"rejected": None}]}
).encode()


async def predict(request: Request) -> Response:
    """Answer with the constant once the body is there."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.floors:app",
        port=int(os.environ["PORT"]),
        workers=int(os.environ["WORKERS"]),
        log_level="error",
        access_log=False,
    )
