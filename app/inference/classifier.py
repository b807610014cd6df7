from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

Compute = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Rejection(StrEnum):
    BLANK = "blank"
    NOT_A_DIGIT = "not_a_digit"
    SEVERAL_DIGITS = "several_digits"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below `digit_score` an image is no digit, below `confidence` its label is uncertain."""

    digit_score: float
    confidence: float

    def rejection(self, confidence: float, digit_score: float) -> Rejection | None:
        if digit_score < self.digit_score:
            return Rejection.NOT_A_DIGIT
        return Rejection.UNCERTAIN if confidence < self.confidence else None


@dataclass(frozen=True, eq=False, slots=True)
class Classifier:
    """One version of the model, ready to answer."""

    name: str
    version: str
    card: Mapping[str, Any]
    thresholds: Thresholds
    compute: Compute
    lone_seconds: float = math.inf
    """What an image takes that goes alone; without end where batches are what makes it cheap."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Ten probabilities and the digit score of each image.

        `images`: [n,28,28], white ink on black. Returns [n,11]. Safe to call from many threads.
        Raises ModelError where a figure is not finite.
        """
        rows = self.compute(images)
        if not np.isfinite(rows).all():
            raise ModelError(f"Version {self.version} answered with a figure that is not finite.")
        return rows
