"""Rings: outlines that are drawn around what is written, as around an exercise's number."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .components import Components, components_of
from .ink import Mask, Plane

DIRECTIONS = 32
"""Directions from its middle in which a ring is looked at."""
CLOSED, OPEN = 0.9, 0.83
"""Share of them in which there is some of it, at least, and where something written is in it."""
CONVEX = 0.92
"""Share of its convex hull that it encloses, at least. The outline of a hollow 6 is no ring."""
MAX_RINGS = 3
"""Rings in one another that are taken away, at most."""
LEGIBLE = 6
"""Longer side in pixels, at least, of what may be a digit: less is a dot."""
WRITTEN, SMALLEST = 0.36, 0.1
"""Longer side of a part of what is written in a ring, at least, as a share of the ring's, and of
one that is no mere mark."""
AS_STRONG = 0.6
"""Its ink, at least, as a share of the ring's: less is what a rule or a shadow leaves in a 0."""
THIN, SPOT = 0.45, 0.6
"""Width of a mark in a 0, such as a dot, a dash or a tick, at most, as a share of its length; or
the share of its smallest box that it fills, at least."""
STRAIGHT = 0.25
"""Width of the slash in a 0, at most, as a share of its length."""
NARROW, SLANTED = 0.85, 0.35
"""Width of a 0 as a share of its height, at most, and of the box of a slash in it, at least."""
MORE_SLANTED, SPANNING = 0.6, 0.65
"""Width of the slash's box and length of the slash in a wider one, at least, as shares of the box's
height and of the 0's longer side: a slanted 1 may be in a ring, too."""


ROUND, EVEN = 0.95, 1.6
"""Share of its convex hull that a ring encloses, at least, and its longer side in shorter ones, at
most, where what is written in it touches it: then its outline alone tells."""
THINNEST = 0.1
"""Thickness of that ring, at most, as a share of its shorter side: a 0 may be thicker."""
RING, APART = 0.75, 0.5
"""Share of a line around, at least, that is ink within the ring, and, at most, just inside it."""
SMALLEST_RING = 24
"""Pixels of its shorter side, at least."""
TOUCHING, DEEP = 0.5, 0.7
"""Longer side, at least, of what is written and touches the ring, as a share of the ring's; and how
deep in it some of it is, at least, as a share of the middle's depth."""
ALONG, ONE_PLACE = 1.75, 0.9
"""Length of what touches the ring at one place, in widths of the stroke, from which on it is its
own end that curls; and share of all that touches it, at least, that is there."""
MIDDLE = 0.35
"""Depth of the middle of what is written, at least, as a share of its deepest: a 0's overlapping
ends are beside its rim."""


class RadialOutline(NamedTuple):
    """How far the ink of a part reaches from its middle, in each of `DIRECTIONS`.

    Attributes:
        middle: Column and row.
        nearest: Distance of its nearest pixel; infinite where there is none, [DIRECTIONS].
        farthest: Distance of its farthest one; 0 where there is none, [DIRECTIONS].
    """

    middle: NDArray[np.float64]
    nearest: NDArray[np.float64]
    farthest: NDArray[np.float64]

    @property
    def is_ring(self) -> bool:
        """Whether it is closed, but for a small gap, and round rather than lobed."""
        return self.goes_around(CLOSED)

    def goes_around(self, least: float) -> bool:
        """Whether it is there in this share of all directions, and round rather than lobed."""
        there = self.farthest > 0
        if there.mean() < least:
            return False
        angles = np.arange(DIRECTIONS)[there] * (2 * np.pi / DIRECTIONS)
        points = self.farthest[there, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
        corners = np.asarray(points, np.float32)
        return cv2.contourArea(corners) >= CONVEX * cv2.contourArea(cv2.convexHull(corners))

    def encloses(self, pixels: NDArray[np.intp]) -> bool:
        """Whether `pixels`, columns and rows [n,2], all lie nearer than its own."""
        distance, direction = _polar(pixels - self.middle)
        return bool((distance < self.nearest[direction]).all())


def without_ring(strokes: Mask, components: Components, ink: Plane) -> tuple[Mask, bool]:
    """Return `strokes` [h,w] without a ring around what is written, and whether there was one.

    The dot or slash in a 0 is not written in it.

    Args:
        strokes: The mask, [h,w].
        components: Its connected parts.
        ink: How much ink there is, [h,w].
    """
    for taken in range(MAX_RINGS):
        if components.parts < 2:
            return strokes, taken > 0
        ring = 1 + int((components.stats[1:, 2] * components.stats[1:, 3]).argmax())
        if not _is_around_writing(ring, components, ink):
            return strokes, taken > 0
        strokes = np.asarray(strokes & (components.labels != ring), np.uint8)
        components = components_of(strokes)
    return strokes, True


def without_touched_ring(strokes: Mask) -> tuple[Mask, bool]:
    """Return `strokes` [h,w] without a ring that the writing in it touches, and whether it has one.

    It is the even rim of one round part. The slash of a 0 touches it, too, and is not written.
    """
    contours = cv2.findContours(strokes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    contour = np.asarray(max(contours, key=cv2.contourArea, default=()), np.int32)
    if not _is_round(contour):
        return strokes, False
    left, top, width, height = cv2.boundingRect(contour)
    filled = np.zeros((height + 2, width + 2), np.uint8)
    cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED, offset=(1 - left, 1 - top))
    depth = np.asarray(cv2.distanceTransform(filled, cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)
    within = np.s_[top : top + height, left : left + width]
    thickness = _rim(np.rint(depth).astype(np.intp), strokes[within])
    if not 0 < thickness <= THINNEST * min(width, height):
        return strokes, False
    inner = np.asarray(strokes[within] & (depth > thickness + 1), np.uint8)
    if not _is_written(inner, depth, thickness):
        return strokes, False
    rest = strokes.copy()
    rest[within] = np.where(depth > 0, inner, rest[within])
    return rest, True


def _is_round(contour: NDArray[np.int32]) -> bool:
    """Whether an outline is round and about as wide as high, and larger than a dot."""
    if not contour.size:
        return False
    shorter, longer = sorted(cv2.boundingRect(contour)[2:])
    if shorter < SMALLEST_RING or longer > EVEN * shorter:
        return False
    return cv2.contourArea(contour) >= ROUND * cv2.contourArea(cv2.convexHull(contour))


def _rim(depth: NDArray[np.intp], strokes: Mask) -> int:
    """How many pixels deep the even rim of a round part is; 0 if what is inside is as full.

    Args:
        depth: How far each pixel is from what is outside the part, [h,w].
        strokes: The mask, [h,w].
    """
    around = np.bincount(depth.ravel())[1:]
    inked = np.bincount(depth[strokes > 0], minlength=len(around) + 1)[1:]
    full = inked >= RING * around
    thickness = int(full.argmin())
    inside = slice(thickness + 1, thickness + 3)
    is_apart = inked[inside].sum() <= APART * around[inside].sum()
    return thickness if is_apart and not full.all() else 0


def _is_written(inner: Mask, depth: NDArray[np.floating], thickness: int) -> bool:
    """Whether what is left in a ring, so deep in it [h,w], is written, and no mark of a 0's.

    Of a 0 whose rim is uneven, something is left near the rim alone. A straight stroke in the
    middle may be a 1, but is the slash of a 0 more often.
    """
    components = components_of(inner)
    longer = components.stats[:, 2:4].max(axis=1)
    longer[0] = 0
    main = int(longer.argmax())
    if longer[main] < max(TOUCHING * max(depth.shape), LEGIBLE):
        return False
    own = components.labels == main
    deepest = depth[own].max()
    if deepest < DEEP * depth.max() or _is_curl(own, own & (depth <= thickness + 2)):
        return False
    middle = np.argwhere(own & (depth >= MIDDLE * deepest))
    shorter, longest = _sides(np.asarray(middle, np.intp))
    return bool(shorter > STRAIGHT * longest)


def _is_curl(own: NDArray[np.bool_], touching: NDArray[np.bool_]) -> bool:
    """Whether a stroke [h,w] leaves the rim little by little and once, as the end of a 0 does."""
    places = components_of(touching.view(np.uint8)).stats[1:, 4]
    longest = int(places.max(initial=0))
    if longest < max(ONE_PLACE * places.sum(), 1):
        return False
    stroke = own.view(np.uint8)
    width = 4 * cv2.mean(cv2.distanceTransform(stroke, cv2.DIST_L2, 3), stroke)[0]
    return bool(longest >= ALONG * width)


def _is_around_writing(ring: int, components: Components, ink: Plane) -> bool:
    """Whether there is more in a part that may be a ring than a 0's dot or slash."""
    inside = enclosed_by(ring, components)
    if not inside.any():
        return False
    strength = components.ink(ink) / components.stats[:, 4]
    inside &= strength >= AS_STRONG * strength[ring]
    written = _written(ring, np.flatnonzero(inside), components)
    return len(written) > 1 or (len(written) == 1 and not is_slash(written[0], ring, components))


def _written(ring: int, parts: NDArray[np.intp], components: Components) -> list[int]:
    """Those of the parts in a ring that are too large for specks, and no marks of a 0's."""
    whole = components.stats[ring, 2:4].max()
    longer = components.stats[:, 2:4].max(axis=1)
    legible = [part for part in parts.tolist() if longer[part] >= max(SMALLEST * whole, LEGIBLE)]
    return [
        part
        for part in legible
        if longer[part] >= WRITTEN * whole or not _is_mark(part, components)
    ]


def _is_mark(part: int, components: Components) -> bool:
    """Whether a part is a stroke or a spot, as no digit but a 1 is."""
    pixels = _pixels(part, components)
    shorter, longer = _sides(pixels)
    return shorter <= THIN * longer or len(pixels) >= SPOT * shorter * longer


def enclosed_by(ring: int, components: Components) -> NDArray[np.bool_]:
    """Whether each part lies in the one numbered `ring`, if that is a ring, [n]."""
    stats = components.stats
    low, high = stats[:, :2], stats[:, :2] + stats[:, 2:4]
    inside: NDArray[np.bool_] = ((low > low[ring]) & (high < high[ring])).all(axis=1)
    if not inside.any():
        return inside
    outline = outline_of(ring, components)
    if not outline.goes_around(OPEN):
        return np.zeros(len(stats), np.bool_)
    for part in np.flatnonzero(inside).tolist():
        inside[part] = outline.encloses(_pixels(part, components))
    return inside


def outline_of(part: int, components: Components) -> RadialOutline:
    """How far the ink of the part reaches from the middle of its box."""
    pixels = _pixels(part, components)
    middle = np.asarray((pixels.min(axis=0) + pixels.max(axis=0)) / 2)
    distance, direction = _polar(pixels - middle)
    nearest, farthest = np.full(DIRECTIONS, np.inf), np.zeros(DIRECTIONS)
    np.minimum.at(nearest, direction, distance)
    np.maximum.at(farthest, direction, distance)
    return RadialOutline(middle, nearest, farthest)


def is_slash(part: int, ring: int, components: Components) -> bool:
    """Whether a part in a ring, a 0, is one straight line and not upright."""
    pixels = _pixels(part, components)
    thickness, length = _sides(pixels)
    if thickness > STRAIGHT * length:
        return False
    _, _, width, height, _ = components.stats[ring].tolist()
    wide, high = (np.ptp(pixels, axis=0) + 1).tolist()
    if width <= NARROW * height:
        return bool(wide >= SLANTED * high)
    return bool(wide >= MORE_SLANTED * high and length >= SPANNING * max(width, height))


def _sides(pixels: NDArray[np.intp]) -> tuple[float, float]:
    """Shorter and longer side of the smallest box, however turned, around pixels [n,2]."""
    _, (one, other), _ = cv2.minAreaRect(np.asarray(pixels, np.float32))
    return min(one, other) + 1, max(one, other) + 1


def _pixels(part: int, components: Components) -> NDArray[np.intp]:
    """Columns and rows [n,2] of a part."""
    left, top, width, height = components.stats[part, :4].tolist()
    within = components.labels[top : top + height, left : left + width] == part
    return np.asarray(np.argwhere(within)[:, ::-1] + (left, top), np.intp)


def _polar(steps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distance and direction, of `DIRECTIONS`, of steps from the middle, [n,2]."""
    turn = np.arctan2(steps[:, 1], steps[:, 0]) * (DIRECTIONS / (2 * np.pi))
    return np.hypot(steps[:, 0], steps[:, 1]), np.rint(turn).astype(np.intp) % DIRECTIONS
