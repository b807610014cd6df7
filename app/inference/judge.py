"""Judging: how sure a row's likeliest reading is, and whether the row is a number at all."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from .classifier import Scores
from .figures import LEAST, Floats, log_odds
from .lattice import Lattice
from .search import Readings
from .weights import Weights

LEAST_ALLOWED = 0.005
"""Share of all readings that the grammar allows, at least, where its best is to be used: a number
of another form does not become one of this."""
LARGEST = 30.0
"""Largest logarithm of a weight that a row is judged by."""
NUMBER_FIGURES = 8


class RowRejection(StrEnum):
    """The reason why a number should not be used."""

    BLANK = "blank"
    NOT_A_NUMBER = "not_a_number"
    SEVERAL_LINES = "several_lines"
    UNCERTAIN = "uncertain"


def number_figures(readings: Readings, lattice: Lattice, scores: Scores) -> Floats:
    """What speaks for a row's likeliest reading, and for its being a number at all, [8]."""
    best = readings.best[0]
    chosen = [digit.candidate for digit in best.digits]
    labels = [digit.label for digit in best.digits]
    digit_scores = log_odds(scores[chosen, 10])
    likely = log_odds(scores[chosen, labels])
    weights = np.maximum(lattice.labels[chosen, labels], -LARGEST)
    return np.array(
        (
            1.0,
            digit_scores.min(),
            digit_scores.mean(),
            likely.min(),
            likely.mean(),
            weights.min(),
            float(log_odds(np.array([best.probability]))[0]),
            len(best.digits),
        )
    )


class Judged(NamedTuple):
    """A row's readings, their probabilities calibrated, and how far it looks like a number.

    Attributes:
        readings: The first may be right with its probability; the others have shares of the rest.
        number_score: How much the row looks like a number at all, in 0–1.
    """

    readings: Readings
    number_score: float


def judge(readings: Readings, lattice: Lattice, scores: Scores, weights: Weights) -> Judged:
    """Calibrate the readings of a row, of which there is one at least."""
    facts = number_figures(readings, lattice, scores)
    first, *others = readings.best
    right = logistic(float(facts @ weights.right))
    share = (1 - right) / max(1 - first.probability, LEAST)
    calibrated = [first._replace(probability=right)]
    calibrated += [one._replace(probability=min(right, one.probability * share)) for one in others]
    return Judged(Readings(calibrated, readings.allowed), logistic(float(facts @ weights.number)))


def logistic(logit: float) -> float:
    """1 / (1 + exp(−logit))."""
    return 1 / (1 + math.exp(-max(-LARGEST, min(LARGEST, logit))))


def rejection(judged: Judged, weights: Weights, *, several_lines: bool) -> RowRejection | None:
    """The reason to reject a row's likeliest reading, or None to accept it."""
    if judged.number_score < weights.number_score:
        return RowRejection.NOT_A_NUMBER
    if several_lines:
        return RowRejection.SEVERAL_LINES
    readings = judged.readings
    unlike = readings.best[0].probability < weights.confidence or readings.allowed < LEAST_ALLOWED
    return RowRejection.UNCERTAIN if unlike else None
