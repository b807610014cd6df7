"""The row that stands out in a picture: the ink of its digits alone, level and reduced.

The ink's connected parts are joined to rows, and the weightiest is cut from the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .box import Box, bounds, cut, sides, widened
from .components import Components
from .digit import INK_SIDE, THICKENED_SIDE, ink_box, leveled, thickened
from .grayscale import GrayImage, reduced
from .ink import MAX_SIDE, InkMap, Mask, Plane, ink_above, median, noise_of, spread

Matrix = NDArray[np.float64]
"""[2,3], from pixels of a plane to the picture's."""

ROW_HEIGHT = 56
"""Pixels of the row's height from which on the picture it is cut from is reduced: nearly three for
each of a digit's."""
MAX_PARTS = 64
"""Connected parts that are looked at, at most; the weightiest."""
DUST, SPECK = 0.008, 0.02
"""Weight of dust and of a speck, at most, as shares of the weightiest part's. No row begins with a
speck; dust is left out."""
OUTER = 0.1
"""Weight of a part that touches the border, which may belong to something else, as a share."""
BAND, OUTER_HEIGHT = 0.35, 0.75
"""How far such a part may stand out above or below the row, in heights of the row, and its own
height, at least, in usual heights of the other parts: it may be a shadow's edge or half a digit."""
LOST_GAP, LOST_INK = 1.0, 0.5
"""How far from the row, at most, in heights of its digits, a part at the border that is not of it
may have one of its digits in it; and its ink, at least, in that of a usual digit."""
SMALL = 0.3
"""Height of a mark beside a digit, such as a comma, at most, as a share of the digit's."""
ROW_OVERLAP = 0.5
"""Share of the lower part's height in which two parts of a row stand beside each other."""
ROW_GAP = 4.0
"""Gap in a row, at most, in heights of the digits beside it."""
RIVAL = 0.5
"""Weight of another row, as a share of the row's, from which on neither stands out."""
LEVEL_SLOPE = 0.05
"""Rise of a row, as a share of its length, from which on it is leveled."""
GRAIN = 24
"""Level of 255 below which what is left of a grainy ground is no ink."""


@dataclass(frozen=True, slots=True, eq=False)
class Blobs:
    """Connected parts of ink, the weightiest first.

    Attributes:
        labels: Of those that were numbered, which each is, [n].
        edges: Left, top, right, bottom of each, [4,n].
        weight: The ink in each, [n].
        outer: Whether each touches the picture's border, [n].
    """

    labels: NDArray[np.intp]
    edges: NDArray[np.int32]
    weight: NDArray[np.float64]
    outer: NDArray[np.bool_]

    @property
    def high(self) -> NDArray[np.int32]:
        """The height of each, [n]."""
        return np.asarray(self.edges[3] - self.edges[1])

    @property
    def large(self) -> NDArray[np.bool_]:
        """Whether each is more than a speck or a mark, [n]."""
        longer = np.maximum(self.high, self.edges[2] - self.edges[0])
        return np.asarray(
            (self.weight > SPECK * self.weight[0]) & (longer > SMALL * longer[0]), np.bool_
        )


class RowParts(NamedTuple):
    """The parts of the weightiest row.

    Attributes:
        mask: Where they are, 0 or 1 [h,w].
        boxes: Left, top, width and height of each, [n,4].
        several: Another row is nearly as weighty.
        lacks_digit: A digit of it may be in what touches the border.
    """

    mask: Mask
    boxes: NDArray[np.int32]
    several: bool
    lacks_digit: bool


def row_of(strokes: Mask, components: Components, ink: Plane) -> RowParts:
    """Keep the parts of `strokes` [h,w], its `components`, that form the weightiest row."""
    labels, stats, _ = components
    blobs = blobs_of(stats, components.ink(ink), strokes.shape)
    members, several, lacks_digit = _members(blobs)
    keep = np.zeros(len(stats), bool)
    keep[blobs.labels[members]] = True
    mask = strokes if keep[1:].all() else np.asarray(keep[labels], np.uint8)
    return RowParts(mask, stats[keep, :4], several, lacks_digit)


def blobs_of(
    stats: NDArray[np.int32], weight: NDArray[np.float64], shape: tuple[int, ...]
) -> Blobs:
    """The weightiest parts in a plane of `shape`, by OpenCV's statistics [n,5]; 0 is the ground."""
    left, top, wide, high = stats[:, :4].T
    edges = np.stack((left, top, left + wide, top + high))
    height, width = shape
    outer = (edges[:2] == 0).any(axis=0) | (edges[2] == width) | (edges[3] == height)
    weight = np.where(outer, OUTER * weight, weight)
    weight[0] = 0
    order = np.argsort(weight)[::-1][: min(MAX_PARTS, len(weight) - 1)]
    order = order[weight[order] > DUST * weight[order[0]]]
    return Blobs(order, edges[:, order], weight[order], outer[order])


def _members(blobs: Blobs) -> tuple[NDArray[np.bool_], bool, bool]:
    """Which parts are the weightiest row's, [n].

    And whether another row is nearly as weighty, and whether this one may lack a digit.
    """
    large, beside = blobs.large, _beside(*blobs.edges)
    rows = _closure(beside & large & large[:, None])
    sums = (rows * blobs.weight).sum(axis=1) * large
    main = int(sums.argmax())
    several = bool(np.where(rows[main], 0, sums).max(initial=0) > RIVAL * sums[main])
    members = rows[main] & _in_band(blobs, rows[main])
    lacks_digit = _has_lost(blobs, rows[main] & ~members, members)
    # A small part belongs to the row where it stands beside one of its digits, or between them.
    small = ~large & ~blobs.outer & beside[:, members].any(axis=1)
    return members | small, several, lacks_digit


def _in_band(blobs: Blobs, row: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each part may be of a row [n]: at the border only what stands as its other parts."""
    inner = row & ~blobs.outer
    if not blobs.outer.any() or not inner.any():
        return np.ones(len(row), np.bool_)
    _, top, _, bottom = blobs.edges
    highest, lowest = top[inner].min(), bottom[inner].max()
    slack = BAND * (lowest - highest)
    inside = (top >= highest - slack) & (bottom <= lowest + slack)
    tall = blobs.high >= OUTER_HEIGHT * median(blobs.high[inner])
    return np.asarray(~blobs.outer | (inside & tall))


def _has_lost(blobs: Blobs, lost: NDArray[np.bool_], row: NDArray[np.bool_]) -> bool:
    """Whether a part that the row has lost may have a digit of it in it.

    A digit that a stray line ties to the border is one; half a digit and a shadow's edge are none.
    """
    if not lost.any():
        return False
    left, top, right, bottom = blobs.edges
    usual = median(blobs.high[row])
    within = np.minimum(bottom, bottom[row].max()) - np.maximum(top, top[row].min())
    apart = np.maximum(left[row].min() - right, left - right[row].max())
    near = (within >= OUTER_HEIGHT * usual) & (apart <= LOST_GAP * usual)
    inked = blobs.weight >= OUTER * LOST_INK * median(blobs.weight[row])
    return bool((lost & near & inked).any())


def _beside(
    left: NDArray[np.int32],
    top: NDArray[np.int32],
    right: NDArray[np.int32],
    bottom: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Whether parts stand beside each other in a row, [n,n]."""
    high = bottom - top
    shared = np.minimum(bottom, bottom[:, None]) - np.maximum(top, top[:, None])
    gap = np.maximum(left, left[:, None]) - np.minimum(right, right[:, None])
    near = gap <= ROW_GAP * np.maximum(high, high[:, None])
    above_each_other = shared < ROW_OVERLAP * np.minimum(high, high[:, None])
    # Strokes of one digit, as the two of a 5, may lie above each other where they are close.
    across = -gap > 0.1 * np.minimum(right - left, (right - left)[:, None])
    close = -shared < 0.25 * np.maximum(high, high[:, None])
    return np.asarray(near & (~above_each_other | (across & close)))


def _closure(linked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The transitive closure of a symmetric relation [n,n]."""
    reached = linked | np.eye(len(linked), dtype=bool)
    while True:
        further = reached @ reached
        if (further == reached).all():
            return reached
        reached = further


def leveled_row(
    gray: GrayImage, factor: int, found: InkMap, parts: RowParts
) -> tuple[Plane, Matrix]:
    """The ink of the row alone, level, its strokes as wide as MNIST's, and where it lies.

    Args:
        gray: The picture, [h,w].
        factor: How many of its pixels a pixel of `found` spans.
        found: The picture's ink.
        parts: The row's, in `found`.
    """
    height, slope = course(parts.boxes)
    plane, place = row_plane(gray, factor, found, parts.mask, height)
    if abs(slope) > LEVEL_SLOPE:
        plane, place = straightened(plane, place, slope)
    return with_full_strokes(plane, place)


def course(boxes: NDArray[np.int32]) -> tuple[float, float]:
    """The usual height of a row's larger parts, and the slope of their middles, downwards.

    The boxes [n,4] are left, top, width and height. Of fewer than three, the slope is 0: a 9 may
    stand lower than a 4.
    """
    tall = boxes[boxes[:, 3] > 0.6 * boxes[:, 3].max()]
    height = median(tall[:, 3])
    if len(tall) < 3:
        return height, 0.0
    x, y = tall[:, 0] + tall[:, 2] / 2, tall[:, 1] + tall[:, 3] / 2
    spread_x = x - x.mean()
    extent = float(spread_x @ spread_x)
    return height, float(spread_x @ (y - y.mean())) / extent if extent else 0.0


def row_plane(
    gray: GrayImage, factor: int, found: InkMap, kept: Mask, height: float
) -> tuple[Plane, Matrix]:
    """The ink of the row alone, reduced so that digits have at least `ROW_HEIGHT` pixels.

    Args:
        gray: The picture, [h,w].
        factor: How many of its pixels a pixel of `found` spans.
        found: The picture's ink.
        kept: Where the row's is, of the size of `found`.
        height: The usual height of its digits, in pixels of `found`.

    Returns:
        The ink [h,w], its strokes as white as MNIST's, and the map to the picture's pixels.
    """
    near = _surroundings(kept)
    x, y, right, bottom = (edge * factor for edge in near)
    if (near[3], near[2]) == kept.shape:
        right, bottom = gray.shape[1], gray.shape[0]
    unit = max(1, int(height * factor) // ROW_HEIGHT, -(-(right - x) // MAX_SIDE))
    whole = reduced(gray[y:bottom, x:right], unit)
    ground = found.ground
    if not isinstance(ground, int):
        ground = resized(cut(ground, near), whole.shape)
    ink = ink_above(whole, ground, dark=found.dark).copy()
    dropped = found.mask & (1 - kept)
    if dropped.any():
        ink = np.asarray(ink * (1.0 - resized(cut(spread(dropped, kept), near), ink.shape)))
    floor = noise_of(found.ink, found.mask)
    ink = np.asarray(leveled(ink, floor), np.float32)
    if floor:
        ink[ink < GRAIN] = 0
    return ink, np.array([[unit, 0.0, x], [0.0, unit, y]])


def _surroundings(kept: Mask) -> Box:
    """The box of a row's mask [h,w], and a little around it."""
    box = bounds(kept)
    return widened(box, 2 + sides(box)[1] // 16, kept.shape)


def with_full_strokes(plane: Plane, place: Matrix) -> tuple[Plane, Matrix]:
    """Cut the box of the ink from a row [h,w], and make hairlines in it as wide as MNIST's."""
    box = ink_box(plane, 0)
    if box is None:
        return plane, place
    ink = cut(plane, box)
    thick = thickened(ink, min(ink.shape[0], THICKENED_SIDE) / INK_SIDE)
    rim = (thick.shape[0] - ink.shape[0]) / 2
    moved = place.copy()
    moved[:, 2] += place[:, :2] @ (np.array(box[:2]) - rim)
    return thick, moved


def resized(small: GrayImage, shape: tuple[int, ...]) -> GrayImage:
    """`small` at `shape`, whichever is larger."""
    if small.shape == shape:
        return small
    size = shape[1], shape[0]
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def straightened(plane: Plane, place: Matrix, slope: float) -> tuple[Plane, Matrix]:
    """Level a row [h,w] that rises: columns are moved up and down, and its strokes stay upright."""
    height, width = plane.shape
    drop = slope * width
    forward = np.array([[1.0, 0.0, 0.0], [-slope, 1.0, max(0.0, drop)]])
    size = width, height + int(np.ceil(abs(drop)))
    moved = np.asarray(cv2.warpAffine(plane, forward, size), np.float32)
    back = cv2.invertAffineTransform(forward)
    return moved, np.asarray(place[:, :2] @ back + np.column_stack((np.zeros((2, 2)), place[:, 2])))
