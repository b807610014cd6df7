"""The classifier: images in, scores out, and the rule by which a prediction is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
