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
CLOSED = 0.9
"""Share of them in which there is some of it, at least."""
CONVEX = 0.92
"""Share of its convex hull that it encloses, at least. The outline of a hollow 6 is no ring."""
WRITTEN = 0.22
"""Longer side of a part of what is written in a ring, at least, as a share of the ring's: less is a
dot, and the ring a 0."""
AS_STRONG = 0.6
"""Its ink, at least, as a share of the ring's: less is what a rule or a shadow leaves in a 0."""
STRAIGHT = 0.25
"""Width of the slash in a 0, at most, as a share of its length."""
SLANTED = 0.35, 3.0
"""Width of its box, as a share of the height: a 1 is narrower, a dash wider."""


class Outline(NamedTuple):
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
        there = self.farthest > 0
        if there.mean() < CLOSED:
            return False
        angles = np.arange(DIRECTIONS)[there] * (2 * np.pi / DIRECTIONS)
        points = self.farthest[there, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
        corners = np.asarray(points, np.float32)
        return cv2.contourArea(corners) >= CONVEX * cv2.contourArea(cv2.convexHull(corners))

    def encloses(self, pixels: NDArray[np.intp]) -> bool:
        """Whether `pixels`, columns and rows [n,2], all lie nearer than its own."""
        distance, direction = _polar(pixels - self.middle)
        return bool((distance < self.nearest[direction]).all())


def without_ring(strokes: Mask, ink: Plane) -> tuple[Mask, bool]:
    """Return `strokes` [h,w] without a ring around what is written, and whether there was one.

    The dot or slash in a 0 is not written in it.

    Args:
        strokes: The mask, [h,w].
        ink: How much ink there is, [h,w].
    """
    components = components_of(strokes)
    if components.parts < 2:
        return strokes, False
    stats = components.stats
    ring = 1 + int((stats[1:, 2] * stats[1:, 3]).argmax())
    inside = enclosed_by(ring, components)
    if inside.any():
        strength = components.ink(ink) / stats[:, 4]
        inside &= strength >= AS_STRONG * strength[ring]
    parts = np.flatnonzero(inside)
    if not _is_written(components, parts, ring):
        return strokes, False
    return np.asarray(strokes & (components.labels != ring), np.uint8), True


def enclosed_by(ring: int, components: Components) -> NDArray[np.bool_]:
    """Whether each part lies in the one numbered `ring`, if that is a ring, [n]."""
    stats = components.stats
    low, high = stats[:, :2], stats[:, :2] + stats[:, 2:4]
    inside: NDArray[np.bool_] = ((low > low[ring]) & (high < high[ring])).all(axis=1)
    if not inside.any():
        return inside
    outline = outline_of(ring, components)
    if not outline.is_ring:
        return np.zeros(len(stats), np.bool_)
    for part in np.flatnonzero(inside).tolist():
        inside[part] = outline.encloses(_pixels(part, components))
    return inside


def outline_of(part: int, components: Components) -> Outline:
    """How far the ink of the part reaches from the middle of its box."""
    pixels = _pixels(part, components)
    middle = np.asarray((pixels.min(axis=0) + pixels.max(axis=0)) / 2)
    distance, direction = _polar(pixels - middle)
    nearest, farthest = np.full(DIRECTIONS, np.inf), np.zeros(DIRECTIONS)
    np.minimum.at(nearest, direction, distance)
    np.maximum.at(farthest, direction, distance)
    return Outline(middle, nearest, farthest)


def _is_written(components: Components, parts: NDArray[np.intp], ring: int) -> bool:
    """Whether `parts` are large enough for writing, and no slash in a 0."""
    sizes = components.stats[parts, 2:4]
    large = sizes.max(axis=1) >= WRITTEN * components.stats[ring, 2:4].max()
    if large.sum() != 1:
        return bool(large.any())
    return not _is_slash(_pixels(parts[large][0], components))


def _is_slash(pixels: NDArray[np.intp]) -> bool:
    """Whether `pixels` [n,2] are one slanted line."""
    narrowest, widest = SLANTED
    size = np.ptp(pixels, axis=0) + 1
    (_, sides, _) = cv2.minAreaRect(np.asarray(pixels, np.float32))
    is_straight = min(sides) + 1 <= STRAIGHT * (max(sides) + 1)
    return is_straight and bool(narrowest * size[1] <= size[0] <= widest * size[1])


def _pixels(part: int, components: Components) -> NDArray[np.intp]:
    """Columns and rows [n,2] of a part."""
    left, top, width, height = components.stats[part, :4].tolist()
    within = components.labels[top : top + height, left : left + width] == part
    return np.asarray(np.argwhere(within)[:, ::-1] + (left, top), np.intp)


def _polar(steps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distance and direction, of `DIRECTIONS`, of steps from the middle, [n,2]."""
    turn = np.arctan2(steps[:, 1], steps[:, 0]) * (DIRECTIONS / (2 * np.pi))
    return np.hypot(steps[:, 0], steps[:, 1]), np.rint(turn).astype(np.intp) % DIRECTIONS
