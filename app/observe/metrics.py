"""Metrics: what the service counts and measures, for Prometheus; `families.py` lists them.

Series that can be foreseen are there at 0 from the start: `increase()` sees no change from a series
that did not exist to its first value.
"""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from math import inf, isinf
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ..errors import ClientGone
from . import families, process
from .answers import ObservedNumber, ObservedPredictions, of_number, of_prediction
from .cells import Cells, Key, Snapshot
from .drift import NUMBERS, DriftWindow, Measure, Report
from .families import FAMILIES, LEVELS, DriftFamilies, Family

FLUSH_SECONDS = 0.5
"""How often a worker writes its levels where the others, of which any may be scraped, read them."""

STEP_NAMES = ("decode", "normalize", "queue", "inference")
LABELS = (*map(str, range(10)), "none")
"""Labels of a prediction; `none` is a blank image's."""
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where the workers' figures meet: as other Python services call it."""
OUTCOMES = ("succeeded", "refused")
OTHER = "other"
"""Route of unknown paths, and name of unknown methods: a scanner would make thousands."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def shared_folder() -> Path | None:
    """Return the folder where the workers' figures meet; None where there is one worker."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


class StepSeconds(Protocol):
    """How long each step took for a batch, and each of its requests waited in the queue."""

    @property
    def queue(self) -> Iterable[float]:
        """Seconds that each request waited."""

    @property
    def decode(self) -> float:
        """Seconds to decode the batch's images."""

    @property
    def normalize(self) -> float:
        """Seconds to normalize them."""

    @property
    def inference(self) -> float:
        """Seconds of the model call."""


class Metrics:
    """The figures of this process, and of all workers together.

    A request costs 3 µs in it, the steps of its batch 2.5 µs more where it was alone, and each
    prediction 1 µs (`python -m benchmarks.telemetry`).

    Args:
        folder: Where the figures of several workers meet; None for a process alone.
        version: The program's version.
        reasons: Reasons for which an answer can be rejected.
        number_reasons: The same of a number.
        measure: Measures the writing of digits, for drift.
        drift_seconds: Window of drift.

    Attributes:
        registry: The figures of all workers, as prometheus_client takes them.
        on_flush: Called twice a second and before figures are read, to set levels.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        version: str = "",
        reasons: Iterable[str] = (),
        number_reasons: Iterable[str] = (),
        measure: Measure | None = None,
        drift_seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_flush: Callable[[], None] = lambda: None
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._lock = threading.Lock()
        self._cells = Cells(folder)
        reasons = tuple(reasons)
        self._number_reasons = tuple(number_reasons)
        self._drift = DriftWindow(self._cells, measure, reasons, drift_seconds, clock)
        self._number_drift = DriftWindow(
            self._cells, measure, self._number_reasons, drift_seconds, clock, NUMBERS
        )
        self._series = {family.name: Series(family, self._cells) for family in FAMILIES}
        self._request_seconds = self._series[families.REQUEST_SECONDS.name]
        self._request_bytes = self._series[families.REQUEST_BYTES.name]
        self._response_bytes = self._series[families.RESPONSE_BYTES.name]
        self._in_progress = self._series[families.IN_PROGRESS.name]
        self._steps = self._series[families.STEPS.name]
        self._batch_images = self._series[families.BATCH_IMAGES.name]
        self._predictions = self._series[families.PREDICTIONS.name]
        self._rejections = self._series[families.REJECTIONS.name]
        self._confidence = self._series[families.CONFIDENCE.name]
        self._numbers = self._series[families.NUMBERS.name]
        self._number_confidence = self._series[families.NUMBER_CONFIDENCE.name]
        self._reloads = self._series[families.RELOADS.name]
        self._live: tuple[str, str] | None = None
        self._promotion: tuple[str, ...] = ()
        self._cpu_seconds = 0.0
        self._reset_gauges()
        self._initialize(reasons)
        self._of(families.BUILD).set((version, platform.python_version()), 1.0)
        self._flush_process()

    def _of(self, family: Family) -> Series:
        return self._series[family.name]

    def _reset_gauges(self) -> None:
        """Forget the levels of the process that wrote to this one's files before it."""
        for key in self._cells.own_keys():
            series = self._series.get(key.family)
            if series and series.family.kind in ("gauge", "info"):
                series.set(key.labels, 0.0)

    def _initialize(self, reasons: Iterable[str]) -> None:
        for family in FAMILIES:
            if not family.labels:
                self._of(family).start(())
        for step in STEP_NAMES:
            self._steps.start((step,))
        for reason in reasons:
            self._rejections.start((reason,))
        for outcome in OUTCOMES:
            self._reloads.start((outcome,))
        self.expect_requests(OTHER, "GET", (404,))

    def expect_requests(self, route: str, method: str, statuses: Iterable[int]) -> None:
        """Have the series of a route's requests at 0 before the first of them."""
        for status in statuses:
            self._request_seconds.start((route, method, status))
        self._request_bytes.start((route,))
        self._response_bytes.start((route,))

    def begin_request(self) -> None:
        """Count a request as in progress, until it is observed."""
        with self._lock:
            self._in_progress.add((), 1.0)

    def observe_request(  # noqa: PLR0917 -- keywords would take as long as an observation
        self,
        route: str,
        method: str,
        status: int,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """Count a request that was begun, when its response has been sent.

        Args:
            route: The route's path, as declared; `other` where none matched.
            method: The request's.
            status: Of the response; 0 where none was begun, which counts as 499.
            seconds: From its headers to the last byte of the response.
            request_bytes: Content received.
            response_bytes: Content sent.
        """
        if method not in METHODS:
            method = OTHER
        with self._lock:
            labels = (route, method, status or ClientGone.status)
            self._request_seconds.observe(labels, seconds)
            self._request_bytes.observe((route,), request_bytes)
            self._response_bytes.observe((route,), response_bytes)
            self._in_progress.add((), -1.0)

    def observe_batch(self, images: int, seconds: StepSeconds) -> None:
        """Record a batch that went through the model; safe from any thread.

        Args:
            images: Given to the model; 0 where no image was left for it.
            seconds: Of each step.
        """
        observe = self._steps.observe
        with self._lock:
            for waited in seconds.queue:
                observe(("queue",), waited)
            observe(("decode",), seconds.decode)
            observe(("normalize",), seconds.normalize)
            if images:
                observe(("inference",), seconds.inference)
                self._batch_images.observe((), images)

    def observe_predictions(self, version: str, predictions: ObservedPredictions) -> None:
        """Count a request's predictions, which `version` made."""
        labels = predictions.labels
        shown = [label is not None for label in labels]
        confidences = compress(predictions.confidences.tolist(), shown)
        with self._lock:
            if self._drift.has_room:
                self._drift.offer(version, map(of_prediction, predictions))
            for label in set(labels):
                name = "none" if label is None else label
                self._predictions.add((version, name), labels.count(label))
            for reason in {*predictions.rejected} - {None}:
                self._rejections.add((str(reason),), predictions.rejected.count(reason))
            self._confidence.observe_each((), confidences)

    def observe_numbers(self, version: str, numbers: Sequence[ObservedNumber]) -> None:
        """Count a request's numbers, which `version` read, by why each should not be used."""
        with self._lock:
            if self._number_drift.has_room:
                self._number_drift.offer(version, map(of_number, numbers))
            for number in numbers:
                self._numbers.add((version, number.rejected or "none"), 1.0)
                if number.digits:
                    self._number_confidence.observe((), number.confidence)

    def expect_shadow(
        self, version: str, outcomes: Iterable[str], number_outcomes: Iterable[str]
    ) -> None:
        """Have the series of a shadow version at 0 before its first image."""
        with self._lock:
            for outcome in outcomes:
                self._of(families.SHADOW).start((version, outcome))
            for outcome in number_outcomes:
                self._of(families.SHADOW_NUMBERS).start((version, outcome))

    def observe_shadow(self, version: str, outcomes: Mapping[str, int]) -> None:
        """Count images by how the shadow version's answers compare; safe from any thread."""
        with self._lock:
            for outcome, images in outcomes.items():
                self._of(families.SHADOW).add((version, outcome), images)

    def observe_shadow_numbers(self, version: str, outcomes: Mapping[str, int]) -> None:
        """Count rows by how the shadow version's numbers compare; safe from any thread."""
        with self._lock:
            for outcome, rows in outcomes.items():
                self._of(families.SHADOW_NUMBERS).add((version, outcome), rows)

    def observe_reload(self, succeeded: bool) -> None:
        """Count an attempt to go to another version of the model."""
        with self._lock:
            self._reloads.add(("succeeded" if succeeded else "refused",), 1.0)

    def set_model(self, name: str, version: str, card: Mapping[str, Any] | None = None) -> None:
        """Say which version is live in this process; its predictions are there at 0.

        Args:
            name: Of the model.
            version: The version that is live.
            card: Its card, with the reference for drift.
        """
        if self._live == (name, version):
            return
        self.expect_predictions(version)
        with self._lock:
            for reason in ("none", *self._number_reasons):
                self._numbers.start((version, reason))
            model = self._of(families.MODEL)
            if self._live:
                model.set(self._live, 0.0)
            model.set((name, version), 1.0)
            for window in (self._drift, self._number_drift):
                window.follow(version, card or {})
            self._live = (name, version)

    def expect_predictions(self, version: str) -> None:
        """Have the series of a version's predictions at 0 before the first of them."""
        with self._lock:
            for label in LABELS:
                self._predictions.start((version, label))

    def set_promotion(self, *labels: str) -> None:
        """Say how the live version became that, by the labels of `PROMOTION`; without, nothing."""
        if self._promotion == labels:
            return
        with self._lock:
            promotion = self._of(families.PROMOTION)
            if self._promotion:
                promotion.set(self._promotion, 0.0)
            if labels:
                promotion.set(labels, 1.0)
            self._promotion = labels

    def drift(self) -> Report:
        """Return how far what came lately, to all workers, is from the reference."""
        self.flush()
        return self._drift.report(self._cells.snapshots())

    def number_drift(self) -> Report:
        """Return the same of the numbers that were read."""
        self.flush()
        return self._number_drift.report(self._cells.snapshots())

    def set_refused(self, is_refused: bool) -> None:
        """Say whether the version that should be served can't be."""
        with self._lock:
            self._of(families.MODEL_REFUSED).set((), float(is_refused))

    def set_levels(self, **levels: float) -> None:
        """Set gauges, by the names in `families.LEVELS`, such as `waiting_images`."""
        with self._lock:
            for name, level in levels.items():
                self._of(LEVELS[name]).set((), level)

    def set_memory_limit(self, limit_bytes: int) -> None:
        """Say how much memory this process may take."""
        self._set_process(families.MEMORY_LIMIT, limit_bytes)

    async def keep_flushed(self) -> None:
        """Write this process's levels twice a second, until cancelled."""
        while True:
            self.flush()
            await asyncio.sleep(FLUSH_SECONDS)

    def flush(self) -> None:
        """Write this process's levels where other workers can read them."""
        self.on_flush()
        with self._lock:
            self._drift.flush()
            self._number_drift.flush()
        self._flush_process()

    def _flush_process(self) -> None:
        figures = process.read()
        with self._lock:
            # What it took since: the time of a worker that this one replaced stays counted.
            labels = (str(self._cells.number),)
            self._of(families.CPU_SECONDS).add(labels, figures.cpu_seconds - self._cpu_seconds)
            self._cpu_seconds = figures.cpu_seconds
        self._set_process(families.RESIDENT_BYTES, figures.resident_bytes)
        self._set_process(families.OPEN_DESCRIPTORS, figures.open_descriptors)
        self._set_process(families.MAX_DESCRIPTORS, figures.max_descriptors)
        self._set_process(families.START_TIME, figures.start_time)

    def _set_process(self, family: Family, value: float) -> None:
        with self._lock:
            self._of(family).set((str(self._cells.number),), value)

    def exposition(self) -> bytes:
        """Return the figures of all workers in Prometheus' text format."""
        self.flush()
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family with its samples, for `registry`."""
        snapshots = [*self._cells.snapshots()]
        for family in FAMILIES:
            yield _family(family, _merged(family, snapshots))
        for window, some in (
            (self._drift, families.PREDICTION_DRIFT),
            (self._number_drift, families.NUMBER_DRIFT),
        ):
            for family, merged in _derived(window.report(snapshots), some):
                yield _family(family, merged)


class Series:
    """The series of a family in this process. Its callers hold the lock."""

    def __init__(self, family: Family, cells: Cells) -> None:
        self.family = family
        self._cells = cells
        self._values = cells.values
        self._starts: dict[tuple[object, ...], int] = {}
        self._bounds = family.bounds
        self._sum = family.width - 1

    def start(self, labels: tuple[object, ...]) -> int:
        """Return the first cell of the series with these labels, which is 0 when it is new."""
        try:
            return self._starts[labels]
        except KeyError:
            key = Key(self.family.name, self.family.width, tuple(map(str, labels)))
            start = self._starts[labels] = self._cells.start_of(key)
            return start

    def add(self, labels: tuple[object, ...], amount: float) -> None:
        """Add to a counter or a gauge."""
        # Here and in `observe` the usual way takes no call: a request comes by ten times.
        try:
            start = self._starts[labels]
        except KeyError:
            start = self.start(labels)
        self._values[start] += amount

    def set(self, labels: tuple[object, ...], value: float) -> None:
        """Set a gauge or an info."""
        self._values[self.start(labels)] = value

    def observe(self, labels: tuple[object, ...], value: float) -> None:
        """Add to the bucket of a histogram that `value` belongs to, and to its sum."""
        try:
            start = self._starts[labels]
        except KeyError:
            start = self.start(labels)
        values = self._values
        values[start + bisect_left(self._bounds, value)] += 1.0
        values[start + self._sum] += value

    def observe_each(self, labels: tuple[object, ...], observed: Iterable[float]) -> None:
        """Do the same with each of several values."""
        start, cells, bounds = self.start(labels), self._values, self._bounds
        total = 0.0
        for value in observed:
            cells[start + bisect_left(bounds, value)] += 1.0
            total += value
        cells[start + self._sum] += total


Merged = dict[tuple[str, ...], list[float]]


def _merged(family: Family, snapshots: Sequence[Snapshot]) -> Merged:
    """Label values -> the numbers of all workers together."""
    merged: Merged = {}
    for snapshot in snapshots:
        if family.kind in ("gauge", "info") and not snapshot.is_alive:
            continue
        for labels, values in snapshot.series.get((family.name, family.width), ()):
            known = merged.get(labels)
            merged[labels] = (
                [a + b for a, b in zip(known, values, strict=True)] if known else [*values]
            )
    return merged


def _derived(report: Report, some: DriftFamilies) -> Iterator[tuple[Family, Merged]]:
    """The families of `report`, with their numbers."""
    for family, figures in (
        (some.distance, report.distance),
        (some.expected_accuracy, report.expected_accuracy),
        (some.reference_accuracy, report.reference_accuracy),
    ):
        yield family, {(name,): [figure] for name, figure in figures.items()}
    yield some.images, {(): [float(report.images)]}


def _family(family: Family, merged: Merged) -> Metric:
    """What prometheus_client writes for `family`."""
    name, description, labels = family.name, family.description, family.labels
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, description, labels=labels)
        for values, numbers in merged.items():
            histogram.add_metric(values, _buckets(family.bounds, numbers), numbers[-1])
        return histogram
    if family.kind == "counter":
        counter = CounterMetricFamily(name, description, labels=labels)
        for values, [count] in merged.items():
            counter.add_metric(values, count)
        return counter
    gauge = GaugeMetricFamily(name, description, labels=labels)
    for values, [level] in merged.items():
        if family.kind == "gauge":
            gauge.add_metric(values, level)
        elif level:
            gauge.add_metric(values, 1.0)
    return gauge


def _buckets(bounds: Sequence[float], numbers: Sequence[float]) -> list[tuple[str, float]]:
    """Upper bound and cumulative count of each bucket."""
    buckets, count = [], 0.0
    for bound, number in zip((*bounds, inf), numbers, strict=False):
        count += number
        buckets.append(("+Inf" if isinf(bound) else str(bound), count))
    return buckets
