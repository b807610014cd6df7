"""Search: a row's likeliest readings, by a beam over its lattice, under a grammar."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from operator import attrgetter, itemgetter
from typing import NamedTuple

import numpy as np

from .figures import Floats
from .grammar import Continuations, Grammar, Mark, State, continuations
from .lattice import Lattice

UNLIKELY, UNLIKELY_BUT_ASKED_FOR = 9.0, 25.0
"""What a candidate may be is not tried where the best reading with it is less likely than the best
of all by more than exp(this); the second where a grammar may rule the best out. Where none may, a
text is not followed either whose best reading is as unlikely."""
BEAM, MAX_BEAM = 24, 160
"""Texts that are followed from a cut; and at most, with the weightiest of each of the grammar's
states."""
MAX_STEPS, MAX_STEPS_ASKED_FOR = 2_500, 20_000
"""Steps of a search, at most, each from a text to a longer one, of 1 to 2 µs: fewer texts are
followed from the cuts of a scribble, where anything may be a digit. The second where a grammar has
states that must not be lost. A row of four digits takes some 200; with 12,000, of 867 validation
rows none was read otherwise."""
LEAST_BEAM = 4
"""Texts that are followed from any cut."""


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
        log_total: The logarithm of the sum of the weights that probabilities are shares of.
    """

    best: list[Reading]
    allowed: float
    log_total: float = 0.0


def digit_probabilities(readings: Readings, place: int) -> Floats:
    """The probability of each digit [10] at a place of the best reading, if that is as long."""
    length = len(readings.best[0].digits)
    shares = np.zeros(10)
    for reading in readings.best:
        if len(reading.digits) == length:
            shares[reading.digits[place].label] += reading.probability
    return np.asarray(shares / shares.sum())


class Hypothesis(NamedTuple):
    """The text up to a cut."""

    text: str
    state: State
    weight: float
    """Logarithm of the sum over all ways to it."""
    best: float
    """The same of the likeliest way."""
    digits: tuple[ReadDigit, ...]


WEIGHT, LIKELY = attrgetter("weight"), itemgetter(1)
Hypotheses = dict[tuple[str, State], Hypothesis]
"""Those at a cut, by their texts and states."""


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
    at: list[Hypotheses] = [{} for _ in range(lattice.cuts)]
    at[0]["", grammar.start] = Hypothesis("", grammar.start, 0.0, 0.0, ())
    leaving = _leaving(lattice, grammar)
    room = max_steps(grammar) // lattice.cuts
    for cut in range(lattice.cuts - 1):
        ways = sum(steps.ways for steps in leaving[cut])
        followed = [
            (one, continuations(grammar, one.state))
            for one in _followed(at[cut], most=max(LEAST_BEAM, room // max(1, ways)))
        ]
        for steps in leaving[cut]:
            for one, after in followed:
                _follow(at[steps.stop], one, steps, after)
        at[cut] = {}
    return _finished(at[-1].values(), grammar, total_weight(lattice))


def max_steps(grammar: Grammar) -> int:
    """Steps of a search under a grammar, at most."""
    return MAX_STEPS if grammar.is_free else MAX_STEPS_ASKED_FOR


class Steps(NamedTuple):
    """What a candidate may be, with weights.

    Attributes:
        stop: The cut behind it.
        least: The weight that a text needs behind it, to be followed.
        digits: Likeliest first.
        noise: Of dust; minus infinity where it can't be.
        marks: Of those that the grammar has.
    """

    stop: int
    least: float
    digits: list[tuple[ReadDigit, float]]
    noise: float
    marks: list[tuple[Mark, float]]

    @property
    def ways(self) -> int:
        """How many these are."""
        return len(self.digits) + len(self.marks) + (self.noise > -math.inf)


def _leaving(lattice: Lattice, grammar: Grammar) -> list[list[Steps]]:
    """What the candidates that begin at each cut may be, as far as that has a chance."""
    leaving: list[list[Steps]] = [[] for _ in range(lattice.cuts)]
    before, behind = _likeliest(lattice)
    if not math.isfinite(behind[0]):  # no reading at all
        return leaving
    is_free = grammar.is_free
    worst = behind[0] - (UNLIKELY if is_free else UNLIKELY_BUT_ASKED_FOR)
    labels, noise = lattice.labels.tolist(), lattice.noise.tolist()
    marks = [(mark, lattice.marks[mark].tolist()) for mark in grammar.marks]
    for index, (start, stop) in enumerate(lattice.spans.tolist()):
        needed = worst - before[start] - behind[stop]
        digits = [
            (ReadDigit(index, label), weight)
            for label, weight in enumerate(labels[index])
            if weight >= needed
        ]
        digits.sort(key=LIKELY, reverse=True)
        dust = noise[index] if noise[index] >= needed else -math.inf
        some = [(mark, weighed[index]) for mark, weighed in marks if weighed[index] > -math.inf]
        if digits or some or dust > -math.inf:
            least = worst - behind[stop] if is_free else -math.inf
            leaving[start].append(Steps(stop, least, digits, dust, some))
    return leaving


def _likeliest(lattice: Lattice) -> tuple[list[float], list[float]]:
    """The weight of the likeliest way to each cut, and from each to the end."""
    best = np.maximum(lattice.labels.max(axis=1), lattice.noise).tolist()
    spans = lattice.spans.tolist()
    before, behind = [-math.inf] * lattice.cuts, [-math.inf] * lattice.cuts
    before[0] = behind[-1] = 0.0
    for (start, stop), weight in zip(spans, best, strict=True):
        before[stop] = max(before[stop], before[start] + weight)
    for (start, stop), weight in zip(reversed(spans), reversed(best), strict=True):
        behind[start] = max(behind[start], weight + behind[stop])
    return before, behind


def _followed(reached: Hypotheses, *, most: int) -> list[Hypothesis]:
    """The weightiest texts at a cut, and the weightiest of each state, so that none is lost."""
    ordered = sorted(reached.values(), key=WEIGHT, reverse=True)
    followed = ordered[: min(BEAM, most)]
    states = {one.state for one in followed}
    for one in ordered[len(followed) :]:
        if one.state not in states and len(followed) < min(MAX_BEAM, most):
            states.add(one.state)
            followed.append(one)
    return followed


def _follow(ahead: Hypotheses, one: Hypothesis, steps: Steps, after: Continuations) -> None:
    """Add to the texts at the cut behind a candidate what it makes of a text before it."""
    text, state, so_far, _, digits = one
    needed = steps.least - so_far
    if steps.noise > -math.inf and steps.noise >= needed:
        _reach(ahead, (text, state), one, steps.noise, digits)
    for digit, weight in steps.digits:
        if weight < needed:
            break  # those that follow are less likely still
        for written, further in after.digits[digit.label]:
            _reach(ahead, (text + written, further), one, weight, (*digits, digit))
    for mark, weight in steps.marks:
        for written, further in after.marks[mark]:
            _reach(ahead, (text + written, further), one, weight, digits)


def _reach(
    ahead: Hypotheses,
    key: tuple[str, State],
    one: Hypothesis,
    step: float,
    digits: tuple[ReadDigit, ...],
) -> None:
    """Add a text to those at its cut, or its weight to that of the same text.

    Args:
        ahead: The texts at the cut.
        key: The text and its state.
        one: The text that it continues.
        step: The weight of the step between them.
        digits: Those of this way.
    """
    weight, best = one.weight + step, one.best + step
    known = ahead.get(key)
    if known is not None:
        weight = _log_sum(known.weight, weight)
        if known.best >= best:
            best, digits = known.best, known.digits
    ahead[key] = Hypothesis(*key, weight, best, digits)


def _finished(ends: Iterable[Hypothesis], grammar: Grammar, total: float) -> Readings:
    by_text: dict[str, Hypothesis] = {}
    accepts = cache(grammar.accepts)
    for one in ends:
        known = by_text.get(one.text)
        if accepts(one.state) and (known is None or known.weight < one.weight):
            by_text[one.text] = one
    found = sorted(by_text.values(), key=WEIGHT, reverse=True)
    if not found:
        return Readings([], 0.0)
    allowed = -math.inf
    for one in found:
        allowed = _log_sum(allowed, one.weight)
    whole = max(total, allowed) if grammar.is_free else allowed
    return Readings(
        [Reading(one.text, math.exp(one.weight - whole), one.digits) for one in found],
        min(1.0, math.exp(min(0.0, allowed - total))),
        whole,
    )
