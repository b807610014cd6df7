"""Figures: what speaks for a candidate being a digit, a 1 in particular, or dust."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .classifier import Scores

Floats = NDArray[np.float64]
Spans = NDArray[np.intp]

LEAST = 1e-9
"""Least score whose logarithm is taken."""
SMALL = 0.45
"""Height and width, in heights of the row's digits, of a part that may be left out."""
FREE = 0.04
"""Ink that the cuts beside a whole piece of ink cross, at most, in heights of the row's digits."""
FLAT = 0.25
"""Height of one that may be wider, as a rule's rest is."""
STANDS_OUT = 1.2
"""Height of what stands out of a row, at least, in heights of its digits."""


def log_odds(scores: NDArray[np.float32]) -> Floats:
    """log(p / (1 − p)) of scores, within ±9."""
    p = scores.astype(np.float64).clip(LEAST, 1 - LEAST)
    return np.asarray(np.log(p / (1 - p)).clip(-9, 9))


def figures(spans: Spans, shapes: NDArray[np.float32], scores: Scores) -> Floats:
    """What speaks for a candidate being a digit, [n,25].

    Args:
        spans: The cuts before and after each, [n,2].
        shapes: [n,8], as `vision.candidates.SHAPE` has them.
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
    return _columns(
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
        )
    )


def whole_piece(spans: Spans, shapes: NDArray[np.float32]) -> NDArray[np.intp]:
    """For each candidate, that which is the whole piece of ink it lies in, [n].

    It is −1 where the piece is too wide for a candidate, or the candidate is of several pieces.
    """
    # Lists: of so few, NumPy takes three times as long.
    edges = spans.tolist()
    is_free = (shapes[:, 3] <= FREE).tolist()
    last = max(stop for _, stop in edges)
    bounds = sorted(
        {0, last, *(edge[0] for edge, free in zip(edges, is_free, strict=True) if free)}
    )
    pieces = {(start, stop): index for index, (start, stop) in enumerate(edges)}
    whole = []
    for start, stop in edges:
        place = bisect_right(bounds, start)
        piece = bounds[place - 1], bounds[min(place, len(bounds) - 1)]
        whole.append(pieces.get(piece, -1) if stop <= piece[1] else -1)
    return np.array(whole, np.intp)


def noise_figures(shapes: NDArray[np.float32], scores: Scores) -> Floats:
    """What speaks for a part being no digit and to be left out, [n,6]."""
    width, height, middle, left, right, _, _, mass = np.asarray(shapes, np.float64).T
    return _columns(
        (
            np.ones(len(width)),
            np.maximum(width, height),
            np.log(np.maximum(mass, 0.002)),
            left + right,
            np.abs(middle),
            log_odds(scores[:, 10]),
        )
    )


def may_be_noise(spans: Spans, shapes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a candidate [n] is one part alone, and small or flat enough to be left out."""
    single = spans[:, 1] - spans[:, 0] == 1
    width, height = shapes[:, 0], shapes[:, 1]
    small = (height < SMALL) & ((width < SMALL) | (height < FLAT))
    return np.asarray(single & small)


def is_dash(spans: Spans, shapes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a candidate [n] has the shape of a dash or a minus, at mid height."""
    width, height, middle = np.asarray(shapes[:, :3], np.float64).T
    flat = (height < SMALL) & (width > 0.15) & (width > 1.2 * height)
    single = spans[:, 1] - spans[:, 0] == 1
    return np.asarray(single & flat & (np.abs(middle) < 0.3))


def stands_out(shapes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a candidate [n] is higher than the row's digits, as the bar of a dollar sign is."""
    return np.asarray(shapes[:, 1].astype(np.float64) > STANDS_OUT)


def lean(digit: NDArray[np.uint8]) -> float:
    """By how many columns the ink of `digit` [h,w] moves to the right for each row upwards."""
    rows, columns = np.nonzero(digit)
    if len(rows) < 2:
        return 0.0
    (upright, both), _ = np.cov(rows, columns, aweights=digit[rows, columns])
    return float(-both / upright) if upright else 0.0


def one_figures(shapes: NDArray[np.float32]) -> Floats:
    """What speaks for a 1 in particular, [n,3]."""
    width, height = np.asarray(shapes[:, :2], np.float64).T
    return _columns((np.ones(len(width)), width, height))


def _columns(arrays: Sequence[Floats]) -> Floats:
    """Arrays [n] side by side, [n,k], for a third of np.stack's time."""
    return np.ascontiguousarray(np.array(arrays).T)
