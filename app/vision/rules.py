"""Rules and frames: straight thin lines that somebody printed, and not a stroke of the writing.

A line is found by its votes (Hough transform of its edges), traced with its thickness, and
judged by where its ends are: rules run from border to border, a frame's sides from corner to
corner. What crosses it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .ink import Mask, square

LINE_SHARE = 0.3
"""Shortest rule or frame's side, as a share of the picture's shorter side."""
THICKEST_LINE = 0.1
"""Its thickness, at most, as a share of the same."""
SMALLEST_LINED = 48
"""Pixels of the shorter side below which a line can't be told from a stroke."""
LEFT_OVER = 0.25
"""What is left when lines are taken away has at least this share of their length."""
MOST_CANDIDATES, MOST_LINES = 200, 24
"""Votes looked at and lines traced, at most, in each direction; a page of noise is full of them."""

UP_AND_DOWN = np.ones((3, 1), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A straight thin run of ink along the columns (of the transposed picture, if upright):
    `start` to `stop`, at `rows` with half a stroke's `above` and `below` it."""

    upright: bool
    start: int
    stop: int
    rows: NDArray[np.intp]
    above: NDArray[np.intp]
    below: NDArray[np.intp]
    thin: NDArray[np.bool_]
    ends: tuple[bool, bool]
    """Whether it runs into the border at its start and stop."""

    @property
    def length(self) -> int:
        return self.stop - self.start

    def point(self, column: int) -> tuple[int, int]:
        """Row and column in the picture as it stands."""
        row = int(self.rows[column - self.start])
        return (column, row) if self.upright else (row, column)

    def erase(self, mask: Mask) -> None:
        """Blackens the line in `mask`, and leaves standing what crosses it."""
        turned = mask.T if self.upright else mask
        lowest, highest = (self.rows - self.above)[self.thin], (self.rows + self.below)[self.thin]
        if lowest.size:
            columns = np.arange(self.start, self.stop)[self.thin]
            for step in range(int((highest - lowest).max()) + 1):
                turned[np.minimum(lowest + step, highest), columns] = 0


def without_lines(found: Mask) -> tuple[Mask, bool]:
    """`found` without rules and frames: straight thin lines that run across the picture, or from
    border or line to border or line, unless hardly anything is left, as of a 1 or a square 0."""
    across = straight(found, upright=False)
    down = straight(found, upright=True)
    if not across and not down:
        return found, False
    ties = [(line, tied(line, down, found.shape)) for line in across]
    ties += [(line, tied(line, across, found.shape)) for line in down]
    lines = [line for line, ends in ties if ends == 2]
    rest = erased(found, lines)
    if loose := [line for line, ends in ties if ends < 2 and is_apart(line, ends, rest)]:
        lines += loose
        rest = erased(found, lines)
    if not lines:
        return found, False
    if max(largest_part(rest)) < LEFT_OVER * max(line.length for line in lines):
        return found, False
    return rest, True


def erased(found: Mask, lines: list[Line]) -> Mask:
    if not lines:
        return found
    rest = found.copy()
    for line in lines:
        line.erase(rest)
    return cleaned(rest, found)


def largest_part(mask: Mask) -> tuple[int, int]:
    """Width and height of the connected part that has most pixels."""
    stats = cv2.connectedComponentsWithStats(mask)[2][1:]
    if not len(stats):
        return 0, 0
    main = stats[stats[:, 4].argmax()]
    return int(main[2]), int(main[3])


def is_apart(line: Line, ends: int, rest: Mask) -> bool:
    """Whether `line` is a rule beside the writing, or a corner's side: straight, not connected to
    what is largest without it, and longer. If none of its `ends` is tied, it must keep a distance
    too, and if it stands upright, farther out than the writing: it may be a 1."""
    without = erased(rest, [line])
    count, labels, stats, middles = cv2.connectedComponentsWithStats(without)
    if count < 2:
        return False
    main = 1 + int(stats[1:, 4].argmax())
    if not 0.4 * line.length < max(stats[main, 2:4]) < 1.1 * line.length:
        return False
    parts = cv2.connectedComponents(rest)[1]
    row, column = line.point((line.start + line.stop) // 2)
    part = int(parts[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].max())
    if part == 0 or (parts[labels == main] == part).any():
        return False
    if ends:
        return True
    close = cv2.dilate((labels == main).astype(np.uint8), square(0.1 * line.length))
    if np.logical_and(close, rest > without).any():
        return False
    width = rest.shape[1]
    farther = abs(column / width - 0.5) > 1.5 * abs(float(middles[main, 0]) / width - 0.5) + 0.1
    return farther or not line.upright


def straight(found: Mask, *, upright: bool) -> list[Line]:
    """The straight thin lines of `found` within 16 degrees of the rows, or of the columns."""
    height, width = found.shape[::-1] if upright else found.shape
    if min(height, width) < SMALLEST_LINED:
        return []
    shortest = max(12, int(LINE_SHARE * min(height, width)))
    mask: Mask = np.asarray(cv2.transpose(found) if upright else found, np.uint8)
    thickest = max(3, int(THICKEST_LINE * min(height, width)))
    thick = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thickest + 1, 1), np.uint8))
    flat = cv2.subtract(mask, thick)
    # Its edges alone, so that a thick line is two lines, and one that is written on still one.
    inside = cv2.erode(flat, UP_AND_DOWN, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    edge = np.asarray(cv2.subtract(flat, inside), np.uint8)
    fewest = int(0.8 * shortest)
    if cv2.countNonZero(edge) < fewest:
        return []
    votes: Any = cv2.HoughLinesWithAccumulator(
        edge, 1, np.pi / 180, fewest, min_theta=np.deg2rad(74), max_theta=1.8588
    )
    if votes is None:
        return []
    untaken = cv2.dilate(edge, UP_AND_DOWN)
    columns = np.arange(width)
    lines: list[Line] = []
    tries = 0
    for rho, theta, _ in votes.reshape(-1, 3)[:MOST_CANDIDATES]:
        rows = np.rint((rho - columns * np.cos(theta)) / np.sin(theta)).astype(np.intp)
        if untaken[rows.clip(0, height - 1), columns].sum() < 0.7 * shortest:
            continue
        line = traced(mask, rows, shortest, thickest, upright=upright)
        tries += 1
        if line is not None:
            lines.append(line)
            for beside in range(-3, 4):
                for row in (line.rows - line.above, line.rows + line.below):
                    across = (row + beside).clip(0, height - 1)
                    untaken[across, columns[line.start : line.stop]] = 0
        if tries == MOST_LINES:
            break
    return lines


def traced(
    mask: Mask, rows: NDArray[np.intp], shortest: int, reach: int, *, upright: bool
) -> Line | None:
    """The longest run of ink in `mask` along `rows`, if it is a line."""
    height, width = mask.shape
    inside = (rows >= 0) & (rows < height)
    padded = np.pad(mask, ((reach + 2, reach + 2), (0, 0)))
    columns = np.arange(width)
    safe = rows.clip(0, height - 1) + reach + 2
    near = np.stack([padded[safe + d, columns] for d in (0, -1, 1)])
    hit = near.any(axis=0) & inside
    run = longest_run(hit, gap=max(2, width // 40))
    if run is None or run[1] - run[0] < shortest:
        return None
    start, stop = run
    at = safe + np.array([0, -1, 1])[near.argmax(axis=0)]
    steps = np.arange(1, reach + 1)
    up = np.cumprod(padded[at[None] - steps[:, None], columns], axis=0).sum(axis=0)
    down = np.cumprod(padded[(at[None] + steps[:, None]), columns], axis=0).sum(axis=0)
    thickness = (up + down + 1)[start:stop]
    usual = float(np.percentile(thickness[hit[start:stop]], 30))
    thin = hit[start:stop] & (thickness <= 1.5 * usual + 1)
    if usual > reach or thin.sum() < 0.45 * (stop - start):
        return None
    within = np.flatnonzero(inside)
    slack = max(2, width // 40)
    return Line(
        upright,
        start,
        stop,
        at[start:stop] - reach - 2,
        up[start:stop].astype(np.intp),
        down[start:stop].astype(np.intp),
        thin,
        (bool(start <= within[0] + slack), bool(stop >= within[-1] + 1 - slack)),
    )


def longest_run(hit: NDArray[np.bool_], gap: int) -> tuple[int, int] | None:
    """Start and stop of the longest run of true values with holes of at most `gap`."""
    at = np.flatnonzero(hit)
    if not at.size:
        return None
    breaks = np.flatnonzero(np.diff(at) > gap + 1)
    starts = at[np.r_[0, breaks + 1]]
    stops = at[np.r_[breaks, at.size - 1]] + 1
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest])


def tied(line: Line, others: list[Line], shape: tuple[int, ...]) -> int:
    """How many of its ends are at the border or at the end of a line across: 2 of a rule or of a
    frame's side, while the stem of a 4 ends in the middle of the side it touches."""
    reach = max(3, int(0.06 * min(shape)))
    ends = 0
    for end, at_border in zip((line.start, line.stop - 1), line.ends, strict=True):
        row, column = line.point(end)
        ends += at_border or any(
            abs(row - y) <= reach and abs(column - x) <= reach
            for other in others
            for y, x in (other.point(other.start), other.point(other.stop - 1))
        )
    return ends


def cleaned(rest: Mask, found: Mask) -> Mask:
    """`rest` without the crumbs that an erased line leaves along its edges."""
    gone = found & (1 - rest)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest)
    beside = np.bincount(labels[cv2.dilate(gone, square(7)) > 0], minlength=count)
    crumb = (beside > 0.6 * stats[:, 4]) & (stats[:, 4] < 0.01 * rest.size)
    crumb[0] = True
    return np.asarray(~crumb[labels], np.uint8)
