"""Shade: folds, creases and shadows, which are darker than the paper and no ink.

A pen's strokes have steep edges on both sides, however faint they are, unless they are out of
focus, and then they are narrow.
"""

from __future__ import annotations

import cv2
import numpy as np

from .ink import CONTRAST, Mask, Plane, percentile, square

FAINT, FAINT_ACROSS = 72, 110
"""Levels of 255 below which ink may be shade, and where it touches the picture's border."""
STEEP, WINDOW = 0.65, 5
"""Share of its peak, at least, by which a stroke's ink changes over so many pixels at its edge."""
SOFTEST = 0.25
"""Share of the edge that is looked at, the softest: a fold may be soft on one side alone."""
BROAD, BAND = 0.05, 0.6
"""Width of a band of shade, at least, as a share of the picture's longer side, and what it fills of
the smallest box around it, however turned."""


def is_shade(kept: Mask, ink: Plane) -> bool:
    """Whether `kept` [h,w] keeps nothing but shade of the ink [h,w].

    That is a faint edge of the picture, where it grows darker, or a faint band with soft edges.
    """
    highest = cv2.minMaxLoc(ink, kept)[1]
    if highest >= FAINT_ACROSS:
        return False
    touching = any(side.any() for side in (kept[0], kept[-1], kept[:, 0], kept[:, -1]))
    if touching and highest < 3 * CONTRAST:
        return True
    if not 0 < highest < FAINT and not touching:
        return False
    return (touching or is_band(kept)) and is_soft(kept, ink)


def is_band(kept: Mask) -> bool:
    """Whether `kept` [h,w] is broad and straight."""
    points = cv2.findNonZero(kept)
    sides = cv2.minAreaRect(points)[1]
    return bool(min(sides) >= BROAD * max(kept.shape) and len(points) >= BAND * sides[0] * sides[1])


def is_soft(kept: Mask, ink: Plane) -> bool:
    """Whether the edges of the ink `kept` [h,w] are softer than a pen's strokes have them."""
    calm = cv2.blur(np.asarray(ink, np.float32), (3, 3))
    change = cv2.morphologyEx(calm, cv2.MORPH_GRADIENT, square(WINDOW))
    inner = cv2.erode(kept, square(3), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    edge = cv2.subtract(kept, inner)
    softest = percentile(change[edge > 0], SOFTEST)
    return bool(softest < STEEP * cv2.minMaxLoc(calm, kept)[1])
