"""The lattice: which of a row's candidates are its digits, and how sure that is.

A row is divided by cuts; a candidate is the ink between two of them. A reading is a way from the
first cut to the last over candidates that follow each other, with a digit for each. Its weight is
the product of theirs, and its probability its share of the weights of all readings: a conditional
random field over segmentations (Sarawagi and Cohen 2004), whose weights `training.numbers` fits, so
that the probabilities are calibrated for whole numbers. What a text's probability is made of may
be several ways, which divide its ink differently.

A grammar says which digits may follow which. It steers the search: a reading that it does not allow
takes no place among those that it does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .classifier import Scores
from .grammar import Grammar, Mark, State

Floats = NDArray[np.float64]
Spans = NDArray[np.intp]

WEIGHTS_FILE = Path(__file__).with_name("lattice.json")
LEAST = 1e-9
"""Least score whose logarithm is taken."""
SMALL = 0.45
"""Height and width, in heights of the row's digits, of a part that may be left out."""
FREE = 0.04
"""Ink that the cuts beside a whole piece of ink cross, at most, in heights of the row's digits."""
FLAT = 0.25
"""Height of one that may be wider, as a rule's rest is."""
LEAST_ALLOWED = 0.005
"""Share of all readings that the grammar allows, at least, where its best is to be used: a number
of another form does not become one of this."""
LARGEST = 30.0
"""Largest logarithm of a weight that a row is judged by."""
NUMBER_FIGURES = 8
UNLIKELY, UNLIKELY_BUT_ASKED_FOR = 9.0, 25.0
"""What a candidate may be is not tried where the best reading with it is less likely than the best
of all by more than exp(this); the second where a grammar may rule the best out."""
BEAM, MAX_BEAM = 24, 160
"""Texts that are followed from a cut; and at most, with the weightiest of each of the grammar's
states."""
MARK, SLASH_COST, SIGN_COST = 4.0, 1.0, 4.0
"""What a mark's shape counts where the grammar has it, in logarithms of weights. They are set, not
fitted: a pattern leaves little else that a mark could be."""


class RowRejection(StrEnum):
    """The reason why a number should not be used."""

    BLANK = "blank"
    NOT_A_NUMBER = "not_a_number"
    SEVERAL_LINES = "several_lines"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned of the figures of a candidate.

    Attributes:
        probability: Of the logarithm of a digit's probability.
        digit: Of the figures in `figures`, for a candidate that is a digit.
        one: Of 1, width and height, where that digit is a 1.
        noise: Of the figures in `noise_figures`, for a part that is left out.
        number: Of the figures in `number_figures`: whether the row is a number at all.
        right: Of the same: whether its likeliest reading is right.
        number_score: Least number score of an accepted reading.
        confidence: Least probability of it.
    """

    probability: float
    digit: Floats
    one: Floats
    noise: Floats
    number: Floats
    right: Floats
    number_score: float
    confidence: float

    def rejection(self, judged: Judged, *, several_lines: bool) -> RowRejection | None:
        """Return the reason to reject the likeliest reading, or None to accept it."""
        readings = judged.readings
        if judged.number_score < self.number_score:
            return RowRejection.NOT_A_NUMBER
        if several_lines:
            return RowRejection.SEVERAL_LINES
        unlike = readings.best[0].probability < self.confidence or readings.allowed < LEAST_ALLOWED
        return RowRejection.UNCERTAIN if unlike else None


@lru_cache(maxsize=1)
def shipped_weights() -> Weights:
    """The weights that `training.numbers` wrote."""
    return weights_of(json.loads(WEIGHTS_FILE.read_text("utf-8")))


def weights_of(content: Mapping[str, Any]) -> Weights:
    """The weights in the content of a file that `training.numbers` wrote."""
    return Weights(
        probability=content["probability"],
        digit=np.array(content["digit"]),
        one=np.array(content["one"]),
        noise=np.array(content["noise"]),
        number=np.array(content["number"]),
        right=np.array(content["right"]),
        number_score=content["thresholds"]["number_score"],
        confidence=content["thresholds"]["confidence"],
    )


def log_odds(scores: NDArray[np.float32]) -> Floats:
    """log(p / (1 − p)) of scores, within ±9."""
    p = scores.astype(np.float64).clip(LEAST, 1 - LEAST)
    return np.asarray(np.log(p / (1 - p)).clip(-9, 9))


def figures(spans: Spans, shapes: NDArray[np.float32], scores: Scores) -> Floats:
    """What speaks for a candidate being a digit, [n,25].

    Args:
        spans: The cuts before and after each, [n,2].
        shapes: [n,8], as `vision.segment.SHAPE` has them.
        scores: [n,11], the classifier's.
    """
    width, height, middle, left, right, inside, gap, mass = np.asarray(shapes, np.float64).T
    digit_score = log_odds(scores[:, 10])
    best = log_odds(scores[:, :10].max(axis=1))
    whole = whole_piece(spans, shapes)
    apart = np.asarray(whole == np.arange(len(whole)), np.float64)
    is_part = np.asarray((whole >= 0) & (apart == 0), np.float64)
    weight = np.log(np.maximum(mass, 0.02))
    crossed = left + right
    return np.stack(
        (
            np.ones(len(width)),
            digit_score,
            np.maximum(digit_score - 3, 0.0),
            np.maximum(digit_score - 5, 0.0),
            best,
            np.maximum(best - 4, 0.0),
            width,
            width**2,
            height,
            height**2,
            np.abs(middle),
            middle**2,
            crossed,
            np.minimum(crossed, 0.1),
            np.maximum(left, right),
            np.exp(-12 * inside),
            np.exp(-40 * inside),
            np.maximum(gap, -0.5),
            np.maximum(gap, 0.0),
            weight,
            weight**2,
            apart,
            apart * digit_score,
            is_part * np.maximum(digit_score[whole], 0.0),
            is_part * np.maximum(best[whole], 0.0),
        ),
        axis=1,
    )


def whole_piece(spans: Spans, shapes: NDArray[np.float32]) -> NDArray[np.intp]:
    """For each candidate, that which is the whole piece of ink it lies in, [n].

    It is −1 where the piece is too wide for a candidate, or the candidate is of several pieces.
    """
    free = {0, int(spans[:, 1].max())} | set(spans[shapes[:, 3] <= FREE, 0].tolist())
    bounds = np.array(sorted(free))
    pieces = {span: index for index, span in enumerate(map(tuple, spans.tolist()))}
    before = bounds[np.searchsorted(bounds, spans[:, 0], side="right") - 1]
    after = bounds[np.searchsorted(bounds, spans[:, 0], side="right").clip(max=len(bounds) - 1)]
    return np.array(
        [
            pieces.get((start, stop), -1) if end <= stop else -1
            for start, stop, end in zip(
                before.tolist(), after.tolist(), spans[:, 1].tolist(), strict=True
            )
        ],
        np.intp,
    )


def noise_figures(shapes: NDArray[np.float32], scores: Scores) -> Floats:
    """What speaks for a part being no digit and to be left out, [n,6]."""
    width, height, middle, left, right, _, _, mass = np.asarray(shapes, np.float64).T
    return np.stack(
        (
            np.ones(len(width)),
            np.maximum(width, height),
            np.log(np.maximum(mass, 0.002)),
            left + right,
            np.abs(middle),
            log_odds(scores[:, 10]),
        ),
        axis=1,
    )


def may_be_noise(spans: Spans, shapes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a candidate [n] is one part alone, and small or flat enough to be left out."""
    single = spans[:, 1] - spans[:, 0] == 1
    width, height = shapes[:, 0], shapes[:, 1]
    small = (height < SMALL) & ((width < SMALL) | (height < FLAT))
    return np.asarray(single & small)


def one_figures(shapes: NDArray[np.float32]) -> Floats:
    """What speaks for a 1 in particular, [n,3]."""
    width, height = np.asarray(shapes[:, :2], np.float64).T
    return np.stack((np.ones(len(width)), width, height), axis=1)


def label_weights(
    spans: Spans, shapes: NDArray[np.float32], scores: Scores, weights: Weights
) -> Floats:
    """The logarithm of the weight of each digit for each candidate, [n,10]."""
    logs = weights.probability * np.log(np.maximum(scores[:, :10].astype(np.float64), LEAST))
    logs += (figures(spans, shapes, scores) @ weights.digit)[:, None]
    logs[:, 1] += one_figures(shapes) @ weights.one
    return logs


class ReadDigit(NamedTuple):
    """A digit of a reading: the candidate that it was read from, and which it is."""

    candidate: int
    label: int


class Reading(NamedTuple):
    """What a row may say."""

    text: str
    probability: float
    """Of the whole text, among all texts that the grammar allows."""
    digits: tuple[ReadDigit, ...]
    """Of the likeliest way to divide its ink."""


class Readings(NamedTuple):
    """What a row says.

    Attributes:
        best: The readings, likeliest first; none where the grammar allows none.
        allowed: Share of all readings, whatever the grammar, that it allows.
    """

    best: list[Reading]
    allowed: float


class Lattice(NamedTuple):
    """A row's candidates and the logarithms of their weights.

    Attributes:
        cuts: Number of cuts.
        spans: The cuts before and after each candidate, [n,2].
        labels: Of each digit, [n,10].
        noise: Of leaving it out, [n]; minus infinity where it may not be.
        marks: Of each mark that it may be, for grammars that have marks.
    """

    cuts: int
    spans: Spans
    labels: Floats
    noise: Floats
    marks: dict[Mark, Floats]


def lattice_of(
    cuts: int, spans: Spans, shapes: NDArray[np.float32], scores: Scores, weights: Weights
) -> Lattice:
    """Weigh a row's candidates.

    Args:
        cuts: Number of cuts.
        spans: The cuts before and after each candidate, [n,2].
        shapes: [n,8], as `vision.segment.SHAPE` has them.
        scores: [n,11], the classifier's.
        weights: What was learned.
    """
    labels = label_weights(spans, shapes, scores, weights)
    left_out = noise_figures(shapes, scores) @ weights.noise
    noise = np.where(may_be_noise(spans, shapes), left_out, -np.inf)
    return Lattice(cuts, spans, labels, noise, mark_weights(spans, shapes, labels, left_out))


def mark_weights(
    spans: Spans, shapes: NDArray[np.float32], labels: Floats, left_out: Floats
) -> dict[Mark, Floats]:
    """The logarithm of the weight of each mark for each candidate, by its shape alone.

    Where a grammar has a mark, a part of its shape is that mark rather than a digit or dust.
    """
    width, height, middle = np.asarray(shapes[:, :3], np.float64).T
    single = spans[:, 1] - spans[:, 0] == 1
    small = single & (width < SMALL) & (height < SMALL)
    flat = single & (height < SMALL) & (width > 0.15) & (width > 1.2 * height)
    tall = (height > 0.7) & (width < 0.9)
    digit = labels.max(axis=1)
    shape = {
        Mark.POINT: (small, left_out + MARK),
        Mark.DASH: (flat & (np.abs(middle) < 0.3), left_out + MARK),
        Mark.SLASH: (tall, np.maximum(digit, np.median(digit)) - SLASH_COST),
        Mark.SIGN: (height > SMALL, np.full(len(width), np.median(digit) - SIGN_COST)),
    }
    return {mark: np.where(holds, weight, -np.inf) for mark, (holds, weight) in shape.items()}


def digit_probabilities(readings: Readings, place: int) -> Floats:
    """The probability of each digit [10] at a place of the best reading, if that is as long."""
    length = len(readings.best[0].digits)
    shares = np.zeros(10)
    for reading in readings.best:
        if len(reading.digits) == length:
            shares[reading.digits[place].label] += reading.probability
    return np.asarray(shares / shares.sum())


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


class Hypothesis(NamedTuple):
    """The text up to a cut."""

    text: str
    state: State
    weight: float
    """Logarithm of the sum over all ways to it."""
    best: float
    """The same of the likeliest way."""
    digits: tuple[ReadDigit, ...]

    def longer(self, written: str, state: State, weight: float, *digits: ReadDigit) -> Hypothesis:
        """The text with what a candidate adds to it."""
        return Hypothesis(
            self.text + written,
            state,
            self.weight + weight,
            self.best + weight,
            self.digits + digits,
        )


def total_weight(lattice: Lattice) -> float:
    """The logarithm of the sum of the weights of all readings that are digits alone."""
    reached = [-np.inf] * lattice.cuts
    reached[0] = 0.0
    both = np.logaddexp(np.logaddexp.reduce(lattice.labels, axis=1), lattice.noise)
    for (start, stop), weight in zip(lattice.spans.tolist(), both.tolist(), strict=True):
        reached[stop] = _log_sum(reached[stop], reached[start] + weight)
    return reached[-1]


def _log_sum(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


def search(lattice: Lattice, grammar: Grammar) -> Readings:
    """The likeliest readings of a row; `spans` are in the order of their first cuts."""
    at: list[dict[tuple[str, State], Hypothesis]] = [{} for _ in range(lattice.cuts)]
    at[0]["", grammar.start] = Hypothesis("", grammar.start, 0.0, 0.0, ())
    leaving = _leaving(lattice, grammar)
    for cut in range(lattice.cuts - 1):
        followed = _followed(at[cut])
        for steps in leaving[cut]:
            for one in followed:
                _follow(at[steps.stop], one, steps, grammar)
        at[cut] = {}
    return _finished(at[-1].values(), grammar, total_weight(lattice))


class Steps(NamedTuple):
    """What a candidate may be: the cut behind it, digits, dust and marks with their weights."""

    candidate: int
    stop: int
    labels: list[tuple[int, float]]
    noise: float
    marks: list[tuple[Mark, float]]


def _leaving(lattice: Lattice, grammar: Grammar) -> list[list[Steps]]:
    """What the candidates that begin at each cut may be, as far as that has a chance."""
    leaving: list[list[Steps]] = [[] for _ in range(lattice.cuts)]
    least = _least_weights(lattice, UNLIKELY if grammar.is_free else UNLIKELY_BUT_ASKED_FOR)
    likely = lattice.labels >= least[:, None]
    noise = np.where(lattice.noise >= least, lattice.noise, -np.inf).tolist()
    marks = grammar.marks
    for index, (start, stop) in enumerate(lattice.spans.tolist()):
        labels = [
            (int(label), float(lattice.labels[index, label]))
            for label in np.flatnonzero(likely[index])
        ]
        weighed = [(mark, float(lattice.marks[mark][index])) for mark in marks]
        some = [(mark, weight) for mark, weight in weighed if weight > -math.inf]
        if labels or some or noise[index] > -math.inf:
            leaving[start].append(Steps(index, stop, labels, noise[index], some))
    return leaving


def _least_weights(lattice: Lattice, margin: float) -> Floats:
    """The weight that a candidate needs, [n], for a reading within `margin` of the likeliest."""
    best = np.maximum(lattice.labels.max(axis=1), lattice.noise).tolist()
    spans = lattice.spans.tolist()
    ahead, behind = [-math.inf] * lattice.cuts, [-math.inf] * lattice.cuts
    ahead[-1] = behind[0] = 0.0
    for (start, stop), weight in zip(spans, best, strict=True):
        behind[stop] = max(behind[stop], behind[start] + weight)
    for (start, stop), weight in zip(reversed(spans), reversed(best), strict=True):
        ahead[start] = max(ahead[start], weight + ahead[stop])
    others = np.array(behind)[lattice.spans[:, 0]] + np.array(ahead)[lattice.spans[:, 1]]
    if not math.isfinite(ahead[0]):  # no reading at all
        return np.full(len(spans), np.inf)
    return np.asarray(ahead[0] - margin - others)


def _followed(reached: dict[tuple[str, State], Hypothesis]) -> list[Hypothesis]:
    """The weightiest texts at a cut, and the weightiest of each state, so that none is lost."""
    ordered = sorted(reached.values(), key=lambda one: -one.weight)
    followed = ordered[:BEAM]
    states = {one.state for one in followed}
    for one in ordered[BEAM:]:
        if one.state not in states and len(followed) < MAX_BEAM:
            states.add(one.state)
            followed.append(one)
    return followed


def _follow(
    ahead: dict[tuple[str, State], Hypothesis], one: Hypothesis, steps: Steps, grammar: Grammar
) -> None:
    """Add to the texts at the cut behind a candidate what it makes of a text before it."""
    if steps.noise > -math.inf:
        _reach(ahead, one.longer("", one.state, steps.noise))
    for label, weight in steps.labels:
        digit = ReadDigit(steps.candidate, label)
        for written, state in grammar.after(one.state, label):
            _reach(ahead, one.longer(written, state, weight, digit))
    for mark, weight in steps.marks:
        for written, state in grammar.after_mark(one.state, mark):
            _reach(ahead, one.longer(written, state, weight))


def _reach(ahead: dict[tuple[str, State], Hypothesis], one: Hypothesis) -> None:
    """Add a text to those at its cut, or its weight to that of the same text."""
    key = one.text, one.state
    known = ahead.get(key)
    if known is not None:
        likeliest = known if known.best >= one.best else one
        one = likeliest._replace(weight=_log_sum(known.weight, one.weight))
    ahead[key] = one


def _finished(ends: Iterable[Hypothesis], grammar: Grammar, total: float) -> Readings:
    by_text: dict[str, Hypothesis] = {}
    for one in ends:
        known = by_text.get(one.text)
        if grammar.accepts(one.state) and (known is None or known.weight < one.weight):
            by_text[one.text] = one
    found = sorted(by_text.values(), key=lambda one: -one.weight)
    if not found:
        return Readings([], 0.0)
    allowed = -math.inf
    for one in found:
        allowed = _log_sum(allowed, one.weight)
    whole = max(total, allowed) if grammar.is_free else allowed
    return Readings(
        [Reading(one.text, math.exp(one.weight - whole), one.digits) for one in found],
        min(1.0, math.exp(min(0.0, allowed - total))),
    )
