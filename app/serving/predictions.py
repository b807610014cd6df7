"""Predictions as columns: what a batch's scores say of its images, and of their parts.

A batch is judged at once. A row becomes an object where it is looked at by itself, in JSON of one
answer after the other, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..inference.classifier import Classifier, Images, Rejection, Scores, Thresholds, are_several
from ..vision.batch import Batch, NormalizedImages
from ..vision.box import Box
from ..vision.digit import SIDE
from ..vision.normalize import FILLED, Normalized

BLANK_SCORES = np.array([0.1] * 10 + [0.0], np.float32)
"""Scores of a blank image, which the model is not asked about: any digit is as likely."""


class Prediction(NamedTuple):
    """The answer for one image; `rejected` says why it should not be used, if so.

    `boxes` are those of several digits, in the picture's pixels.
    """

    label: int | None
    confidence: np.float32
    probabilities: NDArray[np.float32]
    rejected: Rejection | None
    normalized: Normalized
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Predictions(Sequence[Prediction]):
    """The answers for a request's images, in order, and the classifier that gave them all.

    Attributes:
        classifier: The version.
        labels: The most probable digit of each image; None for a blank one.
        confidences: The digit's probability, [n].
        probabilities: Of the ten digits, [n,10].
        rejected: Why an answer should not be used, if so.
        normalized: Each image as the model saw it.
        boxes: Those of several digits.
    """

    classifier: Classifier
    labels: list[int | None]
    confidences: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    rejected: list[Rejection | None]
    normalized: Sequence[Normalized]
    boxes: list[tuple[Box, ...]]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...

    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        """The answer for an image, or for some."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return Prediction(
            self.labels[index],
            self.confidences[index],
            self.probabilities[index],
            self.rejected[index],
            self.normalized[index],
            self.boxes[index],
        )


def digits_of(requests: Sequence[Batch]) -> Images:
    """What the model is asked about, [n,28,28]: the digits of all images, then their parts."""
    digits = [batch.digits for batch in requests]
    digits += [batch.parts for batch in requests if isinstance(batch, NormalizedImages)]
    arrays = [np.asarray(some) for some in digits if len(some)]
    if len(arrays) == 1:  # often, and nothing is copied
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty((0, SIDE, SIDE), np.uint8)


def judged(
    classifier: Classifier, requests: Sequence[Batch], scores: Scores
) -> Iterator[Predictions]:
    """The predictions of each request; `scores` [n,11] are those of `digits_of`."""
    blank = [each for batch in requests for each in batch.blank]
    with_ink = len(blank) - sum(blank)
    parts = iter(scores[with_ink:].tolist())
    scores = _with_blanks(scores[:with_ink], blank)
    thresholds, probabilities = classifier.thresholds, scores[:, :10]
    confidences = np.maximum.reduce(probabilities, axis=1)  # `max` goes through Python
    labels = probabilities.argmax(axis=1).tolist()
    pairs = zip(confidences.tolist(), scores[:, 10].tolist(), strict=True)
    rejected = [thresholds.rejection(*pair) for pair in pairs]
    for index in compress(range(len(blank)), blank):
        labels[index], rejected[index] = None, Rejection.BLANK
    start = 0
    for batch in requests:
        some = slice(start, start := start + len(batch))
        predictions = Predictions(
            classifier,
            labels[some],
            confidences[some],
            probabilities[some],
            rejected[some],
            batch,
            [()] * len(batch),
        )
        if isinstance(batch, NormalizedImages):
            for index in batch.in_parts:
                batch[index] = _judge_parts(predictions, index, batch[index], parts)
        yield predictions


def _with_blanks(scores: Scores, blank: Sequence[bool]) -> Scores:
    """The scores of all images, by those of the images with ink."""
    if len(scores) == len(blank):
        return scores
    whole = np.tile(BLANK_SCORES, (len(blank), 1))
    whole[~np.array(blank)] = scores
    return whole


def _judge_parts(
    predictions: Predictions, index: int, image: Normalized, scores: Iterator[list[float]]
) -> Normalized:
    """Judge an image by its parts, too, whose scores are the next; return it as it was read."""
    thresholds = predictions.classifier.thresholds
    if image.with_lines is not None:
        *levels, digit_score = next(scores)
        confidence = max(levels)
        if thresholds.rejection(confidence, digit_score) is None:  # the lines are strokes of it
            image = image.with_strokes(image.with_lines)
            predictions.labels[index] = levels.index(confidence)
            predictions.confidences[index] = confidence
            predictions.probabilities[index] = levels
            predictions.rejected[index] = None
    if FILLED in image.warnings:
        predictions.rejected[index] = Rejection.NOT_A_DIGIT
    if image.apart:
        accepted = predictions.rejected[index] is None
        boxes = _boxes_of_several(image, scores, thresholds, accepted=accepted)
        if boxes:
            predictions.boxes[index] = boxes
            predictions.rejected[index] = Rejection.SEVERAL_DIGITS
    return image


def _boxes_of_several(
    image: Normalized, scores: Iterator[list[float]], thresholds: Thresholds, *, accepted: bool
) -> tuple[Box, ...]:
    """The boxes of the digits, where there are several."""
    digits = []
    for part in image.apart:
        *levels, digit_score = next(scores)
        contested = accepted and part.inside
        if thresholds.is_digit_apart(max(levels), digit_score, contested=contested):
            digits.append(part)
    if not are_several([part.inside for part in digits], accepted=accepted):
        return ()
    boxes = [part.box for part in digits]
    if not any(part.inside for part in digits) and image.box is not None:
        boxes.append(image.box)  # two strokes that are a digit together
    return tuple(sorted(boxes))
