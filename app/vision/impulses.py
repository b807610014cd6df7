"""Salt and pepper: lone pixels that a bad sensor or line made far brighter or darker."""

from __future__ import annotations

import cv2
import numpy as np

from .grayscale import GrayImage

SMALLEST_PICTURE = 64
"""Pixels of the shorter side below which a lone pixel may be writing."""
STEP = 60
"""Levels of 255 by which such a pixel differs from all of its four neighbours, at least."""
SHARE = 0.02
"""Share of the pixels that are so, at least: dots on paper are fewer."""
ROWS = 24
"""Rows that are looked at, about."""


def without_impulses(gray: GrayImage) -> GrayImage:
    """`gray` [h,w] with each pixel the median of those around it, if it has salt and pepper."""
    if min(gray.shape) < SMALLEST_PICTURE or impulses(gray) < SHARE:
        return gray
    return np.asarray(cv2.medianBlur(gray, 3), np.uint8)


def impulses(gray: GrayImage) -> float:
    """The share of lone bright or dark pixels in `gray` [h,w], in some of its rows."""
    step = max(1, len(gray) // ROWS)
    above, middle, below = gray[:-2:step], gray[1:-1:step], gray[2::step]
    own, left, right = middle[:, 1:-1], middle[:, :-2], middle[:, 2:]
    highest = cv2.max(cv2.max(left, right), cv2.max(above, below)[:, 1:-1])
    lowest = cv2.min(cv2.min(left, right), cv2.min(above, below)[:, 1:-1])
    apart = cv2.max(cv2.subtract(own, highest), cv2.subtract(lowest, own))
    return float(np.count_nonzero(apart > STEP) / own.size)
