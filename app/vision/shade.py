"""Shade: folds, creases and shadows, which are darker than the paper and no ink.

A fold has soft sides and is as wide where it leaves the picture as within, or fades little by
little; a pen's stroke has steep sides, or, out of focus, ends like its sides. The ground behind it
goes on as if it were not there.
"""

from __future__ import annotations

import cv2
import numpy as np

from .box import Box, bounds, cut, widened
from .ink import CONTRAST, WHITE, InkMap, Mask, Plane, percentile, square
from .shadows import SMALLEST_PICTURE

FAINT = 110
"""Levels of 255 below which ink may be shade."""
NARROW, LONG, FILLING = 0.2, 5.0, 0.75
"""Width of a band of shade, at most, as a share of the picture's shorter side; its length, at
least, in widths; and what it fills of the smallest box around it, however turned."""
AS_WIDE = 0.75
"""Pixels of it along two of the picture's sides, at least, in widths: pens' strokes have round ends
or thin ones."""
STEEP, WINDOW = 0.55, 5
"""Share of its peak, at least, by which a stroke's ink changes over so many pixels at its edge."""
SOFTEST = 0.25
"""Share of the edge that is looked at, the softest: a fold may be soft on one side alone."""
FADING, HALF = 0.33, 0.5
"""Length of the ends of it that have less ink than a share of the highest, at least, in widths:
pens' strokes end as steeply as their sides do, out of focus, too."""
DEEPEST = 160
"""Levels of 255 from which on ink is deeper than what a shadow has beyond the ground."""
SUDDEN, BROKEN = 0.5, 0.4
"""Change of the ground in that of the ink, at least, where an edge is the ground's; and share of
the edge, at least, of what is a piece of a shadow."""


def is_shade(kept: Mask, found: InkMap) -> bool:
    """Whether `kept` [h,w] keeps nothing but shade of the ink that was found."""
    return is_faint_shade(kept, found.ink) or is_piece_of_shadow(kept, found)


def is_piece_of_shadow(kept: Mask, found: InkMap) -> bool:
    """Whether `kept` [h,w] is what a broad shadow has beyond the ground that was found in it.

    Such a piece ends within the shadow where the ground does, and the picture shows no edge.
    """
    is_small = min(kept.shape) < SMALLEST_PICTURE
    if isinstance(found.ground, int) or not found.dark or is_small:
        return False
    faintest, deepest = cv2.minMaxLoc(found.ink, kept)[:2]
    if deepest >= DEEPEST:
        return False
    near = widened(bounds(kept), 1, kept.shape)
    darkest, brightest = cv2.minMaxLoc(cut(found.ground, near))[:2]
    if (brightest - darkest) * WHITE <= SUDDEN * faintest * brightest:  # as of most pictures
        return False
    edge = edge_of(cut(kept, near)) > 0
    ground, ink = (change_in(plane, near)[edge] for plane in (found.ground, found.ink))
    light = cut(found.ground, near)[edge] / WHITE
    return bool(np.count_nonzero(ground > SUDDEN * ink * light) > BROKEN * len(ink))


def change_in(plane: Plane, box: Box) -> Plane:
    """How much `plane` [h,w] changes from pixel to pixel in a box."""
    change: Plane = cv2.morphologyEx(  # type: ignore[assignment]
        cut(plane, box).copy(), cv2.MORPH_GRADIENT, square(3)
    )
    return change


def edge_of(kept: Mask) -> Mask:
    """The outermost pixels of `kept` [h,w], at the picture's border, too."""
    inner = cv2.erode(kept, square(3), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return np.asarray(cv2.subtract(kept, inner), np.uint8)


def is_faint_shade(kept: Mask, ink: Plane) -> bool:
    """Whether `kept` [h,w] is a faint edge of the picture, where it grows darker, or a faint band.

    The band has soft edges and goes on beyond two borders, or fades at both ends.
    """
    highest = cv2.minMaxLoc(ink, kept)[1]
    if highest >= FAINT or not kept.any():
        return False
    sides = kept[0], kept[-1], kept[:, 0], kept[:, -1]
    along = sorted(np.count_nonzero(side) for side in sides)
    if along[-1] and highest < 3 * CONTRAST:
        return True
    width = width_of_band(kept)
    if width is None:
        return False
    goes_on = along[-2] >= AS_WIDE * width and is_soft(kept, ink)
    return bool(goes_on) or fades(kept, ink, width)


def width_of_band(kept: Mask) -> float | None:
    """The width of `kept` [h,w] if it is a band, narrower than a digit without margin."""
    points = cv2.findNonZero(kept)
    shorter, longer = sorted(max(side, 1.0) for side in cv2.minAreaRect(points)[1])
    is_long = LONG * shorter <= longer and shorter <= NARROW * min(kept.shape)
    return shorter if is_long and len(points) >= FILLING * shorter * longer else None


def is_soft(kept: Mask, ink: Plane) -> bool:
    """Whether the edges of the ink `kept` [h,w] are softer than a pen's strokes have them."""
    calm = cv2.blur(np.asarray(ink, np.float32), (3, 3))
    change = cv2.morphologyEx(calm, cv2.MORPH_GRADIENT, square(WINDOW))
    softest = percentile(change[edge_of(kept) > 0], SOFTEST)
    return bool(softest < STEEP * cv2.minMaxLoc(calm, kept)[1])


def fades(kept: Mask, ink: Plane, width: float) -> bool:
    """Whether the ink of a band, `kept` [h,w], of this width fades slowly at both its ends."""
    rows, columns = np.nonzero(kept)
    strength = cv2.blur(np.asarray(ink, np.float32), (3, 3))[rows, columns]
    points = np.stack((columns, rows), axis=1).astype(np.float32)
    across, down, *_ = cv2.fitLine(points, cv2.DIST_L2, 0, 0.01, 0.01).ravel()
    along = points @ np.array((across, down))
    strong = along[strength > HALF * strength.max()]
    shorter = min(strong.min() - along.min(), along.max() - strong.max())
    return bool(shorter > FADING * width + 1)  # an edge may take a pixel
