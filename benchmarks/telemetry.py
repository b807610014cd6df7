"""`python -m benchmarks.telemetry`: what a request's metrics cost, in microseconds of its worker.

The live version's card and a drawn digit, one image a request: nothing shares the cost.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from timeit import repeat

import numpy as np

from app.inference.classifier import Classifier, Images, Rejection, Scores, Thresholds
from app.inference.registry import version_to_serve
from app.observe.metrics import FLUSH_SECONDS, Metrics
from app.serving.predictions import Predictions
from app.serving.predictor import StepSeconds
from app.vision.normalize import Normalized
from app.vision.stroke import measure
from training.export import golden_images, read_card

REQUESTS = 5_000
ROUNDS = 15
PER_FLUSH = 64
"""Sampled between two flushes, at most."""


def _unasked(images: Images) -> Scores:
    raise NotImplementedError


def main() -> None:
    """Print the cost of each part: the least of `ROUNDS`, for other work can only add to it."""
    folder = version_to_serve(Path("models/digits"))
    card = read_card(folder)
    digit = Normalized(golden_images()[7], False, (0, 0, 28, 28), ())
    answered = Predictions(
        Classifier(card["name"], card["version"], card, Thresholds(0.5, 0.5), _unasked),
        labels=[7],
        confidences=np.array([0.9987], np.float32),
        probabilities=np.full((1, 10), 0.1, np.float32),
        rejected=[None],
        normalized=[digit],
        boxes=[()],
    )
    steps = StepSeconds([0.0002], 0.0001, 0.0001, 0.0003)
    with tempfile.TemporaryDirectory() as shared:
        metrics = Metrics(Path(shared), reasons=Rejection, measure=measure)
        metrics.set_model(card["name"], card["version"], card)

        def request() -> None:
            metrics.begin_request()
            metrics.observe_request("/predict", "POST", 200, 0.001, 700, 300)

        parts = {
            "request": request,
            "steps of its batch": lambda: metrics.observe_batch(1, steps),
            "prediction": lambda: metrics.observe_predictions(card["version"], answered),
        }
        costs = {}
        for name, part in parts.items():
            seconds = min(repeat(part, number=REQUESTS, repeat=ROUNDS)) / REQUESTS
            costs[name] = 1e6 * seconds
            print(f"{name:22}{costs[name]:8.2f} µs")
        print(f"{'together':22}{sum(costs.values()):8.2f} µs a request")

        def flush() -> None:
            for _ in range(PER_FLUSH):
                metrics.observe_predictions(card["version"], answered)
            metrics.flush()

        seconds = min(repeat(flush, number=50, repeat=ROUNDS)) / 50
        seconds -= PER_FLUSH * costs["prediction"] / 1e6
        print(
            f"{'flush':22}{1e6 * seconds:8.0f} µs every {FLUSH_SECONDS} s, with all that it can "
            f"hold: {100 * seconds / FLUSH_SECONDS:.2f}% of a core"
        )


if __name__ == "__main__":
    main()
