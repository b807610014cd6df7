"""Alignment: the ways through a lattice that say a given text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lattice import Lattice
from .search import ReadDigit


class Alignment(NamedTuple):
    """How a lattice says a text.

    Attributes:
        weight: The logarithm of the sum of the weights of all ways that say it.
        digits: Of the likeliest of them.
    """

    weight: float
    digits: tuple[ReadDigit, ...]


def alignments(lattice: Lattice, texts: Sequence[str]) -> list[Alignment | None]:
    """How the lattice says each text of digits; None where no way does."""
    if not texts:
        return []
    longest = max(map(len, texts))
    labels = np.zeros((len(texts), longest), np.intp)
    for place, text in enumerate(texts):
        labels[place, : len(text)] = [int(digit) for digit in text]
    shape = lattice.cuts, len(texts), longest + 1
    total, best = np.full(shape, -np.inf), np.full(shape, -np.inf)
    came = np.full((*shape, 2), -1)  # the candidate before, and whether it is a digit
    total[0, :, 0] = best[0, :, 0] = 0.0
    for index, (start, stop) in enumerate(lattice.spans.tolist()):
        weights = lattice.labels[index][labels]
        total[stop, :, 1:] = np.logaddexp(total[stop, :, 1:], total[start, :, :-1] + weights)
        moved = best[start, :, :-1] + weights
        better = moved > best[stop, :, 1:]
        best[stop, :, 1:][better] = moved[better]
        came[stop, :, 1:][better] = index, 1
        noise = lattice.noise[index]
        if noise > -np.inf:
            total[stop] = np.logaddexp(total[stop], total[start] + noise)
            better = best[start] + noise > best[stop]
            best[stop][better] = (best[start] + noise)[better]
            came[stop][better] = index, 0
    found: list[Alignment | None] = []
    for place, text in enumerate(texts):
        weight = float(total[-1, place, len(text)])
        way = _way(lattice, came[:, place], text) if weight > -np.inf else None
        found.append(None if way is None else Alignment(weight, way))
    return found


def _way(lattice: Lattice, came: NDArray[np.intp], text: str) -> tuple[ReadDigit, ...]:
    """The digits of the likeliest way, from its end to its beginning and back."""
    cut, place, digits = lattice.cuts - 1, len(text), []
    while cut:
        index, is_digit = came[cut, place].tolist()
        if is_digit:
            place -= 1
            digits.append(ReadDigit(index, int(text[place])))
        cut = int(lattice.spans[index, 0])
    return tuple(digits[::-1])
