"""Boxes to tick: small printed squares beside what is written."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .box import bounds, cut, sides
from .ink import Mask

SMALLEST = 14
"""Pixels of a box's shorter side, at least: smaller ones can't be told from a small 0."""
SMALLER = 0.75
"""Longer side of a box, at most, as a share of the tallest part's height: a frame is larger."""
SQUARE, JAGGED = 1.2, 1.0
"""Longer side of a box in shorter ones, at most, and pixels by which its sides are shorter than the
smallest square around it, at most, for what its hull encloses: a 0 is rounder."""
HOLLOW = 0.75
"""Share of what it encloses that is ink, at most, a cross in it included."""
MAX_PARTS = 24
"""Parts that are looked at, at most: a page of print has more."""


def without_boxes(strokes: Mask) -> tuple[Mask, bool]:
    """Return `strokes` [h,w] without boxes to tick beside the writing, and whether there were any.

    What is in such a box is no part of the writing either.
    """
    contours = cv2.findContours(strokes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not 1 < len(contours) <= MAX_PARTS:
        return strokes, False
    outlines = [np.asarray(contour, np.int32) for contour in contours]
    sizes = [sides(bounds(outline)) for outline in outlines]
    largest = SMALLER * max(height for _, height in sizes)
    small = [min(size) >= SMALLEST and max(size) <= largest for size in sizes]
    if not any(small):
        return strokes, False
    rest = strokes.copy()
    for outline in (outlines[part] for part in np.flatnonzero(small)):
        _erase_box(outline, strokes, rest)
    return rest, cv2.countNonZero(rest) < cv2.countNonZero(strokes)


def _erase_box(outline: NDArray[np.int32], strokes: Mask, rest: Mask) -> None:
    """Blacken what has this outline in `rest` [h,w], if it is a box among the `strokes` [h,w]."""
    if not _is_square(outline):
        return
    box = bounds(outline)
    width, height = sides(box)
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [outline], -1, 1, cv2.FILLED, offset=(-box[0], -box[1]))
    if cv2.countNonZero(inside & cut(strokes, box)) <= HOLLOW * cv2.countNonZero(inside):
        cut(rest, box)[inside > 0] = 0


def _is_square(outline: NDArray[np.int32]) -> bool:
    """Whether an outline is a square, however turned.

    A turned one's sides have steps, which its convex hull does without.
    """
    shorter, longer = sorted(cv2.minAreaRect(outline)[1])
    least = (shorter - JAGGED) * (longer - JAGGED)
    return longer <= SQUARE * shorter and cv2.contourArea(cv2.convexHull(outline)) >= least
