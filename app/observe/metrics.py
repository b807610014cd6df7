"""What the process says of itself: metrics, logs, and the ID that ties a request to both."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

log = structlog.get_logger()

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

SETTLE_SECONDS = 0.5
"""How often what was tallied goes to where other workers can read it."""


class Tallied(Histogram):
    """A histogram that takes many observations at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        places = np.searchsorted(self._upper_bounds, amounts)
        for bucket, count in zip(self._buckets, np.bincount(places), strict=False):
            if count:
                bucket.inc(int(count))
        self._sum.inc(sum(amounts))


class Metrics:
    """Everything that is counted, in a registry of its own. With several workers the figures are
    summed over them, through files in `PROMETHEUS_MULTIPROC_DIR`.

    What is counted for every request is tallied here and settled now and then: in those files, it
    took longer than parsing the request.
    """

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.requests = Counter(
            "digits_requests", "Requests answered.", ["route", "status"], registry=r
        )
        self.request_seconds = Tallied(
            "digits_request_seconds",
            "From headers to last byte.",
            ["route"],
            buckets=SECONDS,
            registry=r,
        )
        self.predictions = Counter(
            "digits_predictions", "Images answered.", ["version", "outcome"], registry=r
        )
        self.batch_images = Tallied(
            "digits_batch_images", "Images in a model call.", buckets=BATCH_SIZES, registry=r
        )
        self.batch_seconds = Tallied(
            "digits_batch_seconds", "A model call's duration.", buckets=SECONDS, registry=r
        )
        self.waiting_images = Gauge(
            "digits_waiting_images",
            "Images admitted and not yet answered.",
            multiprocess_mode="livesum",
            registry=r,
        )
        self.held_bytes = Gauge(
            "digits_held_bytes",
            "Bytes of bodies being read or worked on.",
            multiprocess_mode="livesum",
            registry=r,
        )
        self.reloads = Counter(
            "digits_reloads", "Attempts to go to another version.", ["succeeded"], registry=r
        )
        self.model_version = Gauge(
            "digits_model_version",
            "The live version.",
            multiprocess_mode="livemin",
            registry=r,
        )

        self._tallies: defaultdict[tuple[Counter, str, str], int] = defaultdict(int)
        self._batches: list[tuple[int, float]] = []
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._tallies[self.requests, route, str(status)] += 1
        self._seconds[route].append(seconds)

    def count_batch(self, images: int, seconds: float) -> None:
        self._batches.append((images, seconds))

    def count_predictions(self, version: str, rejected: Sequence[str | None]) -> None:
        for reason in rejected:
            self._tallies[self.predictions, version, reason or "accepted"] += 1

    def count_reload(self, succeeded: bool) -> None:
        self.reloads.labels(str(succeeded).lower()).inc()

    def observe_request(
        self,
        route: str,
        method: str,
        status: int,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        self.count_request(route, status, seconds)

    def observe_batch(self, images: int, seconds: Any) -> None:
        if images:
            self.count_batch(images, seconds.inference)

    def observe_reload(self, succeeded: bool) -> None:
        self.count_reload(succeeded)

    def observe_predictions(self, version: str, predictions: Any) -> None:
        self.count_predictions(version, [one.rejected for one in predictions])

    def flush(self) -> None:
        """Put what was tallied where it is read."""
        tallies, self._tallies = self._tallies, defaultdict(int)
        for (counter, *labels), count in tallies.items():
            counter.labels(*labels).inc(count)
        spans, self._seconds = self._seconds, defaultdict(list)
        for route, seconds in spans.items():
            self.request_seconds.labels(route).observe_all(seconds)
        batches, self._batches = self._batches, []
        if batches:
            self.batch_images.observe_all([images for images, _ in batches])
            self.batch_seconds.observe_all([seconds for _, seconds in batches])

    async def keep_flushed(self) -> None:
        """Settle until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(SETTLE_SECONDS)
                self.flush()
        finally:
            self.flush()

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        self.flush()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        summed = CollectorRegistry()
        MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
        return generate_latest(summed)
