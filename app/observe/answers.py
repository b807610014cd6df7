"""Answers, as far as they are observed: predictions of a digit, and numbers that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, SupportsFloat

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""A digit as the model saw it, [28,28], white ink on black."""


class Answer(NamedTuple):
    """What is looked at, for an image."""

    labels: Sequence[int]
    """Of the digits that were read; none where nothing was."""
    confidence: float
    rejected: str | None
    """The reason not to use the answer, if any."""
    digits: Sequence[Picture]
    """Each of the digits."""


class Digit(Protocol):
    """A normalized image."""

    @property
    def digit(self) -> Picture:
        """The picture."""


class ObservedPrediction(Protocol):
    """A prediction, as far as it is looked at."""

    @property
    def label(self) -> int | None:
        """The digit; None for a blank image."""

    @property
    def confidence(self) -> SupportsFloat:
        """The digit's probability."""

    @property
    def rejected(self) -> str | None:
        """The reason not to use the answer, if any."""

    @property
    def normalized(self) -> Digit:
        """The image as the model saw it."""


class ObservedPredictions(Protocol):
    """The predictions of a request: as columns, and one after the other."""

    @property
    def labels(self) -> Sequence[int | None]:
        """The digits; None for a blank image."""

    @property
    def confidences(self) -> NDArray[np.float32]:
        """The digits' probabilities, [n]."""

    @property
    def rejected(self) -> Sequence[str | None]:
        """The reasons not to use the answers, if any."""

    def __iter__(self) -> Iterator[ObservedPrediction]:
        """Each of them."""


class ObservedDigit(Protocol):
    """A digit of a number, as far as it is looked at."""

    @property
    def label(self) -> int:
        """The digit."""

    @property
    def normalized(self) -> Picture:
        """The picture that it was read from."""


class ObservedNumber(Protocol):
    """A number, as far as it is looked at."""

    @property
    def confidence(self) -> float:
        """The probability that all of it is right."""

    @property
    def rejected(self) -> str | None:
        """The reason not to use the answer, if any."""

    @property
    def digits(self) -> Sequence[ObservedDigit]:
        """Its digits; none where nothing was read."""


def of_prediction(prediction: ObservedPrediction) -> Answer:
    """What is looked at of a prediction."""
    if prediction.label is None:
        return Answer((), 0.0, prediction.rejected, ())
    confidence = float(prediction.confidence)
    seen = prediction.normalized.digit
    return Answer((prediction.label,), confidence, prediction.rejected, (seen,))


def of_number(number: ObservedNumber) -> Answer:
    """What is looked at of a number, without what else was cut out of its row."""
    labels = [digit.label for digit in number.digits]
    digits = [digit.normalized.copy() for digit in number.digits]
    return Answer(labels, number.confidence, number.rejected, digits)
