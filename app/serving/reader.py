"""From raw images to numbers: decode, segment, classify, search, judge.

The candidates of all rows of all requests are classified in one call. Each row is then read by
itself, under its request's grammar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DigitsError, ModelError
from ..inference.candidatenet import Evidence
from ..inference.classifier import Classifier, Scores
from ..inference.grammar import Grammar
from ..inference.judge import RowRejection
from ..inference.loading import shipped_row_net
from ..inference.registry import ModelRegistry
from ..inference.rowreader import Row, RowReader
from ..inference.search import Reading, Readings, digit_probabilities, max_steps
from ..inference.weights import shipped_weights
from ..vision.box import Box
from ..vision.decode import Picture
from ..vision.grayscale import GrayImage
from ..vision.segment import SegmentedRow, segment
from .limits import Lease
from .predictor import (
    OnBatch,
    PredictRequest,
    RawImages,
    classify,
    declare,
    each_picture,
)

ROW_COST = 2**21
"""Cost of a row beside its picture and its search, in pixels: finding it, its candidates and the
networks take 5 to 10 ms, and some 30 where it is a scribble that is cut everywhere."""
STEP_COST = 2**7
"""Cost of a step of the search, in pixels: 1 to 2 µs. A row is charged for all it may take."""
MAX_ALTERNATIVES = 5
"""Readings beside the best that are told."""
LEAST_ALTERNATIVE = 1e-4
"""Least probability of a reading beside the best that is told."""


@dataclass(slots=True, eq=False)
class ReadRequest(PredictRequest):
    """The images of a request, and the grammar of the numbers in them."""

    grammar: Grammar = field(default_factory=Grammar)


class NumberDigit(NamedTuple):
    """A digit of a number."""

    label: int
    confidence: float
    probabilities: NDArray[np.float64]
    box: Box
    """Left, top, right, bottom in the picture's pixels."""
    normalized: GrayImage


class Number(NamedTuple):
    """The answer for one image; `rejected` says why it should not be used, if so."""

    text: str
    confidence: float
    digits: list[NumberDigit]
    alternatives: list[Reading]
    rejected: RowRejection | None
    row: SegmentedRow


class Numbers(NamedTuple):
    """The answers for a request's images, in order, and the classifier that gave them all."""

    classifier: Classifier
    items: list[Number]


def shipped_reader() -> RowReader:
    """What reads rows by the weights and the row net that ship."""
    return RowReader(shipped_weights(), shipped_row_net())


class Reader:
    """Reads the rows of requests with the live model; safe to call from several threads.

    Args:
        registry: Holds the live classifier.
        max_pixels: Pixels that an image may have.
        on_batch: Told the number of candidates of every model call, and the seconds of each step.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        *,
        max_pixels: int,
        on_batch: OnBatch = lambda images, seconds: None,
    ) -> None:
        self._registry = registry
        self._max_pixels = max_pixels
        self._on_batch = on_batch
        self._rows = shipped_reader()

    def prepare(self, images: RawImages, lease: Lease, grammar: Grammar) -> ReadRequest:
        """Read what the files declare, and charge by that; nothing is decoded.

        Raises:
            ImageError: a file is of no known format, damaged or too large; it names the index.
        """
        request = ReadRequest(images, [], normalize=True, lease=lease, grammar=grammar)
        declare(request, max_pixels=self._max_pixels)
        request.cost += (ROW_COST + STEP_COST * max_steps(grammar)) * len(images)
        return request

    def read(self, requests: Sequence[ReadRequest]) -> list[Numbers | Exception]:
        """The numbers of each request, or the exception that it fails with."""
        classifier = self._registry.live
        rows, failures, seconds = each_picture(requests, _segment)
        kept = [[] if request in failures else some for request, some in enumerate(rows)]
        crops = [digit for some in kept for row in some for digit in row.digits]
        scores = classify(classifier, np.array(crops), requests, seconds, self._on_batch)
        if scores is None:
            return [
                failures.get(request) or ModelError("The model failed.")
                for request in range(len(requests))
            ]
        outcomes: list[Numbers | Exception] = []
        start = 0
        for place, (request, some) in enumerate(zip(requests, kept, strict=True)):
            size = sum(len(row.digits) for row in some)
            part = scores[start : start + size]
            start += size
            outcomes.append(failures.get(place) or self._numbers(request, some, part, classifier))
        return outcomes

    def _numbers(
        self, request: ReadRequest, rows: list[SegmentedRow], scores: Scores, classifier: Classifier
    ) -> Numbers | Exception:
        items, start = [], 0
        try:
            for row in rows:
                request.lease.check()
                stop = start + len(row.digits)
                items.append(read_with_lines(row, scores[start:stop], request.grammar, self._rows))
                start = stop
        except DigitsError as error:
            return error
        return Numbers(classifier, items)


def _segment(request: ReadRequest, picture: Picture) -> SegmentedRow:
    return segment(picture.gray).scaled(picture.scale)


def read_with_lines(row: SegmentedRow, scores: Scores, grammar: Grammar, rows: RowReader) -> Number:
    """Read a row whose `digits` have these scores [n,11]: with its lines, if that is accepted."""
    own, lined = np.split(scores, [len(row.candidates.digits)])
    if row.with_lines is not None:
        number = read_row(row.with_lines, lined, grammar, rows)
        if number.rejected is None:  # the lines are strokes of it
            return number
    return read_row(row, own, grammar, rows)


def read_row(row: SegmentedRow, scores: Scores, grammar: Grammar, rows: RowReader) -> Number:
    """Read a row whose candidates have these scores [n,11]."""
    if row.box is None:
        return Number("", 0.0, [], [], RowRejection.BLANK, row)
    found = row.candidates
    evidence = Evidence(found.spans, found.digits, found.shapes, scores)
    judged = rows.read(Row(row.cuts, evidence, row.strip), grammar)
    if judged is None:
        return Number("", 0.0, [], [], RowRejection.NOT_A_NUMBER, row)
    best, *rest = judged.readings.best
    others = [
        reading for reading in rest[:MAX_ALTERNATIVES] if reading.probability >= LEAST_ALTERNATIVE
    ]
    rejected = judged.rejection(several_lines=row.several_lines, lacks_digit=row.lacks_digit)
    return Number(best.text, best.probability, _digits(judged.readings, row), others, rejected, row)


def _digits(readings: Readings, row: SegmentedRow) -> list[NumberDigit]:
    digits = []
    for place, (candidate, label) in enumerate(readings.best[0].digits):
        probabilities = digit_probabilities(readings, place)
        left, top, right, bottom = row.candidates.boxes[candidate]
        digits.append(
            NumberDigit(
                label,
                float(probabilities[label]),
                probabilities,
                (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))),
                row.candidates.digits[candidate],
            )
        )
    return digits
