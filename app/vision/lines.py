"""Straight thin lines of a picture's ink: where they are, and the ink without them.

A line is found by its votes (Hough transform of its edges) and traced with its thickness. Whether
it is printed or a stroke of the writing is for `rules.py` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .components import Components, components_of
from .ink import Mask, Plane, median, percentile, square

Rows = NDArray[np.intp]
LINE_SHARE = 0.3
"""Shortest rule or frame's side, as a share of the picture's shorter side."""
THICKEST_LINE = 0.1
"""Its thickness, at most, as a share of the same."""
SMALLEST_LINED = 48
"""Pixels of the shorter side below which a line can't be told from a stroke."""
MAX_CANDIDATES, MAX_LINES, MAX_MISSED = 200, 40, 12
"""Votes looked at, lines found and votes that were for no line, at most, in each direction; noise
is full of these. A sheet of squared paper has up to 30 lines."""
MAX_IN_ROW = 12
"""Lines found, at most, where a row is looked for: a strip is full of strokes as long as lines."""
STRONGER = 1.5
"""How much more ink than a line's usual there is, at least, where a stroke lies on it."""
FITTED = 100
"""Pixels of a line from which on a degree's rounding moves its ends by a pixel."""
BARE = 0.04
"""Share of a line, at least, that no stroke lies on: without, it is a thicker line."""
BY_LINES, CRUMB = 0.8, 0.01
"""Share of a crumb's pixels, at least, that lie beside a line that is gone; and how many they are,
at most, as a share of the picture's."""
TEXTURE = 0.25
"""Share of edges among the pixels from which on a picture is taken for texture, without lines."""
UP_AND_DOWN = np.ones((3, 1), np.uint8)
SHALLOWEST, STEEPEST = np.deg2rad(74), np.deg2rad(106.5)
"""Angles of a line's normal, in radians: within 16 degrees of upright, and half a degree more, for
the last of OpenCV's whole degrees may be rounded."""
CONTACT = 2
"""Pixels between a line and what touches it, or across from one half of a rule to the other, at
most."""


@dataclass(frozen=True, eq=False)
class Line:
    """A straight thin run of ink along the columns, of the transposed picture if it is upright.

    It goes from column `start` to `stop`, at `rows`, with half a stroke's width `above` and
    `below` them; `thin` says where nothing crosses it.
    """

    upright: bool
    start: int
    stop: int
    rows: Rows
    above: Rows
    below: Rows
    thin: NDArray[np.bool_]
    ends: tuple[bool, bool]
    """Whether it runs into the border at its start and stop."""

    @property
    def length(self) -> int:
        """Columns from start to stop."""
        return self.stop - self.start

    @cached_property
    def thickness(self) -> float:
        """Its usual thickness, in pixels, where nothing crosses it."""
        return median((self.above + self.below + 1)[self.thin])

    def within(self, thickness: float) -> Line:
        """The line where it is less than a pixel thicker than that: strokes lie on the rest.

        All of it, if it is that thin hardly anywhere.
        """
        bare = self.thin & (self.above + self.below < thickness)
        return replace(self, thin=bare) if bare.sum() >= BARE * self.length else self

    def beside_strokes(self, ink: Plane) -> Line:
        """The line where no stroke of a stronger pen lies on it, by how much ink [h,w] there is."""
        levels = ink.T if self.upright else ink
        columns = np.arange(self.start, self.stop)
        near = (self.rows + np.array((-1, 0, 1))[:, None]).clip(0, len(levels) - 1)
        strongest = levels[near, columns].max(axis=0)
        light = strongest <= STRONGER * median(strongest[self.thin])
        return replace(self, thin=self.thin & light)

    def point(self, column: int) -> tuple[int, int]:
        """Return row and column in the picture as it stands."""
        row = int(self.rows[column - self.start])
        return (column, row) if self.upright else (row, column)

    def erase(self, mask: Mask) -> None:
        """Blacken the line in `mask`, and leave standing what crosses it."""
        turned = mask.T if self.upright else mask
        lowest, highest = (self.rows - self.above)[self.thin], (self.rows + self.below)[self.thin]
        if lowest.size:
            columns = np.arange(self.start, self.stop)[self.thin]
            steps = np.arange(int((highest - lowest).max()) + 1)[:, None]
            turned[np.minimum(lowest + steps, highest), columns] = 0


def border_slack(extent: int) -> int:
    """Pixels within which a line along `extent` of them ends at the border, or bridges a gap."""
    return max(3, extent // 40)


def erased(found: Mask, lines: list[Line]) -> Mask:
    """Return `found` [h,w] without the lines and the crumbs that they leave."""
    return left_over(found, lines).mask if lines else found


@dataclass(frozen=True, slots=True, eq=False)
class LeftOver:
    """The connected parts of a mask that lines were taken from.

    Attributes:
        parts: Those, crumbs included.
        crumb: Whether a part is a crumb of a line, or ground, [n].
    """

    parts: Components
    crumb: NDArray[np.bool_]

    @property
    def mask(self) -> Mask:
        """All but the crumbs."""
        return np.asarray(~self.crumb[self.parts.labels], np.uint8)


def left_over(found: Mask, lines: list[Line]) -> LeftOver:
    """Take the lines from `found` [h,w], and tell the crumbs that they leave along their edges."""
    rest = found.copy()
    for line in lines:
        line.erase(rest)
    parts = components_of(rest)
    labels, stats, _ = parts
    gone = found & (1 - rest)
    beside = np.bincount(labels[cv2.dilate(gone, square(7)) > 0], minlength=len(stats))
    crumb = (beside > BY_LINES * stats[:, 4]) & (stats[:, 4] < CRUMB * rest.size)
    crumb[0] = True
    return LeftOver(parts, crumb)


def bare_lines(found: Mask, ink: Plane, *, upright: bool, row: bool) -> list[Line]:
    """The `straight` lines of `found`, where no stroke lies on them."""
    lines = straight(found, upright=upright, row=row)
    return [line.beside_strokes(ink) for line in lines]


def straight(found: Mask, *, upright: bool, row: bool = False) -> list[Line]:
    """Return the straight thin lines of `found` within 16 degrees of the rows, or the columns.

    Args:
        found: The mask, [h,w].
        upright: Of the columns.
        row: A row is looked for: few, and each traced again along the straight that fits it best,
            for the votes' whole degrees lose a long one before its end.
    """
    height, width = found.shape[::-1] if upright else found.shape
    shorter = min(height, width)
    if shorter < SMALLEST_LINED:
        return []
    shortest = max(12, int(LINE_SHARE * shorter))
    mask: Mask = np.asarray(cv2.transpose(found) if upright else found, np.uint8)
    thickest = max(3, int(THICKEST_LINE * shorter))
    thick = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thickest + 1, 1), np.uint8))
    flat = cv2.subtract(mask, thick)
    # Its edges alone, so that a thick line is two lines, and one that is written on still one.
    inside = cv2.erode(flat, UP_AND_DOWN, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    edge = np.asarray(cv2.subtract(flat, inside), np.uint8)
    fewest = int(0.8 * shortest)
    if not fewest <= cv2.countNonZero(edge) <= TEXTURE * edge.size:
        return []
    votes: Any = cv2.HoughLinesWithAccumulator(
        edge, 1, np.pi / 180, fewest, min_theta=SHALLOWEST, max_theta=STEEPEST
    )
    if votes is None:
        return []
    rows = candidates(votes.reshape(-1, 3)[:MAX_CANDIDATES], width)
    columns = np.arange(width)
    untaken: Mask = np.asarray(cv2.dilate(edge, UP_AND_DOWN), np.uint8)
    least = 0.7 * shortest
    inside_rows = rows.clip(0, height - 1)
    hopeful = untaken[inside_rows, columns].sum(axis=1) >= least
    tracer = Tracer(mask, shortest, thickest, upright=upright)
    lines: list[Line] = []
    missed, most = 0, MAX_IN_ROW if row else MAX_LINES
    for candidate in np.flatnonzero(hopeful):
        if lines and untaken[inside_rows[candidate], columns].sum() < least:
            continue
        line = tracer.trace(rows[candidate], inside_rows[candidate])
        if line is None:
            missed += 1
        else:
            if row and line.length >= FITTED:
                _take(untaken, line)
                line = tracer.fitted(line)
            lines.append(line)
            _take(untaken, line)
        if missed == MAX_MISSED or len(lines) == most:
            break
    return lines


def _take(untaken: Mask, line: Line) -> None:
    """Take the edges of a line away, so that they vote for no other."""
    columns = np.arange(line.start, line.stop)
    edges = np.stack((line.rows - line.above, line.rows + line.below))
    beside = edges[:, None] + np.arange(-3, 4)[:, None]
    untaken[beside.clip(0, len(untaken) - 1), columns] = 0


def candidates(votes: NDArray[np.float32], width: int) -> Rows:
    """Return the rows [n,width] along lines of distance and angle (rho, theta, votes) [n,3]."""
    rho, theta = votes[:, 0, None], votes[:, 1, None]
    columns = np.arange(width)
    return np.rint((rho - columns * np.cos(theta)) / np.sin(theta)).astype(np.intp)


class Tracer:
    """Follows lines in `mask` [h,w] that are at least `shortest` long and `reach` thick at most."""

    def __init__(self, mask: Mask, shortest: int, reach: int, *, upright: bool) -> None:
        self.height, self.width = mask.shape
        self.shortest, self.reach, self.upright = shortest, reach, upright
        self._rim = reach + 2
        rim = (self._rim, self._rim, 0, 0)  # as np.pad does in ten times the time
        self._padded = np.asarray(cv2.copyMakeBorder(mask, *rim, cv2.BORDER_CONSTANT), np.uint8)
        self._columns = np.arange(self.width)
        steps = np.arange(1, reach + 1)[:, None]
        self._steps = np.stack((-steps, steps))
        self._slack = border_slack(self.width)

    def fitted(self, line: Line) -> Line:
        """Return the run along the straight that fits `line` best, if it is longer."""
        columns = np.arange(line.start, line.stop)[line.thin]
        middles = (line.rows + (line.below - line.above) / 2)[line.thin]
        middle, apart = middles.mean(), columns - columns.mean()
        slope = float(apart @ middles) / max(float(apart @ apart), 1.0)
        rows = np.rint(middle + slope * (self._columns - columns.mean())).astype(np.intp)
        longer = self.trace(rows, rows.clip(0, self.height - 1))
        return line if longer is None or longer.length < line.length else longer

    def trace(self, rows: Rows, inside_rows: Rows) -> Line | None:
        """Return the longest run of ink along `rows` [width], if it is a line.

        `inside_rows` are the nearest rows within the picture.
        """
        padded, columns = self._padded, self._columns
        inside = rows == inside_rows
        safe = inside_rows + self._rim
        on, over, under = (
            padded[safe, columns],
            padded[safe - 1, columns],
            padded[safe + 1, columns],
        )
        hit = (on | over | under).view(bool) & inside
        run = longest_run(hit, gap=self._slack)
        if run is None or run[1] - run[0] < self.shortest:
            return None
        start, stop = run
        columns = columns[start:stop]
        on, over, under, hit = (row[start:stop] for row in (on, over, under, hit))
        beside = np.where(over, -1, under.astype(np.intp))
        at = safe[start:stop] + np.where(on, 0, beside)
        runs = np.minimum.accumulate(padded[at + self._steps, columns], axis=1)
        up, down = runs.sum(axis=1, dtype=np.intp)
        thickness = up + down + 1
        usual = percentile(thickness[hit], 0.3)
        thin = hit & (thickness <= 1.5 * usual + 1)
        if usual > self.reach or np.count_nonzero(thin) < 0.45 * (stop - start):
            return None
        within = np.flatnonzero(inside)
        ends = start <= within[0] + self._slack, stop >= within[-1] + 1 - self._slack
        return Line(
            self.upright,
            start,
            stop,
            at - self._rim,
            up,
            down,
            thin,
            (bool(ends[0]), bool(ends[1])),
        )


def longest_run(hit: NDArray[np.bool_], gap: int) -> tuple[int, int] | None:
    """Return start and stop of the longest run of true values with holes of at most `gap`."""
    at = np.flatnonzero(hit)
    if not at.size:
        return None
    breaks = np.flatnonzero(at[1:] - at[:-1] > gap + 1)
    if not breaks.size:
        return int(at[0]), int(at[-1]) + 1
    starts = at[np.concatenate(([0], breaks + 1))]
    stops = at[np.concatenate((breaks, [at.size - 1]))] + 1
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest])


def own_part(line: Line, labels: NDArray[np.int32]) -> int:
    """The connected part, of `labels` [h,w], that the line belongs to; 0 if it is not there."""
    row, column = line.point((line.start + line.stop) // 2)
    return int(labels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].max())
