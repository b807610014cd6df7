"""The HTTP floor: the same server, from the socket to the answer's last byte, but that no image is
looked at: all readings are the same. The compute floor is `bare.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
from fastapi import FastAPI

from app import memory
from app.__main__ import config_of, run
from app.api.payload import Intake
from app.inference.loading import Classifier, Thresholds
from app.observe.metrics import Metrics
from app.server.shutdown import Drain
from app.serving.batcher import Batcher
from app.serving.deadlines import Deadlines
from app.serving.predictor import Asked, Reading, Recognizer
from app.serving.state import State
from app.serving.turn import Turn
from app.settings import Settings
from app.vision.normalize import Normalized

PROBABILITIES = np.array([*[1e-4] * 7, 0.9991, 1e-4, 1e-4], np.float32)
DIGIT = Normalized(np.zeros((28, 28), np.uint8), False, (0, 0, 28, 28), ())
READING = Reading(7, PROBABILITIES[7], PROBABILITIES, None, DIGIT)


class Constant:
    """A recognizer that looks at nothing."""

    classifier = Classifier(
        "digits", "0", {}, Thresholds(0, 0), lambda images: np.empty((0, 11), np.float32)
    )

    def is_little(self, asked: Asked) -> bool:
        return True

    def read_together(
        self, requests: Sequence[Asked]
    ) -> tuple[Classifier, list[list[Reading] | Exception]]:
        return self.classifier, [[READING] * len(asked.images) for asked in requests]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, State]]:
    memory.keep_freed()
    memory.seldom_collect()
    memory.use_large_pages()
    settings = Settings()
    metrics = Metrics()
    recognizer = cast("Recognizer", Constant())
    batcher = Batcher(threads=1, max_batch=1, max_images=settings.max_waiting_images)
    yield {
        "digits": State(
            settings,
            metrics,
            Drain(0),
            Intake(settings.max_held_bytes),
            cast("Any", None),  # no versions
            batcher,
            recognizer,
            Turn(batcher, recognizer, max_images=settings.max_batch),
            Deadlines(settings.deadline_seconds),
        )
    }
    await batcher.close()


def create_app() -> FastAPI:
    return FastAPI(lifespan=lifespan)


if __name__ == "__main__":
    run(config_of(Settings(), "benchmarks.floors:create_app"))
