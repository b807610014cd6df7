"""Dots: a digit that is drawn in dots is joined to strokes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .components import components_of
from .grayscale import GrayImage
from .ink import Mask, median

FEWEST, MOST = 5, 256
"""Dots of a digit, at least, and parts of a picture that is looked at for dots, at most: joining
them takes the square of their number."""
SQUARE, SOLID = 1.6, 0.62
"""Longer side in shorter sides, at most, and share of its box, at least, that a dot fills."""
LONGEST = 3.0
"""Longer side of what is no speck, at most, in diameters of the dots: some dots touch."""
DOTS = 0.7
"""Share of what is no speck that must be dots."""
SPECK = 0.5
"""Longer side of a speck, at most, in diameters."""
STEP = 4.0
"""Usual step from dot to dot, at most, in diameters."""
NEIGHBOUR, FARTHEST = 1.3, 2.5
"""Steps up to which dots are neighbours, and up to which the nearest of two groups are."""
STROKE = 0.8
"""Width of the strokes that join dots, in diameters."""


def is_dot(stats: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether connected parts, whose box and size are `stats` [n,5], are dots."""
    wide, high, size = stats[:, 2], stats[:, 3], stats[:, 4]
    square = np.maximum(wide, high) < SQUARE * np.minimum(wide, high)
    return np.asarray(square & (size > SOLID * wide * high))


def joined(gray: GrayImage, factor: int, found: Mask) -> GrayImage | None:
    """Return `gray` [h,w] with its dots joined to strokes; None where it is not drawn in dots.

    Args:
        gray: The picture.
        factor: How many of its pixels a pixel of `found` spans.
        found: Where its ink is.
    """
    _, stats, centers = components_of(found)
    boxes, middles = np.asarray(stats[1:], np.int32), centers[1:]
    if not FEWEST <= len(boxes) <= MOST:
        return None
    longer = boxes[:, 2:4].max(axis=1)
    dots = is_dot(boxes)
    diameter = median(longer[dots]) if dots.any() else 0.0
    written = longer > SPECK * diameter
    dots &= written
    few = np.count_nonzero(dots) < max(FEWEST, DOTS * np.count_nonzero(written))
    if few or longer.max() > LONGEST * diameter:
        return None
    places = middles[written]
    pairs = _neighbours(places, STEP * diameter)
    strokes = gray.copy()
    level = int(
        median(np.array([gray[int(y * factor), int(x * factor)] for x, y in middles[dots]]))
    )
    width = max(1, round(STROKE * diameter * factor))
    ends = np.rint((places + 0.5) * factor * 16).astype(int).tolist()
    for one, other in pairs:
        cv2.line(strokes, ends[one], ends[other], level, width, cv2.LINE_AA, 4)
    return strokes


def _neighbours(places: NDArray[np.float64], longest: float) -> list[tuple[int, int]]:
    """Pairs of places [n,2] that follow each other: the shortest tree, and what closes loops."""
    apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    step = median(apart.min(axis=1))
    if step > longest:
        return []
    pairs = {(int(i), int(j)) for i, j in np.argwhere(apart <= NEIGHBOUR * step) if i < j}
    nearest, distance = np.zeros(len(places), np.intp), apart[0].copy()
    distance[0] = np.inf
    reached = np.zeros(len(places), bool)
    reached[0] = True
    while not reached.all():  # Prim's
        following = int(np.where(reached, np.inf, distance).argmin())
        if distance[following] <= FARTHEST * step:
            pairs.add((int(nearest[following]), following))
        reached[following] = True
        closer = apart[following] < distance
        nearest[closer], distance[closer] = following, apart[following][closer]
    return sorted(pairs)
