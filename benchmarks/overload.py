"""`python -m benchmarks.overload --url URL`: twice as much as a service can do, for a minute.

First the peak, by `wrk`: as many requests in flight as connections. Then an open loop at twice the
peak: a request leaves when its time has come, whether or not the others are answered. Goodput is
what was answered with 200, rightly; what was refused in time (503, 504) is no error, a wrong answer
or a broken connection is. Last, how long a lone request takes right after.

A request is a JSON batch, so that a driver in Python can send more than the service can take; it
takes its share of the same cores all the same, and of times what it says has its own delays in it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import cv2
import numpy as np

from benchmarks import wrk
from benchmarks.bodies import Body
from benchmarks.openloop import OpenLoop

IMAGES = 16
IN_FLIGHT = 32
OPEN = 512
"""Connections under overload: refusals come so fast that some are always idle."""
TICK_SECONDS = 0.002
"""Under load the driver looks twice in a refusal's time, and leaves the cores to the service."""
PEAK_SECONDS = 10


def drawing(digit: int) -> list[list[int]]:
    """A digit in a plain font, 28×28, white on black."""
    image = np.zeros((28, 28), np.uint8)
    cv2.putText(image, str(digit), (5, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    rows: list[list[int]] = image.tolist()
    return rows


def batch() -> Body:
    images = [drawing(number % 10) for number in range(IMAGES)]
    return Body(json.dumps({"images": images}).encode(), {"content-type": "application/json"})


def lone_request_ms(url: str) -> float:
    """The median of 20 in a second, which meet nobody."""
    return OpenLoop(url, [batch()], connections=1).run(rate=20, seconds=1)["p50_ms"]


def is_right(body: bytes, expected: bytes) -> bool:
    given, wanted = json.loads(body)["predictions"], json.loads(expected)["predictions"]
    return len(given) == IMAGES and all(
        one["label"] == other["label"] and abs(one["confidence"] - other["confidence"]) < 1e-3
        for one, other in zip(given, wanted, strict=True)
    )


def run(url: str, seconds: float) -> dict[str, Any]:
    url += "/predict?normalize=false"
    before = lone_request_ms(url)
    closed = wrk.drive(url, [batch()], connections=IN_FLIGHT, seconds=PEAK_SECONDS)
    peak = closed["requests_per_second"]
    load = OpenLoop(url, [batch()], connections=OPEN, tick_seconds=TICK_SECONDS)
    sent, _ = load.send(2 * peak, seconds)
    after = lone_request_ms(url)
    outcomes = Counter(one.status for one in load.answers)
    answered = [one.body for one in load.answers if one.status == "200"]
    refusals = [1000 * (one.came - one.sent) for one in load.answers if one.status == "503"]
    return {
        "peak_images_per_second": round(peak * IMAGES),
        "offered_images_per_second": round(2 * peak * IMAGES),
        "goodput_share_of_peak": round(len(answered) / seconds / peak, 3),
        "outcomes": dict(outcomes),
        "without_answer": sent - len(load.answers),
        "wrong_answers": sum(not is_right(body, answered[0]) for body in answered),
        "refusal_ms": [round(float(np.quantile(refusals or [0], q)), 1) for q in (0.5, 0.99)],
        "lone_request_ms_before": round(before, 2),
        "lone_request_ms_in_the_second_after": round(after, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.url.rstrip("/"), arguments.seconds), indent=2))
