"""Results: a prediction, the model that gave it, and the outcome for each of many images."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import DigitsError, UnexpectedAnswer

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answered."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model saw of an image.

    Attributes:
        image: A PNG file, 28×28, white ink on black.
        inverted: Whether the ink was dark on a light ground.
        box: Left, top, right and bottom of the ink in the upright image's pixels.
        warnings: What may be wrong with the image.
        boxes: The same of each digit, where it was rejected as `several_digits`.
    """

    image: bytes
    inverted: bool
    box: Box | None
    warnings: tuple[str, ...]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an image shows.

    Attributes:
        label: The most probable digit; None for a blank.
        confidence: The label's probability.
        probabilities: Ten, by digit.
        rejected: None, or why the prediction should not be used: `blank`, `not_a_digit`,
            `several_digits`, …
        model: The model that answered.
        seen: What the model saw, where that was asked for.
    """

    label: int | None
    confidence: float
    probabilities: tuple[float, ...]
    rejected: str | None
    model: Model
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class NumberDigit:
    """A digit of a number.

    Attributes:
        label: Which it is.
        confidence: The label's probability.
        probabilities: Ten, by digit.
        box: Left, top, right and bottom in the upright image's pixels.
    """

    label: int
    confidence: float
    probabilities: tuple[float, ...]
    box: Box


@dataclass(frozen=True, slots=True)
class Alternative:
    """What a number may be instead."""

    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class SeenRow:
    """What the model saw of a row.

    Attributes:
        image: A PNG file: the digits side by side, 28×28 each; None where there is none.
        inverted: Whether the ink was dark on a light ground.
        box: Left, top, right and bottom of the row in the upright image's pixels.
    """

    image: bytes | None
    inverted: bool
    box: Box | None


@dataclass(frozen=True, slots=True)
class Number:
    """The number that an image shows.

    Attributes:
        text: Its digits, and the signs of the pattern; empty for a blank.
        confidence: The probability that all of the text is right.
        digits: Each with its own probability and place.
        alternatives: What it may be instead, likeliest first.
        rejected: None, or why the number should not be used: `blank`, `not_a_number`, …
        model: The model that answered.
        seen: What the model saw, where that was asked for.
    """

    text: str
    confidence: float
    digits: tuple[NumberDigit, ...]
    alternatives: tuple[Alternative, ...]
    rejected: str | None
    model: Model
    seen: SeenRow | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image of many: a prediction, or the error that it cost.

    Attributes:
        source: The image as it was given.
        prediction: None where there is an error.
        error: None where there is a prediction.
    """

    source: Any
    prediction: Prediction | None = None
    error: DigitsError | None = None


def parse_predictions(answer: Any, count: int) -> list[Prediction]:
    """Read the document that answers a request of `count` images.

    Raises:
        UnexpectedAnswer: It is another document.
    """
    try:
        model = Model(str(answer["model"]["name"]), str(answer["model"]["version"]))
        predictions = [_prediction(each, model) for each in answer["predictions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer("The answer is no list of predictions. Is this Digits?") from error
    if len(predictions) != count:
        raise UnexpectedAnswer(f"{count} images have {len(predictions)} predictions.")
    return predictions


def parse_numbers(answer: Any, count: int) -> list[Number]:
    """Read the document that answers a request to read `count` images.

    Raises:
        UnexpectedAnswer: It is another document.
    """
    try:
        model = Model(str(answer["model"]["name"]), str(answer["model"]["version"]))
        numbers = [_number(each, model) for each in answer["numbers"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer("The answer is no list of numbers. Is this Digits?") from error
    if len(numbers) != count:
        raise UnexpectedAnswer(f"{count} images have {len(numbers)} numbers.")
    return numbers


def _number(document: Any, model: Model) -> Number:
    seen = document.get("seen")
    return Number(
        text=str(document["text"]),
        confidence=float(document["confidence"]),
        digits=tuple(map(_digit, document["digits"])),
        alternatives=tuple(
            Alternative(str(each["text"]), float(each["confidence"]))
            for each in document["alternatives"]
        ),
        rejected=document["rejected"],
        model=model,
        seen=None if seen is None else _seen_row(seen),
    )


def _digit(document: Any) -> NumberDigit:
    return NumberDigit(
        label=int(document["label"]),
        confidence=float(document["confidence"]),
        probabilities=_floats(document["probabilities"]),
        box=_box(document["box"]),
    )


def _seen_row(document: Any) -> SeenRow:
    image, box = document["image"], document["box"]
    return SeenRow(
        image=None if image is None else base64.b64decode(image.partition(",")[2]),
        inverted=bool(document["inverted"]),
        box=None if box is None else _box(box),
    )


def _box(edges: Any) -> Box:
    left, top, right, bottom = map(int, edges)
    return left, top, right, bottom


def _prediction(document: Any, model: Model) -> Prediction:
    seen = document.get("seen")
    return Prediction(
        label=document["label"],
        confidence=float(document["confidence"]),
        probabilities=_floats(document["probabilities"]),
        rejected=document["rejected"],
        model=model,
        seen=None if seen is None else _seen(seen),
    )


def _seen(document: Any) -> Seen:
    box = document["box"]
    return Seen(
        image=base64.b64decode(document["image"].partition(",")[2]),
        inverted=bool(document["inverted"]),
        box=None if box is None else _box(box),
        warnings=tuple(document["warnings"]),
        boxes=tuple((one[0], one[1], one[2], one[3]) for one in document.get("boxes", ())),
    )


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(map(float, values))
