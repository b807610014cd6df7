"""GrayImage pixels -> the row of digits that stands out, cut in more places than it has digits.

The ink is found as for a single digit, on a picture that is wide enough for a row. Its connected
parts are joined to rows, and the weightiest is cut from the picture. A cut is a seam: the cheapest
way from above the row to below it, which costs what ink it crosses. Between digits that stand apart
a seam is free, however they slant; where they touch it goes through the thinnest place.

What lies between any two cuts that are near enough is a candidate: it is brought to MNIST's form as
`normalize` does it, and described by its shape and the cuts around it. Which candidates are the
digits is for the reader to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .grayscale import GrayImage, reduced
from .ink import InkMap, Mask, Plane, find_ink, ink_above, noise_of
from .normalize import (
    GRAINY_PARTS,
    INK_SIDE,
    MAX_SIDE,
    SIDE,
    THICKENED_SIDE,
    Box,
    boxed,
    count_parts,
    cut,
    ink_box,
    is_shade,
    leveled,
    spread,
    thickened,
)
from .rules import without_lines

FINDING_SHORTER, FINDING_LONGER = 180, 900
"""Pixels of the shorter and the longer side, at most, of the picture that the row is found on."""
ROW_HEIGHT = 56
"""Pixels of the row's height from which on the picture it is cut from is reduced: nearly three for
each of a digit's."""
SEAM_HEIGHT = 32
"""The same for the plane that seams are sought on."""
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

ANCHORS = (0.5, 0.25, 0.75)
"""Places, from the top of a row, through which seams are sought."""
ALIKE = 0.07
"""Mean distance of two seams up to which they are one, in heights of the row."""
WHITE_COST = 0.004
"""What a seam pays for a pixel without ink, so that it is straight where nothing is in its way."""
SIDE_COST = 0.02
"""What it pays for each step to the side."""
FREE = 0.04
"""Ink that a seam between two digits crosses, at most, as a share of the row's height."""
DEEPEST = 0.6
"""Ink that any seam crosses, at most, as a share of the row's height."""
SPACING = 0.14
"""Distance of cuts through ink, at least, as a share of the row's height."""
NARROW = 0.4
"""Width of what is not cut, in heights of the row."""
WIDEST = 1.35
"""Width of a candidate, at most, in heights of the row."""
WIDEST_PIECE = 2.2
"""The same of a whole piece of ink: a digit may lie on its side, as a flat 2 does."""
WIDEST_GAP = 0.45
"""Gap inside a candidate, at most, in heights of the row."""
MAX_SPAN = 6
"""Parts of a candidate, at most."""
CUTS_A_HEIGHT = 5
"""Seams through a piece of ink, at most, for each height of the row that they spread over."""
MAX_CANDIDATES = 160
"""Candidates of a row, at most; the rest of a row that has more is not read."""
MAX_CUTS = 64
"""Cuts of a row, at most; those that cross least ink."""
GRAIN = 24
"""Level of 255 below which what is left of a grainy ground is no ink."""
BLACK, FAINT = 160, 48
"""Levels of 255 from which on a seam pays for a pixel in full, and above which ink has a box."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What may be a digit: the ink between two cuts, for every pair of cuts that is near enough.

    Attributes:
        spans: The cuts before and after each, counted from 0 at the row's left end, [n,2].
        digits: In MNIST's form, [n,28,28].
        boxes: Left, top, right, bottom in the picture's pixels, [n,4].
        shapes: The figures named in `SHAPE`, [n,len(SHAPE)].
    """

    spans: NDArray[np.intp]
    digits: GrayImage
    boxes: NDArray[np.float64]
    shapes: NDArray[np.float32]


SHAPE = ("width", "height", "middle", "left", "right", "inside", "gap", "mass")
"""A candidate's figures, in heights of the row's digits: width and height; its middle's distance
from the row's, upwards; the ink that the cuts to its left and right cross; the least ink that a
cut inside it crosses, 1 where there is none; the widest gap inside it, −1 where there is none; its
ink as a share of the usual."""


def _no_candidates() -> Candidates:
    return Candidates(
        np.empty((0, 2), np.intp),
        np.empty((0, 28, 28), np.uint8),
        np.empty((0, 4)),
        np.empty((0, len(SHAPE)), np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedRow:
    """A row of digits, cut into candidates.

    Attributes:
        inverted: The picture is dark ink on light ground.
        box: Left, top, right, bottom of the row in the picture's pixels; None where it is blank.
        several_lines: There is another row that is as weighty.
        cuts: Places at which the row may be cut, both of its ends included.
        candidates: What lies between them.
    """

    inverted: bool
    box: Box | None = None
    several_lines: bool = False
    cuts: int = 0
    candidates: Candidates = field(default_factory=_no_candidates)

    def scaled(self, scale: float) -> SegmentedRow:
        """The same row in a picture whose sides are `scale` times as long."""
        if scale == 1 or self.box is None:
            return self
        left, top, right, bottom = (round(edge * scale) for edge in self.box)
        found = self.candidates
        candidates = Candidates(found.spans, found.digits, found.boxes * scale, found.shapes)
        return SegmentedRow(
            self.inverted, (left, top, right, bottom), self.several_lines, self.cuts, candidates
        )


def segment(gray: GrayImage) -> SegmentedRow:
    """Cut the row that stands out in `gray` [h,w] of any size into candidates."""
    factor = max(1, -(-min(gray.shape) // FINDING_SHORTER), -(-max(gray.shape) // FINDING_LONGER))
    found = find_ink(reduced(gray, factor))
    parts = count_parts(found.mask)
    if parts > GRAINY_PARTS:
        if factor > 2:
            return segment(reduced(gray, factor)).scaled(factor)
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), 1.5 * factor), np.uint8)
        found = find_ink(reduced(gray, factor))
        parts = count_parts(found.mask)
    if not parts:
        return SegmentedRow(found.dark)
    strokes, _ = without_lines(found.mask, single=parts == 1, row=True)
    kept, several_lines = row_of(strokes, found.ink)
    if not kept.any() or is_shade(kept, found.ink):
        return SegmentedRow(found.dark)
    height, slope = course(kept)
    plane, place = row_plane(gray, factor, found, kept, height)
    if abs(slope) > LEVEL_SLOPE:
        plane, place = straightened(plane, place, slope)
    plane, place = with_full_strokes(plane, place)
    cuts, candidates = candidates_of(plane, place, gray.shape)
    if not len(candidates.spans):
        return SegmentedRow(found.dark)
    left, top = candidates.boxes[:, :2].min(axis=0)
    right, bottom = candidates.boxes[:, 2:].max(axis=0)
    box = int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))
    return SegmentedRow(found.dark, box, several_lines, cuts, candidates)


# ------------------------------------------------------------------------------ the row


def row_of(strokes: Mask, ink: Plane) -> tuple[Mask, bool]:
    """Keep the parts of `strokes` [h,w] that form the weightiest row.

    Returns:
        The row's mask, and whether another row is nearly as weighty.
    """
    labels: Any
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strokes)
    weight = np.bincount(labels.ravel(), ink.ravel(), count)
    weight[0] = 0
    left, top, wide, high = stats[:, :4].T
    right, bottom = left + wide, top + high
    height, width = strokes.shape
    outer = (left == 0) | (top == 0) | (right == width) | (bottom == height)
    weight[outer] *= OUTER
    order = np.argsort(weight)[::-1][: min(MAX_PARTS, count - 1)]
    order = order[weight[order] > DUST * weight[order[0]]]
    left, top, right, bottom, outer = (of[order] for of in (left, top, right, bottom, outer))
    wide, high = right - left, bottom - top
    large = (weight[order] > SPECK * weight[order[0]]) & (
        np.maximum(high, wide) > SMALL * np.maximum(high, wide)[0]
    )
    beside = _beside(left, top, right, bottom)
    row = _closure(beside & large & large[:, None])
    sums = (row * weight[order]).sum(axis=1) * large
    main = int(sums.argmax())
    members = row[main].copy()
    others = np.where(row[main], 0, sums)
    if (inner := members & ~outer).any():
        slack = BAND * (bottom[inner].max() - top[inner].min())
        inside = (top >= top[inner].min() - slack) & (bottom <= bottom[inner].max() + slack)
        members &= ~outer | (inside & (high >= OUTER_HEIGHT * np.median(high[inner])))
    # A small part belongs to the row where it stands beside one of its digits, or between them.
    members |= ~large & ~outer & beside[:, members].any(axis=1)
    several = bool(others.max(initial=0) > RIVAL * sums[main])
    keep = np.zeros(count, bool)
    keep[order[members]] = True
    return np.asarray(keep[labels], np.uint8), several


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


def course(kept: Mask) -> tuple[float, float]:
    """The usual height of a row's larger parts, and the slope of their middles, downwards.

    Of fewer than three, the slope is 0: a 9 may stand lower than a 4.
    """
    stats = cv2.connectedComponentsWithStats(kept)[2][1:]
    tall = stats[stats[:, 3] > 0.6 * stats[:, 3].max()]
    height = float(np.median(tall[:, 3]))
    if len(tall) < 3:
        return height, 0.0
    x, y = tall[:, 0] + tall[:, 2] / 2, tall[:, 1] + tall[:, 3] / 2
    spread_x = x - x.mean()
    extent = float(spread_x @ spread_x)
    return height, float(spread_x @ (y - y.mean())) / extent if extent else 0.0


Matrix = NDArray[np.float64]
"""[2,3], from pixels of a plane to the picture's."""


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
    left, top, wide, high = cv2.boundingRect(kept)
    floor = noise_of(found.ink, found.mask)
    dropped = found.mask & (1 - kept)
    margin = 2 + high // 16
    near = (
        max(0, left - margin),
        max(0, top - margin),
        min(kept.shape[1], left + wide + margin),
        min(kept.shape[0], top + high + margin),
    )
    x, y, right, bottom = (edge * factor for edge in near)
    if (near[3], near[2]) == kept.shape:
        right, bottom = gray.shape[1], gray.shape[0]
    unit = max(1, int(height * factor) // ROW_HEIGHT, -(-(right - x) // MAX_SIDE))
    whole = reduced(gray[y:bottom, x:right], unit)
    ground = found.ground
    if not isinstance(ground, int):
        ground = resized(cut(ground, near), whole.shape)
    ink = ink_above(whole, ground, dark=found.dark).copy()
    if dropped.any():
        ink = np.asarray(ink * (1.0 - resized(cut(spread(dropped, kept), near), ink.shape)))
    ink = np.asarray(leveled(ink, floor), np.float32)
    if floor:
        ink[ink < GRAIN] = 0
    return ink, np.array([[unit, 0.0, x], [0.0, unit, y]])


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


# ----------------------------------------------------------------------------- the cuts


def seams(ink: Plane) -> NDArray[np.intp]:
    """The seams through `ink` [h,w], in 0–1, that may divide two digits.

    Returns:
        The first column to the right of each, in each row of pixels, [n,h], from left to right.
    """
    height = ink.shape[0]
    cost = ink + np.float32(WHITE_COST)
    total, steps = _cheapest(np.stack((cost, cost[::-1]), axis=1))
    found: list[NDArray[np.intp]] = []
    for share in ANCHORS:
        anchor = int(share * height)
        through = total[anchor, 0] + total[height - 1 - anchor, 1] - cost[anchor]
        chosen = _minima(through - np.float32(WHITE_COST * height), height)
        columns = np.empty((len(chosen), height), np.intp)
        columns[:, anchor] = chosen
        for y in range(anchor, 0, -1):
            columns[:, y - 1] = columns[:, y] + steps[y, 0, columns[:, y]]
        for y in range(anchor, height - 1):
            columns[:, y + 1] = columns[:, y] + steps[height - 1 - y, 1, columns[:, y]]
        found.append(columns)
    return np.sort(_distinct(np.concatenate(found), ink), axis=0)


def _distinct(columns: NDArray[np.intp], ink: Plane) -> NDArray[np.intp]:
    """Of seams [n,h] that are `ALIKE`, the one that crosses least ink."""
    height = ink.shape[0]
    crossed = ink[np.arange(height), columns].sum(axis=1)
    kept: list[int] = []
    for index in np.argsort(crossed, kind="stable"):
        apart = np.abs(columns[kept] - columns[index]).mean(axis=1)
        if not kept or apart.min() > ALIKE * height:
            kept.append(int(index))
    return columns[kept]


def _cheapest(cost: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """The cost of the cheapest way from the first row to each pixel, and its last step, [h,2,w]."""
    total = np.empty_like(cost)
    steps = np.zeros(cost.shape, np.int8)
    total[0] = cost[0]
    side = np.float32(SIDE_COST)
    padded = np.full((2, cost.shape[2] + 2), np.inf, np.float32)
    straight, left, right = padded[:, 1:-1], padded[:, :-2], padded[:, 2:]
    for y in range(1, len(cost)):
        straight[:] = total[y - 1]
        sideways = np.minimum(left, right) + side
        aside = sideways < straight
        steps[y] = np.where(aside, np.where(left <= right, -1, 1), 0)
        np.add(np.where(aside, sideways, straight), cost[y], out=total[y])
    return total, steps


def _minima(crossed: NDArray[np.float32], height: int) -> NDArray[np.intp]:
    """The columns whose seams are kept, by the ink that the best seam through each crosses.

    These are the middle of each gap, and in what lies between two gaps the cheapest columns that
    are `SPACING` apart.
    """
    width = len(crossed)
    free = (crossed < FREE * height).view(np.int8)
    edges = [int(edge) for edge in np.flatnonzero(np.diff(free, prepend=0, append=0))]
    gaps = list(zip(edges[::2], edges[1::2], strict=True))
    kept = [(start + stop) // 2 for start, stop in gaps if start > 0 and stop < width]
    starts, stops = [0, *(stop for _, stop in gaps)], [*(start for start, _ in gaps), width]
    spacing = max(3, round(SPACING * height))
    for start, stop in zip(starts, stops, strict=True):
        if stop - start > NARROW * height:
            valleys = _valleys(crossed[start:stop], spacing, DEEPEST * height)
            kept += [start + at for at in valleys]
    return np.array(sorted(kept), np.intp)


def _valleys(crossed: NDArray[np.float32], spacing: int, deepest: float) -> list[int]:
    """The lowest local minima, at least `spacing` apart and from the ends."""
    inner = crossed[1:-1]
    low = (inner <= crossed[:-2]) & (inner <= crossed[2:]) & (inner <= deepest)
    places = np.flatnonzero(low) + 1
    places = places[(places >= spacing) & (places < len(crossed) - spacing)]
    taken: list[int] = []
    for at in places[np.argsort(crossed[places], kind="stable")]:
        if all(abs(int(at) - other) >= spacing for other in taken):
            taken.append(int(at))
    return taken


# ----------------------------------------------------------------------- the candidates


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What the seams divide a row into, from left to right.

    Attributes:
        labels: The part of each pixel of the row, [h,w].
        boxes: Left, top, right, bottom of each part's ink in the row's pixels, [n,4].
        crossed: The ink that each seam crosses, in pixels, the row's ends included, [n+1].
    """

    labels: NDArray[np.intp]
    boxes: NDArray[np.intp]
    crossed: NDArray[np.float64]

    def pieces(self, height: float) -> list[tuple[int, int]]:
        """The seams on both sides of each piece of ink, of rows whose digits have this height."""
        free = np.flatnonzero(self.crossed <= FREE * height)
        return [(int(start), int(stop)) for start, stop in pairwise(free)]

    @property
    def height(self) -> float:
        """The usual height of the larger pieces of ink, which free seams divide."""
        height = self.labels.shape[0]
        starts = np.flatnonzero(self.crossed[:-1] <= FREE * height)
        tops = np.minimum.reduceat(self.boxes[:, 1], starts)
        bottoms = np.maximum.reduceat(self.boxes[:, 3], starts)
        heights = bottoms - tops
        return float(np.median(heights[heights > 0.5 * heights.max()]))


def parts_of(plane: Plane) -> Parts | None:
    """Divide a row `plane` [h,w] by its seams; None where it has no ink."""
    height, width = plane.shape
    factor = max(1, height // SEAM_HEIGHT)
    rest = (0, -height % factor), (0, -width % factor)
    padded = np.asarray(np.pad(plane, rest), np.float32)
    size = padded.shape[1] // factor, padded.shape[0] // factor
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    ink: Plane = np.minimum(small * np.float32(1 / BLACK), 1)
    columns = seams(ink)
    rows = np.arange(len(ink))
    crossed = ink[rows, columns].sum(axis=1) * factor
    kept = _fewer(columns, crossed, height)
    columns, crossed = columns[kept], crossed[kept]
    if len(columns) >= MAX_CUTS:
        cheapest = np.sort(np.argsort(crossed, kind="stable")[: MAX_CUTS - 1])
        columns, crossed = columns[cheapest], crossed[cheapest]
    while True:
        labels = _labels(columns, ink.shape, factor)[:height, :width]
        boxes = _boxes(labels, plane, len(columns) + 1)
        empty = np.flatnonzero(boxes[:, 2] == 0)
        if not len(empty):
            crossed = np.concatenate(([0.0], crossed, [0.0]))
            return Parts(labels, boxes, crossed)
        if not len(columns):
            return None
        # Without ink between them, two seams are one: the cheaper stays.
        gone = [_dearer(int(part), crossed) for part in empty]
        columns, crossed = np.delete(columns, gone, axis=0), np.delete(crossed, gone)


def _fewer(
    columns: NDArray[np.intp], crossed: NDArray[np.float64], height: int
) -> NDArray[np.bool_]:
    """The seams that are kept: in each piece of ink as many of the cheapest as it is wide."""
    kept = np.ones(len(crossed), bool)
    free = [-1, *np.flatnonzero(crossed <= FREE * height).tolist(), len(crossed)]
    for before, after in pairwise(free):
        inside = np.arange(before + 1, after)
        if not len(inside):
            continue
        middle = columns[inside].mean(axis=1)
        most = 1 + int(CUTS_A_HEIGHT * (middle.max() - middle.min()) / columns.shape[1])
        kept[inside[np.argsort(crossed[inside], kind="stable")[most:]]] = False
    return kept


def _dearer(part: int, crossed: NDArray[np.float64]) -> int:
    """Of the seams beside a part, the one that crosses more ink."""
    beside = [seam for seam in (part - 1, part) if 0 <= seam < len(crossed)]
    return max(beside, key=lambda seam: float(crossed[seam]))


def _labels(columns: NDArray[np.intp], shape: tuple[int, ...], factor: int) -> NDArray[np.intp]:
    """The part of each pixel, at `factor` times the size of the plane that seams were sought on."""
    starts = np.zeros(shape, np.intp)
    np.add.at(starts, (np.arange(shape[0]), columns), 1)
    labels = np.cumsum(starts, axis=1)
    return labels.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else labels


def _boxes(labels: NDArray[np.intp], plane: Plane, count: int) -> NDArray[np.intp]:
    """The box of the ink in each part, [n,4]; zeros where it has none."""
    boxes = np.zeros((count, 4), np.intp)
    y, x = np.nonzero(plane > FAINT)
    part = labels[y, x]
    boxes[:, :2] = max(labels.shape)
    for edge, ends in enumerate((x, y)):
        np.minimum.at(boxes[:, edge], part, ends)
        np.maximum.at(boxes[:, edge + 2], part, ends + 1)
    boxes[boxes[:, 2] == 0] = 0
    return boxes


def spans_of(parts: Parts, height: float) -> NDArray[np.intp]:
    """The pairs of seams [n,2] between which a digit may stand; each part alone is among them."""
    left, right = parts.boxes[:, 0], parts.boxes[:, 2]
    spans: list[tuple[int, int]] = []
    for start in range(len(left)):
        edge = right[start]
        spans.append((start, start + 1))
        for stop in range(start + 2, min(start + MAX_SPAN, len(left)) + 1):
            if left[stop - 1] - edge > WIDEST_GAP * height:
                break
            edge = max(edge, right[stop - 1])
            if edge - left[start:stop].min() > WIDEST * height:
                break
            spans.append((start, stop))
    for start, stop in parts.pieces(height):
        wide = right[start:stop].max() - left[start:stop].min()
        if stop - start > 1 and wide <= WIDEST_PIECE * height:
            spans.append((start, stop))
    return np.array(sorted(set(spans)), np.intp)


def candidates_of(plane: Plane, place: Matrix, shape: tuple[int, ...]) -> tuple[int, Candidates]:
    """Cut a row `plane` [h,w], whose pixels `place` maps to a picture of `shape`, into candidates.

    Returns:
        The number of cuts, the row's ends included, and the candidates.
    """
    parts = parts_of(plane)
    if parts is None:
        return 0, _no_candidates()
    height = parts.height
    spans = spans_of(parts, height)[:MAX_CANDIDATES]
    boxes = np.array([_union(parts.boxes[start:stop]) for start, stop in spans])
    digits = np.zeros((len(spans), SIDE, SIDE), np.uint8)
    for index, ((start, stop), (left, top, right, bottom)) in enumerate(
        zip(spans, boxes, strict=True)
    ):
        within = np.s_[top:bottom, left:right]
        labels = parts.labels[within]
        ink = plane[within] * ((labels >= start) & (labels < stop))
        digit = boxed(np.asarray(ink, np.float32))
        if digit is not None:
            digits[index] = digit
    shapes = _shapes(plane, parts, spans, boxes, height)
    return len(parts.crossed), Candidates(spans, digits, _placed(boxes, place, shape), shapes)


def _union(boxes: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.concatenate((boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)))


def _placed(boxes: NDArray[np.intp], place: Matrix, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Boxes [n,4] in the pixels of a picture of `shape`."""
    corners = np.stack((boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [0, 3]], boxes[:, [2, 3]]))
    moved = corners @ place[:, :2].T + place[:, 2]
    height, width = shape
    ends = np.concatenate((moved.min(axis=0), moved.max(axis=0)), axis=1)
    return np.asarray(ends.clip(0, (width, height, width, height)))


def _shapes(
    plane: Plane,
    parts: Parts,
    spans: NDArray[np.intp],
    boxes: NDArray[np.intp],
    height: float,
) -> NDArray[np.float32]:
    """The figures named in `SHAPE`, [n,8]."""
    shapes = np.empty((len(spans), len(SHAPE)), np.float32)
    size = (boxes[:, 2:] - boxes[:, :2]) / height
    middle = np.median((parts.boxes[:, 1] + parts.boxes[:, 3]) / 2)
    mass = np.bincount(parts.labels.ravel(), plane.ravel(), len(parts.boxes))
    total = np.concatenate(([0.0], np.cumsum(mass)))
    masses = total[spans[:, 1]] - total[spans[:, 0]]
    large = size[:, 1] > 0.5
    usual = np.median(masses[large]) if large.any() else masses.max()
    gaps = (parts.boxes[1:, 0] - parts.boxes[:-1, 2]) / height
    crossed = parts.crossed / height
    shapes[:, :2] = size
    shapes[:, 2] = (middle - (boxes[:, 1] + boxes[:, 3]) / 2) / height
    shapes[:, 3:5] = crossed[spans]
    shapes[:, 7] = masses / max(float(usual), 1.0)
    for index, (start, stop) in enumerate(spans):
        alone = stop - start == 1
        shapes[index, 5] = 1.0 if alone else crossed[start + 1 : stop].min()
        shapes[index, 6] = -1.0 if alone else gaps[start : stop - 1].max()
    return shapes
