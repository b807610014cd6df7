"""`python -m benchmarks.overload --url URL`: an open loop at twice the peak, for a minute.

The peak comes first, by `wrk`. Then a request leaves when it is due, whether or not the others are
answered. Goodput counts right answers with 200; a refusal in time (503, 504) is no error, a wrong
answer, another status or a broken connection is. Last, the latency of a lone request right after.

A request is a JSON batch, so that a driver in Python can send more than the service can take; the
driver needs its share of the same cores, and the times it reports include its own delays.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks import bodies, wrk
from benchmarks.bodies import Body
from benchmarks.openloop import OpenLoop
from benchmarks.wrk import Figures

IMAGES = 16
IN_FLIGHT = 32
CONNECTIONS = 512
"""Refusals come so fast that some of so many connections are always idle."""
TICK_SECONDS = 0.002
"""Coarser than for latency: under overload the cores are left to the service."""
PEAK_SECONDS = 10
GRACE_SECONDS = 35.0
"""Wait for the last answers: longer than the service's deadline, after which there is a refusal."""
REFUSALS = ("503", "504")


@dataclass(frozen=True, slots=True)
class Overload:
    """A run's figures and the number of answers by status."""

    figures: Figures
    outcomes: dict[str, int]


def drawing(digit: int) -> list[list[int]]:
    """Return a digit in a plain font as rows, 28×28, white on black."""
    image = np.zeros((28, 28), np.uint8)
    cv2.putText(image, str(digit), (5, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    rows: list[list[int]] = image.tolist()
    return rows


def batch() -> Body:
    """Return a JSON batch of drawings."""
    return bodies.as_json({"images": [drawing(number % 10) for number in range(IMAGES)]})


def ask_alone(url: str) -> tuple[float, bytes]:
    """Return the median latency of 20 requests in a second, in ms, and an answer."""
    load = OpenLoop(url, [batch()], connections=1)
    figures = load.run(rate=20, seconds=1)
    return figures["p50_ms"], load.answers[0].body


def is_right(body: bytes, expected: bytes) -> bool:
    """Tell whether an answer has the expected answer's labels and confidences."""
    given, wanted = json.loads(body)["predictions"], json.loads(expected)["predictions"]
    return len(given) == IMAGES and all(
        prediction["label"] == right["label"]
        and abs(prediction["confidence"] - right["confidence"]) < 1e-3
        for prediction, right in zip(given, wanted, strict=True)
    )


def run(url: str, seconds: float, peak_seconds: float = PEAK_SECONDS) -> Overload:
    """Measure a service at `url`, without load beside this.

    Returns:
        Figures `peak_images_per_second`, `offered_images_per_second`, `goodput_share` (right
        answers until the last request was due, of the peak), `wrong_or_lost` (wrong answers, other
        statuses than 200, 503 and 504, and requests without an answer), `refusal_p50_ms`,
        `refusal_p99_ms`, `lone_before_ms`, `lone_after_ms`.
    """
    url += "/predict?normalize=false"
    before, expected = ask_alone(url)
    closed = wrk.drive(url, [batch()], connections=IN_FLIGHT, seconds=peak_seconds)
    peak = closed["requests_per_second"]
    load = OpenLoop(
        url,
        [batch()],
        connections=CONNECTIONS,
        tick_seconds=TICK_SECONDS,
        grace_seconds=GRACE_SECONDS,
    )
    sent, end = load.send(2 * peak, seconds)
    after, _ = ask_alone(url)
    outcomes = Counter(answer.status for answer in load.answers)
    right = [
        answer
        for answer in load.answers
        if answer.status == "200" and is_right(answer.body, expected)
    ]
    refusals = [
        1000 * (answer.came - answer.sent) for answer in load.answers if answer.status == "503"
    ]
    figures = {
        "peak_images_per_second": peak * IMAGES,
        "offered_images_per_second": 2 * peak * IMAGES,
        "goodput_share": sum(answer.came < end for answer in right) / seconds / peak,
        "wrong_or_lost": float(sent - len(right) - sum(outcomes[status] for status in REFUSALS)),
        "refusal_p50_ms": float(np.quantile(refusals or [0], 0.5)),
        "refusal_p99_ms": float(np.quantile(refusals or [0], 0.99)),
        "lone_before_ms": before,
        "lone_after_ms": after,
    }
    return Overload(figures, dict(outcomes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    measured = run(arguments.url.rstrip("/"), arguments.seconds)
    print(json.dumps({"outcomes": measured.outcomes, **measured.figures}, indent=2))
