"""CTC: the texts that a row net's columns say, and how likely they say each.

In each column there is a digit or none. A text is said by all the ways to have its digits in the
columns in order: a digit may last for several columns, and two equal ones have a column of none
between them (connectionist temporal classification: Graves and others 2006).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .figures import Floats
from .grammar import Grammar, State, continuations

NONE = 10
"""Class of a column that has no digit, or still the last one."""
BEAM = 10
"""Texts that are followed from a column."""
UNLIKELY = 1e-3
"""Probability of a digit in a column from which on it is tried."""
MAX_LOG = 60.0
"""Largest negative logarithm of a text's probability that is told."""

LEAST_SUM = 1e-300
"""Least probability whose logarithm is taken."""
QUIET = 0.999
"""Probability of none from which on columns that follow each other are as good as one."""

Prefix = tuple[str, State]


def merged(columns: Floats) -> Floats:
    """Columns [t,11] with each run of quiet ones as one: there are a third as many."""
    quiet = columns[:, NONE] >= QUIET
    starts = np.flatnonzero(~(quiet & np.r_[False, quiet[:-1]]))
    whole = np.maximum.reduceat(columns, starts)
    whole[:, NONE] = np.multiply.reduceat(columns[:, NONE], starts)
    return np.asarray(whole)


def log_probabilities(columns: Floats, texts: Sequence[str]) -> Floats:
    """The logarithm of the probability of each text of digits, [k], by columns [t,11].

    Args:
        columns: The probability of each digit and of none, in each column.
        texts: Digits alone; may be empty.
    """
    longest = max(map(len, texts), default=0)
    classes = np.full((len(texts), 2 * longest + 1), NONE)
    for row, text in zip(classes, texts, strict=True):
        row[1 : 2 * len(text) : 2] = [int(digit) for digit in text]
    # A digit may follow another without a column of none between, unless they are equal.
    skips = np.zeros(classes.shape)
    skips[:, 2:] = (classes[:, 2:] != NONE) & (classes[:, 2:] != classes[:, :-2])
    state = np.zeros(classes.shape)
    state[:, 0] = 1.0
    sums = np.empty((len(columns), len(texts)))
    for number, likely in enumerate(columns[:, classes]):
        before = state
        state = before.copy()
        state[:, 1:] += before[:, :-1]
        state[:, 2:] += before[:, :-2] * skips[:, 2:]
        if not number:
            state[:, 2:] = 0.0
        state *= likely
        sums[number] = np.maximum(state.sum(axis=1), LEAST_SUM)
        state /= sums[number, :, None]
    ends = 2 * np.array([len(text) for text in texts], np.intp)
    rows = np.arange(len(texts))
    last = state[rows, ends] + np.where(ends > 0, state[rows, ends - 1], 0.0)
    return np.asarray(
        np.maximum(np.log(sums).sum(axis=0) + np.log(np.maximum(last, LEAST_SUM)), -MAX_LOG)
    )


def search(columns: Floats, grammar: Grammar, count: int) -> list[str]:
    """The likeliest texts that the grammar allows, at most `count`, by a beam over the columns."""
    followed: dict[Prefix, tuple[float, float]] = {("", grammar.start): (1.0, 0.0)}
    for column in columns.tolist():
        likely = [(label, column[label]) for label in range(NONE) if column[label] > UNLIKELY]
        ahead: dict[Prefix, tuple[float, float]] = {}
        for prefix, (after_none, after_digit) in followed.items():
            text, state = prefix
            either = after_none + after_digit
            last = int(text[-1]) if text else NONE
            after = continuations(grammar, state).digits
            _add(ahead, prefix, either * column[NONE], after_digit * column[last] if text else 0.0)
            for label, share in likely:
                weight = share * (after_none if label == last else either)
                if weight > 0.0:
                    for written, further in after[label]:
                        _add(ahead, (text + written, further), 0.0, weight)
        best = sorted(ahead.items(), key=lambda one: -sum(one[1]))[:BEAM]
        total = sum(sum(weights) for _, weights in best) or 1.0
        followed = {prefix: (none / total, digit / total) for prefix, (none, digit) in best}
    found = [text for text, state in followed if grammar.accepts(state)]
    return list(dict.fromkeys(found))[:count]


def _add(ahead: dict[Prefix, tuple[float, float]], key: Prefix, none: float, digit: float) -> None:
    """Add to the weights of a text that ends with none, and with its last digit."""
    known = ahead.get(key, (0.0, 0.0))
    ahead[key] = known[0] + none, known[1] + digit
