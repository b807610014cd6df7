"""The parts of a row: what its seams divide it into, from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from .ink import Plane, median
from .seams import FREE, Columns, seams

SEAM_HEIGHT = 32
"""Pixels of the row's height from which on the plane that seams are sought on is reduced."""
CUTS_A_HEIGHT = 5
"""Seams through a piece of ink, at most, for each height of the row that they spread over."""
MAX_CUTS = 64
"""Cuts of a row, at most; those that cross least ink."""
NO_PART = np.uint8(255)
BLACK, FAINT = 160, 48
"""Levels of 255 from which on a seam pays for a pixel in full, and above which ink has a box."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What the seams divide a row into, from left to right.

    Attributes:
        labels: The part of each pixel of the row, [h,w].
        boxes: Left, top, right, bottom of each part's ink in the row's pixels, [n,4].
        crossed: The ink that each seam crosses, in pixels, the row's ends included, [n+1].
    """

    labels: NDArray[np.uint8]
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
        return median(heights[heights > 0.5 * heights.max()])


def parts_of(plane: Plane) -> Parts | None:
    """Divide a row `plane` [h,w] by its seams; None where it has no ink."""
    height, width = plane.shape
    factor = max(1, height // SEAM_HEIGHT)
    ink = _small(plane, factor)
    columns = seams(ink)
    crossed = ink[np.arange(len(ink)), columns].sum(axis=1) * factor
    kept = np.flatnonzero(_fewer(columns, crossed, height))
    kept = kept[_cheapest(crossed[kept])]
    columns, crossed = columns[kept], crossed[kept]
    labels = _labels(columns, ink.shape, factor)[:height, :width]
    boxes = _boxes(labels, plane, columns * factor)
    dividing = _dividing(boxes[:, 2] > 0, crossed)
    if dividing is None:
        return None
    if len(dividing) < len(crossed):
        labels, boxes, crossed = (
            _joined(labels, dividing),
            _unions(boxes, dividing),
            crossed[dividing],
        )
    return Parts(labels, boxes, np.concatenate(([0.0], crossed, [0.0])))


def _small(plane: Plane, factor: int) -> Plane:
    """The ink that seams pay for, in 0–1, of a plane `factor` times as large."""
    rest = 0, -plane.shape[0] % factor, 0, -plane.shape[1] % factor
    padded = cv2.copyMakeBorder(np.asarray(plane, np.float32), *rest, cv2.BORDER_CONSTANT)
    size = padded.shape[1] // factor, padded.shape[0] // factor
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.minimum(small * np.float32(1 / BLACK), 1))


def _cheapest(crossed: NDArray[np.float64]) -> NDArray[np.intp]:
    """The seams that cross least ink, as many as a row may have, from left to right."""
    return np.sort(np.argsort(crossed, kind="stable")[: MAX_CUTS - 1])


def _fewer(columns: Columns, crossed: NDArray[np.float64], height: int) -> NDArray[np.bool_]:
    """The seams that are kept: in each piece of ink as many of the cheapest as it is wide."""
    kept = np.ones(len(crossed), bool)
    free = [-1, *np.flatnonzero(crossed <= FREE * height).tolist(), len(crossed)]
    middle, costs = columns.mean(axis=1).tolist(), crossed.tolist()
    for before, after in pairwise(free):
        inside = range(before + 1, after)
        if inside:
            # Seams do not cross each other: the first is the leftmost.
            width = middle[inside[-1]] - middle[inside[0]]
            most = 1 + int(CUTS_A_HEIGHT * width / columns.shape[1])
            kept[sorted(inside, key=costs.__getitem__)[most:]] = False
    return kept


def _dividing(inked: NDArray[np.bool_], crossed: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """The seams between ink and ink, of which each crosses so much [n]; None without any ink.

    Args:
        inked: Whether each of the parts beside them has ink, [n+1].
        crossed: The ink that each crosses.
    """
    seams_left = np.arange(len(crossed))
    while not inked.all():
        if not len(seams_left):
            return None
        # Without ink between them, two seams are one: the cheaper stays.
        stay = np.ones(len(seams_left), np.bool_)
        costs = crossed[seams_left].tolist()
        stay[[_dearer(part, costs) for part in np.flatnonzero(~inked).tolist()]] = False
        inked = np.logical_or.reduceat(inked, _starts(np.flatnonzero(stay)))
        seams_left = seams_left[stay]
    return seams_left


def _dearer(part: int, crossed: list[float]) -> int:
    """Of the seams beside a part, the one that crosses more ink."""
    beside = [seam for seam in (part - 1, part) if 0 <= seam < len(crossed)]
    return max(beside, key=crossed.__getitem__)


def _starts(dividing: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first part behind each of some seams, and the row's first."""
    return np.concatenate(([0], dividing + 1))


def _joined(labels: NDArray[np.uint8], dividing: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Labels [h,w] of what some of the seams divide."""
    table = np.zeros(256, np.uint8)
    table[dividing + 1] = 1
    return np.asarray(cv2.LUT(labels, np.cumsum(table, dtype=np.uint8)), np.uint8)


def _unions(boxes: NDArray[np.intp], dividing: NDArray[np.intp]) -> NDArray[np.intp]:
    """The boxes [n,4] of what some of the seams divide."""
    starts = _starts(dividing)
    corners = np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)
    return np.concatenate(corners, axis=1)


def _labels(columns: Columns, shape: tuple[int, ...], factor: int) -> NDArray[np.uint8]:
    """The part of each pixel, at `factor` times the size of the plane that seams were sought on."""
    starts = np.zeros(shape, np.uint8)
    np.add.at(starts, (np.arange(shape[0]), columns), 1)
    labels = np.cumsum(starts, axis=1, dtype=np.uint8)
    size = shape[1] * factor, shape[0] * factor
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _boxes(labels: NDArray[np.uint8], plane: Plane, columns: Columns) -> NDArray[np.intp]:
    """The box of the ink in each part between seams [n,…], [n+1,4].

    A part without ink has one that takes no place in a union of boxes: it ends before it begins.
    """
    height, width = labels.shape
    inked = np.maximum(labels, NO_PART * (plane <= FAINT))
    starts = [0, *columns.min(axis=1, initial=width).tolist()]
    stops = [*columns.max(axis=1, initial=0).tolist(), width]
    boxes = np.empty((len(starts), 4), np.intp)
    for part, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        mask = inked[:, start:stop] == part
        left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
        left += start
        boxes[part] = (left, top, left + wide, top + high) if wide else (width, height, 0, 0)
    return boxes
