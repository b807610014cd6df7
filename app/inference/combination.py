"""Combination: a row's readings weighed again by what the row net says of them.

The lattice's likeliest readings and the row net's likeliest texts are rivals. Each is weighed by
both: what share of the lattice's readings it has, and how likely the row net's columns say it. How
much each of the two counts, and where digits touch or overlap, is fitted by `training.numbers`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import ctc
from .alignment import alignments
from .figures import LEAST, Floats
from .grammar import Grammar
from .lattice import Lattice
from .search import Reading, Readings

READINGS, TEXTS = 12, 6
"""Rivals of the lattice and of the row net, at most."""
LEAST_LOG = -40.0
"""Least logarithm of a share or a probability that counts."""
CROSSED = 0.3
"""Ink that a cut crosses, in heights of the row's digits, from which on the digits beside it touch
for certain."""
RIVAL_FIGURES = 4


class Rivals(NamedTuple):
    """What a row may say, by the lattice or by the row net.

    Attributes:
        readings: The lattice's likeliest first; their probabilities are the lattice's.
        figures: What speaks for each, [n,RIVAL_FIGURES]: the logarithms of its share of the
            lattice's readings and of its probability by the row net, and both as far as digits
            touch in the likeliest by either.
        texts: How likely the row net's columns say each, [n], as a logarithm.
        nothing: The same of no text at all.
        allowed: Share of all readings that the grammar allows.
    """

    readings: list[Reading]
    figures: Floats
    texts: Floats
    nothing: float
    allowed: float


def rivals_of(
    readings: Readings,
    lattice: Lattice,
    shapes: NDArray[np.float32],
    columns: Floats,
    grammar: Grammar,
) -> Rivals:
    """Join the lattice's readings, of which there is one at least, and the row net's texts.

    Args:
        readings: The lattice's.
        lattice: The row's lattice.
        shapes: Of its candidates, [n,8], as `vision.candidates.SHAPE` has them.
        columns: The row net's answer, [t,11].
        grammar: Which texts are numbers here.
    """
    columns = ctc.merged(columns)
    some = readings.best[:READINGS]
    known = {reading.text for reading in some}
    others = [text for text in ctc.search(columns, grammar, TEXTS) if text not in known]
    some += _aligned(others, readings, lattice)
    texts = ctc.log_probabilities(columns, [*(_digits(reading.text) for reading in some), ""])
    shares = np.log(np.maximum([reading.probability for reading in some], np.exp(LEAST_LOG)))
    said = np.maximum(texts[:-1], LEAST_LOG)
    touching = max(_touching(some[place], shapes) for place in (0, int(said.argmax())))
    figures = np.stack((shares, said, touching * shares, touching * said), axis=1)
    return Rivals(some, figures, said, max(float(texts[-1]), LEAST_LOG), readings.allowed)


def _aligned(texts: list[str], readings: Readings, lattice: Lattice) -> list[Reading]:
    """The row net's texts as readings of the lattice; those that no way says are left out."""
    known = {reading.text: reading for reading in readings.best}
    found = []
    for text, alignment in zip(
        texts, alignments(lattice, [_digits(text) for text in texts]), strict=True
    ):
        if text in known:
            found.append(known[text])
        elif alignment is not None:
            share = float(np.exp(min(0.0, alignment.weight - readings.log_total)))
            found.append(Reading(text, share, alignment.digits))
    return found


def _touching(reading: Reading, shapes: NDArray[np.float32]) -> float:
    """How far a reading's digits touch, in 0–1: by the ink that the cuts between them cross."""
    chosen = [digit.candidate for digit in reading.digits]
    return min(1.0, float(shapes[chosen, 3:5].max()) / CROSSED)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def combined(rivals: Rivals, weights: Floats) -> tuple[Readings, int]:
    """The rivals by their weight, likeliest first, and the place of the first among the rivals."""
    scores = rivals.figures @ weights
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    best = [
        rivals.readings[place]._replace(probability=float(max(shares[place], LEAST)))
        for place in order
    ]
    return Readings(best, rivals.allowed), int(order[0])
