"""The shadow: another version reads what was answered, and how often it differs is counted.

It answers nothing, and no answer waits for it: its threads take images and rows after their answer,
and what does not fit into their queues is dropped and counted.

A row is read again from the candidates that were cut for the live version, with the shadow's
networks, and by the same lattice weights and row net. These are fitted to the version that they
shipped with, so that a shadow's numbers are an approximation, rather worse than what it would read
with weights of its own; and where the row net is asked, it is the same for both.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import structlog

from ..inference.classifier import Classifier
from ..inference.grammar import Grammar
from ..inference.judge import RowRejection
from ..vision.segment import SegmentedRow
from .predictions import Prediction
from .reader import Number, read_with_lines, shipped_reader
from .workers import NICE, give_way

log = structlog.get_logger()

Item = TypeVar("Item")
Outcomes = Mapping[str, int]
OnOutcomes = Callable[[Outcomes], None]

MAX_WAITING_IMAGES = 512
BATCH_IMAGES = 16
LOWEST_PRIORITY = 19
MAX_WAITING_ROWS = 32
"""Rows that wait, at most: some 50 KB each, and 6 MB where all are scribbles of a large photo."""
ROW_REST = 9.0
"""Seconds without work after a second of it: a row is searched in Python, some 5 ms in which the
event loop waits a millisecond for the interpreter, so that rows have a tenth of the time."""
SAME, LABEL, TEXT, ACCEPTANCE, DROPPED, FAILED = (
    "same",
    "other_label",
    "other_text",
    "other_acceptance",
    "dropped",
    "failed",
)
OUTCOMES = (SAME, LABEL, ACCEPTANCE, DROPPED, FAILED)
"""The shadow's answer beside the live one; of two with the same label, one may be rejected."""
NUMBER_OUTCOMES = (SAME, TEXT, ACCEPTANCE, DROPPED, FAILED)
"""The same of numbers, by their texts."""


class Follower(Generic[Item]):
    """A thread that compares what is offered, as far as it gets to it.

    Args:
        compare: Compares a batch; returns how many had which outcome.
        on_outcomes: Told these; from any thread.
        name: Of the thread.
        max_waiting: Items that wait, at most.
        batch: Items that are compared at once, at most.
        nice: By how much the thread's priority is lower than the event loop's.
        rest: Seconds without work after a second of it.
    """

    def __init__(
        self,
        compare: Callable[[Sequence[Item]], Outcomes],
        on_outcomes: OnOutcomes,
        *,
        name: str,
        max_waiting: int,
        batch: int,
        nice: int,
        rest: float = 0.0,
    ) -> None:
        self._compare = compare
        self._on_outcomes = on_outcomes
        self._max_waiting = max_waiting
        self._batch = batch
        self._nice = nice
        self._rest = rest
        self._waiting: deque[Item] = deque()
        self._changed = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def offer(self, items: Iterable[Item]) -> None:
        """Take what there is room for."""
        dropped = 0
        for item in items:
            if len(self._waiting) < self._max_waiting:
                self._waiting.append(item)
            else:
                dropped += 1
        self._changed.set()
        if dropped:
            self._on_outcomes({DROPPED: dropped})

    def close(self) -> None:
        """End the thread after the batch that it works on."""
        self._closed.set()
        self._changed.set()

    def _work(self) -> None:
        give_way(self._nice)
        while not self._closed.is_set():
            self._changed.wait()
            self._changed.clear()
            while self._waiting and not self._closed.is_set():
                began = time.perf_counter()
                count = min(self._batch, len(self._waiting))
                self._on_outcomes(self._compare([self._waiting.popleft() for _ in range(count)]))
                if self._rest:
                    self._closed.wait(self._rest * (time.perf_counter() - began))


class ReadRow(NamedTuple):
    """A row that the live version has answered, without its answer's pictures."""

    text: str
    rejected: RowRejection | None
    row: SegmentedRow
    grammar: Grammar


class Shadow:
    """Has a second version read what the live one has answered.

    Args:
        classifier: The second version.
        on_outcomes: Told how many images had which of `OUTCOMES`; from any thread.
        on_number_outcomes: Told how many rows had which of `NUMBER_OUTCOMES`; from any thread.
    """

    def __init__(
        self,
        classifier: Classifier,
        on_outcomes: OnOutcomes,
        on_number_outcomes: OnOutcomes = lambda outcomes: None,
    ) -> None:
        self.version = classifier.version
        self._classifier = classifier
        self._images: Follower[Prediction] = Follower(
            self._compare,
            on_outcomes,
            name="shadow",
            max_waiting=MAX_WAITING_IMAGES,
            batch=BATCH_IMAGES,
            nice=LOWEST_PRIORITY,
        )
        self._rows: Follower[ReadRow] = Follower(
            self._compare_rows,
            on_number_outcomes,
            name="shadow-rows",
            max_waiting=MAX_WAITING_ROWS,
            batch=1,
            # Not the lowest: it holds the interpreter for longer, and must get on to let it go.
            nice=NICE,
            rest=ROW_REST,
        )

    def offer(self, predictions: Sequence[Prediction]) -> None:
        """Take what the live version has answered, as far as there is room."""
        self._images.offer(each for each in predictions if each.label is not None)

    def offer_numbers(self, numbers: Sequence[Number], grammar: Grammar) -> None:
        """Take the numbers that the live version has read, as far as there is room."""
        self._rows.offer(
            ReadRow(each.text, each.rejected, each.row, grammar)
            for each in numbers
            if each.rejected is not RowRejection.BLANK
        )

    def close(self) -> None:
        """End the threads after what they work on."""
        self._images.close()
        self._rows.close()

    def _compare(self, answered: Sequence[Prediction]) -> Outcomes:
        try:
            scores = self._classifier(np.array([each.normalized.digit for each in answered]))
        except Exception as error:  # noqa: BLE001 -- a model raises anything, and this one may
            return self._failure(error, len(answered))
        outcomes: Counter[str] = Counter()
        for prediction, row in zip(answered, scores.tolist(), strict=True):
            confidence = max(row[:10])
            rejected = self._classifier.thresholds.rejection(confidence, row[10])
            if row.index(confidence) != prediction.label:
                outcomes[LABEL] += 1
            else:
                outcomes[_acceptance(rejected, prediction.rejected)] += 1
        return outcomes

    def _compare_rows(self, answered: Sequence[ReadRow]) -> Outcomes:
        try:
            numbers = [self._read(each) for each in answered]
        except Exception as error:  # noqa: BLE001 -- as above
            return self._failure(error, len(answered))
        outcomes: Counter[str] = Counter()
        for live, number in zip(answered, numbers, strict=True):
            if number.text != live.text:
                outcomes[TEXT] += 1
            else:
                outcomes[_acceptance(number.rejected, live.rejected)] += 1
        return outcomes

    def _read(self, answered: ReadRow) -> Number:
        scores = self._classifier(answered.row.digits)
        return read_with_lines(answered.row, scores, answered.grammar, shipped_reader())

    def _failure(self, error: Exception, count: int) -> Outcomes:
        log.warning("the shadow failed", version=self.version, reason=str(error))
        return {FAILED: count}


def _acceptance(one: str | None, other: str | None) -> str:
    """The outcome for two answers that say the same."""
    return SAME if (one is None) == (other is None) else ACCEPTANCE
