"""Two readers in one version: a quick one whose answer stands where it is sure, and a careful one
for the rest.

How sure it has to be is found on held-back digits, clean and altered: as little as leaves no more
mistakes among the quick one's answers than the careful one makes on the same images.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.calibrate import Floats
from training.corpora import data

Answer = Sequence[Floats]
"""Probabilities [n,10] and digit_score [n]."""
Reader = Callable[[NDArray[np.uint8]], Answer]
"""Images uint8 [n,28,28] → its answer."""

STEPS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


def surety_of(answer: Answer) -> Floats:
    """[n]: the lesser of the greatest probability and the digit score."""
    probabilities, score = answer
    lesser: Floats = np.minimum(probabilities.max(axis=1), score)
    return lesser


def both(quick: Reader, careful: Reader, sure: float) -> Reader:
    """The quick one's answers where it is sure, the careful one's elsewhere."""

    def read(images: NDArray[np.uint8]) -> Answer:
        first, second = quick(images), careful(images)
        stands = surety_of(first) >= sure
        return (
            np.where(stands[:, None], first[0], second[0]),
            np.where(stands, first[1], second[1]),
        )

    return read


def enough(
    quick: Reader, careful: Reader, held_back: Iterable[data.Digits], *, least: float
) -> float:
    """The least of STEPS, not below `least`, at which the quick one makes no more mistakes, where
    it is sure, than the careful one does there, in each of the sets; above 1, so that it never
    answers, where there is none.
    """
    seen = [(quick(one.images), careful(one.images), one.labels) for one in held_back]
    for sure in STEPS:
        if sure >= least and all(_is_no_worse(*answers, sure) for answers in seen):
            return sure
    return 1.1


def _is_no_worse(quick: Answer, careful: Answer, labels: NDArray[np.uint8], sure: float) -> bool:
    stands = surety_of(quick) >= sure
    mistakes = [np.sum((one[0].argmax(axis=1) != labels)[stands]) for one in (quick, careful)]
    return bool(mistakes[0] <= mistakes[1])
