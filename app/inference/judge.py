"""Judging: how sure a row's likeliest reading is, and whether the row is a number at all."""

from __future__ import annotations

import math
from enum import StrEnum
from itertools import compress
from typing import NamedTuple

import numpy as np

from .candidatenet import Evidence
from .classifier import Scores
from .combination import Rivals
from .figures import FREE, LEAST, Floats, is_dash, lean, log_odds, stands_out
from .grammar import Grammar, Mark
from .lattice import Lattice
from .search import Reading, Readings
from .weights import Judging

LEAST_ALLOWED = 0.005
"""Share of all readings that the grammar allows, at least, where its best is to be used: a number
of another form does not become one of this."""
LARGEST = 30.0
"""Largest logarithm of a weight that a row is judged by."""
NUMBER_FIGURES = 8
SLASH_LEAN = 0.1
"""Lean to the right of a slash, at least, in columns a row."""


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


def rival_figures(facts: Floats, rivals: Rivals, first: int) -> Floats:
    """What speaks for the likeliest of rivals, [16].

    Args:
        facts: Its `number_figures`.
        rivals: All of them.
        first: Its place among them.
    """
    share, said = rivals.figures[first, :2]
    shares, texts = rivals.figures[:, 0], rivals.texts
    alike = first == 0 and said >= texts.max()
    others = np.delete(texts, first)
    digits = facts[NUMBER_FIGURES - 1]
    return np.concatenate(
        (
            facts,
            (
                share,
                shares.max() - share,
                said,
                said / digits,
                texts.max() - said,
                said - others.max(initial=-LARGEST),
                rivals.nothing - said,
                float(alike),
            ),
        )
    )


class Judged(NamedTuple):
    """A row's readings, their probabilities calibrated, and how far it looks like a number.

    Attributes:
        readings: The first may be right with its probability; the others have shares of the rest.
        number_score: How much the row looks like a number at all, in 0–1.
        judging: What it was judged by.
        facts: The figures of its likeliest reading.
        lacks_mark: That reading lacks a mark without which the number is another.
    """

    readings: Readings
    number_score: float
    judging: Judging
    facts: Floats
    lacks_mark: bool = False

    def rejection(self, *, several_lines: bool, lacks_digit: bool = False) -> RowRejection | None:
        """The reason to reject the likeliest reading, or None to accept it.

        Args:
            several_lines: Two rows are in the picture.
            lacks_digit: A digit of the row may have been left out.
        """
        if self.number_score < self.judging.number_score:
            return RowRejection.NOT_A_NUMBER
        if several_lines:
            return RowRejection.SEVERAL_LINES
        best, allowed = self.readings.best[0], self.readings.allowed
        unlike = best.probability < self.judging.confidence or allowed < LEAST_ALLOWED
        return RowRejection.UNCERTAIN if unlike or self.lacks_mark or lacks_digit else None


def judge(readings: Readings, facts: Floats, judging: Judging) -> Judged:
    """Calibrate the readings of a row, of which there is one at least, by the first's figures."""
    first, *others = readings.best
    right = logistic(float(facts @ judging.right))
    share = (1 - right) / max(1 - first.probability, LEAST)
    calibrated = [first._replace(probability=right)]
    calibrated += [
        Reading(one.text, min(right, one.probability * share), one.digits) for one in others
    ]
    number_score = logistic(float(facts @ judging.number))
    return Judged(readings._replace(best=calibrated), number_score, judging, facts)


def lacks_minus(reading: Reading, evidence: Evidence, grammar: Grammar) -> bool:
    """Whether what has a minus' shape and place is left out, or taken for the first digit's ink.

    Where the grammar has a minus or a dash, the search has weighed it.
    """
    if Mark.DASH in grammar.marks:
        return False
    spans, shapes = evidence.spans, evidence.shapes
    before = spans[:, 1] < spans[reading.digits[0].candidate, 1]
    apart = (shapes[:, 3:5] <= FREE).all(axis=1)
    return bool((before & apart & is_dash(spans, shapes)).any())


def has_slash(reading: Reading, evidence: Evidence) -> bool:
    """Whether a reading takes for a 1 what leans between digits and stands out of their row.

    Of 1s between digits one in a hundred does, by `training.corpora.rows`.
    """
    ones = [digit.candidate for digit in reading.digits[1:-1] if digit.label == 1]
    tall = stands_out(evidence.shapes[ones])
    return any(lean(evidence.digits[one]) > SLASH_LEAN for one in compress(ones, tall))


def logistic(logit: float) -> float:
    """1 / (1 + exp(−logit))."""
    return 1 / (1 + math.exp(-max(-LARGEST, min(LARGEST, logit))))
