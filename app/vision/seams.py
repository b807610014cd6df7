"""The seams of a row: the cheapest ways from above it to below it, which cost what ink they cross.

Between digits that stand apart a seam is free, however they slant; where they touch it goes through
the thinnest place.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import NDArray

from .ink import Plane

Columns = NDArray[np.intp]
"""The first column to the right of each seam, in each row of pixels, [n,h]."""

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
INKED = 0.5
"""Ink of a pixel, at least, that is a stroke's."""
SPACING = 0.14
"""Distance of cuts through ink, at least, as a share of the row's height."""
NARROW = 0.4
"""Width of what is not cut, in heights of the row."""


def seams(ink: Plane) -> Columns:
    """The seams through `ink` [h,w], in 0–1, that may divide two digits.

    Returns:
        The first column to the right of each, in each row of pixels, [n,h], from left to right.
    """
    height = ink.shape[0]
    cost = np.asarray(ink + np.float32(WHITE_COST), np.float32)
    total = _cheapest(np.stack((cost, cost[::-1]), axis=1))
    came = _came_from(total)
    upwards, downwards = came[:, 0], came[::-1, 1]
    anchors = [int(share * height) for share in ANCHORS]
    through = total[anchors, 0] + total[::-1, 1][anchors] - cost[anchors]
    minima = _minima(through - np.float32(WHITE_COST * height), ink[anchors] > INKED, height)
    found: list[Columns] = []
    for anchor, chosen in zip(anchors, minima, strict=True):
        above = _traced(chosen, upwards[anchor:0:-1])
        below = _traced(chosen, downwards[anchor : height - 1])
        found.append(np.array((*above[::-1], chosen, *below)))
    columns = np.ascontiguousarray(np.concatenate(found, axis=1).T)
    return np.sort(_distinct(columns, ink), axis=0)


def _cheapest(cost: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cost of the cheapest way from the first row to each pixel, of planes [h,k,w]."""
    # The planes are one line, with what can't be passed around each: a call for a line of so few
    # pixels takes longer than its arithmetic.
    costs = _closed(cost)
    lines = costs.reshape(len(cost), -1)
    total = lines.copy()
    side, least = np.float32(SIDE_COST), np.empty_like(lines[0, 1:-1])
    before = total[:-1, :-2], total[:-1, 1:-1], total[:-1, 2:]
    for left, straight, right, line, reached in zip(
        *before, lines[1:, 1:-1], total[1:, 1:-1], strict=True
    ):
        np.minimum(left, right, out=least)
        np.add(least, side, out=least)
        np.minimum(least, straight, out=least)
        np.add(least, line, out=reached)
    return np.asarray(total.reshape(costs.shape)[:, :, 1:-1])


def _came_from(total: NDArray[np.float32]) -> Columns:
    """The column that the cheapest way to each pixel has in the row before, of planes [h,k,w].

    Args:
        total: The cost of that way, as `_cheapest` gives it. Nothing came to the first row.
    """
    before = _closed(total[:-1])
    left, straight, right = before[:, :, :-2], before[:, :, 1:-1], before[:, :, 2:]
    aside = np.minimum(left, right) + np.float32(SIDE_COST) < straight
    from_left = left <= right
    steps = (aside & ~from_left).view(np.int8) - (aside & from_left).view(np.int8)
    came = np.zeros(total.shape, np.intp)
    np.add(np.arange(total.shape[2]), steps, out=came[1:])
    return came


def _closed(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planes [h,k,w] with what can't be passed on both sides, [h,k,w+2]."""
    height, count, width = planes.shape
    closed = np.full((height, count, width + 2), np.inf, np.float32)
    closed[:, :, 1:-1] = planes
    return closed


def _traced(columns: NDArray[np.intp], came: Columns) -> list[NDArray[np.intp]]:
    """The columns [n] of ways in the rows behind them, by where they came from, [rows,w]."""
    return list(accumulate(came, lambda at, before: before[at], initial=columns))[1:]


def _distinct(columns: Columns, ink: Plane) -> Columns:
    """Of seams [n,h] that are `ALIKE`, the one that crosses least ink."""
    height = ink.shape[0]
    crossed = ink[np.arange(height), columns].sum(axis=1)
    alike = ALIKE * height * height
    lines, sums = columns.astype(np.int32), columns.sum(axis=1).tolist()
    kept: list[int] = []
    for index in np.argsort(crossed, kind="stable").tolist():
        # As far apart as their middles two seams are at least.
        near = [other for other in kept if abs(sums[other] - sums[index]) <= alike]
        if all(cv2.norm(lines[index], lines[other], cv2.NORM_L1) > alike for other in near):
            kept.append(index)
    return columns[kept]


def _minima(
    crossed: NDArray[np.float32], inked: NDArray[np.bool_], height: int
) -> list[NDArray[np.intp]]:
    """The columns whose seams are kept, by the ink that the best seam through each crosses, [k,w].

    These are the middle of each gap, and in what lies between two gaps the cheapest columns that
    are `SPACING` apart. What is `inked` [k,w] ends a gap, be it as thin as a hair.
    """
    width = crossed.shape[1]
    free = np.zeros((len(crossed), width + 2), np.bool_)
    free[:, 1:-1] = (crossed < FREE * height) & ~inked
    edges = free[:, 1:] != free[:, :-1]
    inner = crossed[:, 1:-1]
    low = (inner <= crossed[:, :-2]) & (inner <= crossed[:, 2:]) & (inner <= DEEPEST * height)
    spacing = max(3, round(SPACING * height))
    found = []
    for line, ends, valleys in zip(crossed, edges, low, strict=True):
        bounds = [0, *np.flatnonzero(ends).tolist(), width]
        kept = [
            (start + stop) // 2
            for start, stop in zip(bounds[1:-1:2], bounds[2:-1:2], strict=True)
            if start > 0 and stop < width
        ]
        places = np.flatnonzero(valleys) + 1
        lowest = places[np.argsort(line[places], kind="stable")].tolist()
        for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
            if stop - start > NARROW * height:
                inside = (at for at in lowest if start + spacing <= at < stop - spacing)
                kept += _apart(inside, spacing)
        found.append(np.array(sorted(kept), np.intp))
    return found


def _apart(places: Iterable[int], spacing: int) -> list[int]:
    """The first of `places` that are at least `spacing` from each other."""
    taken: list[int] = []
    for at in places:
        if all(abs(at - other) >= spacing for other in taken):
            taken.append(at)
    return taken
