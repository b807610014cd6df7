"""The HTTP floor: the same server stack with a route that reads the same body, parses it the same
way and answers a constant. The compute floor is `bare.py`.
"""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI, Request, Response

from app import payload
from app.settings import Settings
from app.telemetry import Metrics, Telemetry

ANSWER = (
    b'{"model":{"name":"digits","version":"0"},"predictions":[{"label":7,"confidence":0.9987,'
    b'"probabilities":[0.0001,0.0001,0.0001,0.0001,0.0001,0.0001,0.0001,0.9987,0.0001,0.0001],'
    b'"rejected":null}]}'
)


def http_floor() -> FastAPI:
    """`POST /predict` that parses and answers a constant."""
    settings = Settings()
    app = FastAPI()
    app.add_middleware(Telemetry, metrics=Metrics(), log_requests=False)
    intake = payload.Intake(settings.max_held_bytes)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        with intake.open() as hold:
            body = await payload.read(request, hold, max_body_bytes=settings.max_body_bytes)
            payload.parse(
                body,
                request.headers.get("content-type", ""),
                max_images=settings.max_images,
                max_pixels=settings.max_pixels,
            )
        return Response(ANSWER, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.floors:http_floor",
        factory=True,
        port=int(os.environ["DIGITS_PORT"]),
        http="httptools",
        loop="uvloop",
        log_level="error",
        access_log=False,
    )
