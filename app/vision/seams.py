"""The seams of a row: the cheapest ways from above it to below it, which cost what ink they cross.

Between digits that stand apart a seam is free, however they slant; where they touch it goes through
the thinnest place.
"""

from __future__ import annotations

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
    cost = ink + np.float32(WHITE_COST)
    total, steps = _cheapest(np.stack((cost, cost[::-1]), axis=1))
    found: list[Columns] = []
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


def _distinct(columns: Columns, ink: Plane) -> Columns:
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
