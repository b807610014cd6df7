"""The classifier: images in, scores out, and the rule by which a prediction is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

Images = NDArray[np.uint8]
"""[n,28,28], white ink on black."""
Scores = NDArray[np.float32]
"""[n,11]: of each image the ten probabilities, then the digit score; all in 0–1."""
Compute = Callable[[Images], Scores]


class Rejection(StrEnum):
    """The reason why a prediction should not be used."""

    BLANK = "blank"
    NOT_A_DIGIT = "not_a_digit"
    SEVERAL_DIGITS = "several_digits"
    UNCERTAIN = "uncertain"


APART_DIGIT_SCORE, APART_CONFIDENCE = 0.7, 0.7
"""Least scores of ink that is taken for a digit beside another: lower than an accepted digit's, for
to answer with one of two digits is worse than to ask for one at a time."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least scores of an accepted prediction, each in 0–1."""

    digit_score: float
    confidence: float

    def rejection(self, confidence: float, digit_score: float) -> Rejection | None:
        """Return the reason to reject a prediction with these scores, or None to accept it.

        Args:
            confidence: The probability of the most probable digit.
            digit_score: How much the image looks like a digit at all.
        """
        if digit_score < self.digit_score:
            return Rejection.NOT_A_DIGIT
        return Rejection.UNCERTAIN if confidence < self.confidence else None

    def is_digit_apart(self, confidence: float, digit_score: float, *, contested: bool) -> bool:
        """Tell whether a part of the ink with these scores is a digit by itself.

        Args:
            confidence: The probability of the most probable digit.
            digit_score: How much the part looks like a digit at all.
            contested: It is also a part of an accepted digit.
        """
        if contested:
            return self.rejection(confidence, digit_score) is None
        return digit_score >= APART_DIGIT_SCORE and confidence >= APART_CONFIDENCE


def are_several(inside: Sequence[bool], *, accepted: bool) -> bool:
    """Tell whether the ink of a picture is several digits.

    The two strokes of a 4 or 5 that don't touch are not two digits.

    Args:
        inside: Of each part that is a digit by itself, whether it is of the ink that was chosen.
        accepted: That ink is accepted as one digit.
    """
    chosen = sum(inside)
    return len(inside) - chosen + max(chosen, int(accepted)) > 1


@dataclass(frozen=True, eq=False, slots=True)
class Classifier:
    """One version of the model, ready to classify."""

    name: str
    version: str
    card: Mapping[str, Any]
    thresholds: Thresholds
    compute: Compute

    def __call__(self, images: Images) -> Scores:
        """Classify `images` [n,28,28]; return their scores [n,11]. Safe to call from many threads.

        Raises:
            ModelError: A score is not finite.
        """
        scores = self.compute(images)
        if not np.isfinite(scores).all():
            raise ModelError(f"Version {self.version} answered with a figure that is not finite.")
        return scores
