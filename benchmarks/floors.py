"""What no service of this kind can be faster than, measured in the same run.

*HTTP*: the same server, connection class and middleware with a route that reads the same body,
parses it the same way and answers a constant. *Compute*: the bare signature in a loop.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response

from app import payload
from app.classifier import load
from app.settings import Settings
from app.telemetry import Metrics, Telemetry

ANSWER = (
    b'{"model":{"name":"digits","version":"0"},"predictions":[{"label":7,"confidence":0.9987,'
    b'"probabilities":[0.0001,0.0001,0.0001,0.0001,0.0001,0.0001,0.0001,0.9987,0.0001,0.0001],'
    b'"rejected":null}]}'
)


def http_floor() -> FastAPI:
    """`POST /predict` that parses and answers a constant; `GET /healthz` for the start."""
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

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response(b"{}", media_type="application/json")

    return app


def compute_floor(model: Path, *, threads: int, batch: int, seconds: float) -> float:
    """Images a second of the bare signature, called by so many threads with so many images."""
    classifier = load(model)
    images = np.resize(np.load(model / "golden.npz")["images"], (batch, 28, 28))
    done = [0] * threads
    end = time.perf_counter() + seconds

    def work(me: int) -> None:
        while time.perf_counter() < end:
            classifier(images)
            done[me] += batch

    workers = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - began)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["http"]:
            uvicorn.run(
                "benchmarks.floors:http_floor",
                factory=True,
                port=int(os.environ["DIGITS_PORT"]),
                http="httptools",
                loop="uvloop",
                log_level="error",
                access_log=False,
            )
        case ["compute", model, threads, batch, seconds]:
            print(
                compute_floor(
                    Path(model), threads=int(threads), batch=int(batch), seconds=float(seconds)
                )
            )
