"""What the process says of itself: metrics, logs, and the ID that ties a request to both."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import INTERNAL_ERROR, PROBLEMS, Draining, Problem, problem_json

log = structlog.get_logger()

STOPPED = PROBLEMS[Draining]
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

    def settle(self) -> None:
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

    async def keep_settled(self) -> None:
        """Settle until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(SETTLE_SECONDS)
                self.settle()
        finally:
            self.settle()

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        self.settle()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        summed = CollectorRegistry()
        MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
        return generate_latest(summed)


class Telemetry:
    """ASGI middleware: gives every request its ID, counts and times it, logs what failed here.

    The ID is the caller's `X-Request-ID` where that is sane, else a new one, and is in
    `scope["state"]["request_id"]`, in every log line and in the response.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log_requests: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            # Here and not in a handler for Exception, which Starlette would put around all
            # layers: its answer had no ID and was not counted.
            if status:
                raise
            log.exception("failed")
            await _problem(INTERNAL_ERROR, request_id)(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the drain's time is over, or a second signal came
            if status:
                raise
            await _problem(STOPPED, request_id)(scope, receive, send_with_id)
        finally:
            # An unknown path is one label, or a scanner would make thousands.
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - began
            record(self.metrics, route, status, seconds, told=self.log_requests)


def record(metrics: Metrics, route: str, status: int, seconds: float, *, told: bool) -> None:
    """Count an answer, and log it where it is `told` or failed here. Refusals are counted, not told
    one by one: a line each cost more than the refusal itself.
    """
    metrics.count_request(route, status, seconds)
    if told or status == 500:
        level = logging.WARNING if status >= 500 else logging.INFO
        log.log(level, "request", route=route, status=status, seconds=round(seconds, 6))


def _problem(problem: Problem, request_id: bytes) -> Response:
    body = problem_json(problem, problem.remedy, request_id=request_id.decode())
    retry = {"retry-after": "1"} if problem is STOPPED else None
    return Response(body, problem.status, retry, media_type="application/problem+json")


def new_request_id() -> str:
    """A name, not a secret: asking the system for randomness took longer than all else here."""
    return f"{random.getrandbits(128):032x}"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The caller's `X-Request-ID` where that is sane, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return new_request_id().encode()


def configure_logging(*, json: bool) -> None:
    """Send structlog's and the standard library's lines through one formatter to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    line = logging.StreamHandler()
    line.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    line.addFilter(_no_startup_traceback)
    logging.basicConfig(handlers=[line], level=logging.INFO, force=True)


def _no_startup_traceback(record: logging.LogRecord) -> bool:
    # Starlette hands a failed start-up's whole traceback to the server as its message; the line
    # that says what is wrong has been logged by then.
    return not record.getMessage().startswith("Traceback (most recent call last)")
