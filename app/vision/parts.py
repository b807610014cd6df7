"""The parts of a row: what its seams divide it into, from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from .ink import Plane
from .normalize import median
from .seams import FREE, Columns, seams

SEAM_HEIGHT = 32
"""Pixels of the row's height from which on the plane that seams are sought on is reduced."""
CUTS_A_HEIGHT = 5
"""Seams through a piece of ink, at most, for each height of the row that they spread over."""
MAX_CUTS = 64
"""Cuts of a row, at most; those that cross least ink."""
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
    while True:
        labels = _labels(columns, ink.shape, factor)[:height, :width]
        boxes = _boxes(labels, plane, len(columns) + 1)
        empty = np.flatnonzero(boxes[:, 2] == 0)
        if not len(empty):
            return Parts(labels, boxes, np.concatenate(([0.0], crossed, [0.0])))
        if not len(columns):
            return None
        # Without ink between them, two seams are one: the cheaper stays.
        gone = [_dearer(int(part), crossed) for part in empty]
        columns, crossed = np.delete(columns, gone, axis=0), np.delete(crossed, gone)


def _small(plane: Plane, factor: int) -> Plane:
    """The ink that seams pay for, in 0–1, of a plane `factor` times as large."""
    rest = (0, -plane.shape[0] % factor), (0, -plane.shape[1] % factor)
    padded = np.asarray(np.pad(plane, rest), np.float32)
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


def _labels(columns: Columns, shape: tuple[int, ...], factor: int) -> NDArray[np.intp]:
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
