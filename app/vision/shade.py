"""Shade: folds, creases and shadows, which are darker than the paper and no ink.

A pen's strokes have steep edges on both sides, however faint they are, unless they are out of
focus, and then they are narrow. The ground behind them goes on as if they were not there.
"""

from __future__ import annotations

import cv2
import numpy as np

from .ink import CONTRAST, WHITE, InkMap, Mask, Plane, percentile, square

FAINT = 110
"""Levels of 255 below which ink may be shade."""
STEEP, WINDOW = 0.55, 5
"""Share of its peak, at least, by which a stroke's ink changes over so many pixels at its edge."""
SOFTEST = 0.25
"""Share of the edge that is looked at, the softest: a fold may be soft on one side alone."""
NARROW, LONG, FULL = 0.2, 5.0, 0.75
"""Width of a band of shade, at most, as a share of the picture's shorter side; its length, at
least, in widths; and what it fills of the smallest box around it, however turned."""
SUDDEN, BROKEN = 0.5, 1 / 3
"""Change of the ground in that of the ink, at least, where an edge is the ground's; and share of
the edge, at least, of what is a piece of a shadow."""


def is_shade(kept: Mask, found: InkMap) -> bool:
    """Whether `kept` [h,w] keeps nothing but shade of the ink that was found."""
    return is_faint_shade(kept, found.ink) or is_piece(kept, found)


def is_piece(kept: Mask, found: InkMap) -> bool:
    """Whether `kept` [h,w] is what a broad shadow has beyond the ground that was found in it.

    Such a piece ends within the shadow where the ground does, and the picture shows no edge.
    """
    if isinstance(found.ground, int):
        return False
    change = cv2.morphologyEx(found.ground, cv2.MORPH_GRADIENT, square(3))
    light = found.ground if found.dark else WHITE
    of_ground = cv2.divide(change, light, scale=WHITE, dtype=cv2.CV_32F)
    of_ink = cv2.morphologyEx(np.asarray(found.ink, np.float32), cv2.MORPH_GRADIENT, square(3))
    edge = edge_of(kept)
    of_edge = np.count_nonzero(edge)
    return np.count_nonzero(edge & (of_ground > SUDDEN * of_ink)) > BROKEN * of_edge


def edge_of(kept: Mask) -> Mask:
    """The outermost pixels of `kept` [h,w], at the picture's border, too."""
    inner = cv2.erode(kept, square(3), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return np.asarray(cv2.subtract(kept, inner), np.uint8)


def is_faint_shade(kept: Mask, ink: Plane) -> bool:
    """Whether `kept` [h,w] is a faint edge of the picture, where it grows darker, or a faint band.

    The band has soft edges and goes from border to border. One that ends within the picture may be
    a 1 out of focus.
    """
    highest = cv2.minMaxLoc(ink, kept)[1]
    if highest >= FAINT:
        return False
    sides = sum(bool(side.any()) for side in (kept[0], kept[-1], kept[:, 0], kept[:, -1]))
    if sides and highest < 3 * CONTRAST:
        return True
    return sides > 1 and is_band(kept) and is_soft(kept, ink)


def is_band(kept: Mask) -> bool:
    """Whether `kept` [h,w] is long, straight and not as broad as a digit cut without margin."""
    points = cv2.findNonZero(kept)
    shorter, longer = sorted(cv2.minAreaRect(points)[1])
    is_long = LONG * shorter <= longer and shorter <= NARROW * min(kept.shape)
    return bool(is_long and len(points) >= FULL * shorter * longer)


def is_soft(kept: Mask, ink: Plane) -> bool:
    """Whether the edges of the ink `kept` [h,w] are softer than a pen's strokes have them."""
    calm = cv2.blur(np.asarray(ink, np.float32), (3, 3))
    change = cv2.morphologyEx(calm, cv2.MORPH_GRADIENT, square(WINDOW))
    softest = percentile(change[edge_of(kept) > 0], SOFTEST)
    return bool(softest < STEEP * cv2.minMaxLoc(calm, kept)[1])
