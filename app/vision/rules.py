"""Rules and frames: straight thin lines that are printed, and not strokes of the writing.

A line is found by its votes (Hough transform of its edges), traced with its thickness, and
judged by where its ends are: rules run from border to border, a frame's sides from corner to
corner. Strokes that cross it stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
LEFT_OVER = 0.25
"""The largest part that is left when lines are taken away is at least this share of their length
long, or of the picture's shorter side; else they were the writing."""
PAGE_LINE = 0.03
"""Thickness of a line from border to border, at most, as a share of the picture's shorter side,
from which on it may be a stroke of a digit that fills the picture, and is no line of the page."""
MAX_CANDIDATES, MAX_LINES, MAX_MISSED = 200, 40, 12
"""Votes looked at, lines found and votes that were for no line, at most, in each direction; noise
is full of these. A sheet of squared paper has up to 30 lines."""
BESIDE = 0.4
"""Longer side of writing beside a line, at least, in lengths of the line."""
HALVES = 0.15
"""Gap in a rule, at most, in lengths of its half."""
COMPARABLE = 0.5
"""Ink of other writing, at least, in that of the part that a line belongs to."""
FRAME = 0.8
"""Length of a frame's side, at least, in lengths of the writing along it. A frame that the writing
touches is as long as it is; the straight strokes of a digit beside another are shorter."""
MUCH_LONGER = 1.8
"""Length of a line, in lengths of one that ends on it, from which on it is a field's edge."""
STRONGER = 1.5
"""How much more ink than a line's usual there is, at least, where a stroke lies on it."""
LONGER_THAN_A_1 = 1.25
"""Length of a loose upright line, in lengths of the writing, from which on it is no 1."""
LONGER_THAN_A_BAR = 1.4
"""Length of a loose line above the writing, in lengths of that, from which on it is no bar of a 7
or a 5 that does not touch the rest."""
MAX_JUDGED = 6
"""Lines with a loose end that are looked at, at most."""
FITTED = 100
"""Pixels of a line from which on a degree's rounding moves its ends by a pixel."""
THICKER = 1.5
"""Thickness of a line, in thicknesses of those that it ends on, from which on it is a stroke."""
UNEVEN = 1.25
"""Thickness of a frame's side, in thicknesses of its thinnest and a pixel more, from which on
strokes lie on it."""
BARE = 0.04
"""Share of such a side, at least, that no stroke lies on: without, it is a thicker line."""
CONTACT = 2
"""Pixels between a line's end and the edge of a field that it divides, or across from one half of a
rule to the other, at most."""
HAIRLINE = 0.5
"""Thickness of a line beside a row, at most, in widths of its strokes, that is no stroke of it."""
ALONG = 0.8
"""Length of a loose line beside a row, at least, as a share of the row's."""
BY_LINES, CRUMB = 0.8, 0.01
"""Share of a crumb's pixels, at least, that lie beside a line that is gone; and how many they are,
at most, as a share of the picture's."""
UNDERLINE = 1.4
"""Length of a line under a row, at least, in heights of its digits."""
LOWEST = 0.2
"""Share of the row's height, at its foot, in which a line may be under it."""
TEXTURE = 0.25
"""Share of edges among the pixels from which on a picture is taken for texture, without lines."""

UP_AND_DOWN = np.ones((3, 1), np.uint8)
SHALLOWEST, STEEPEST = np.deg2rad(74), 1.8588
"""Angles of a line's normal, in radians: within 16 degrees of upright."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A straight thin run of ink along the columns, of the transposed picture if it is upright.

    It goes from column `start` to `stop`, at `rows`, with half a stroke's width `above` and
    `below` them.
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

    @property
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


def without_lines(
    found: Mask, ink: Plane, *, single: bool = False, row: bool = False
) -> tuple[Mask, bool]:
    """Return `found` [h,w] without rules and frames, and whether there were any.

    These are straight thin lines that run across the picture, or from border or line to border or
    line, unless hardly anything is left, as of a 1 or a square 0.

    Args:
        found: The mask, [h,w].
        ink: How much ink there is, [h,w].
        single: All ink is one connected part.
        row: It may be a row of digits. Then a line may end anywhere on a much longer one, as in a
            field of boxes; and one with a loose end may be a 1 or the bar of a 7, unless it is
            longer than the picture is high.
    """
    across = bare_lines(found, ink, upright=False, fitted=row)
    if not across and not reaches_border(found):
        return found, False  # an upright line's ends would have nothing to be tied to
    down = bare_lines(found, ink, upright=True, fitted=row)
    if not across and not down:
        return found, False
    if row:
        ties = ties_of(across, down, found.shape, row=True)
        lines = both_tied(ties)
        rest = erased(found, lines)
    else:
        ties, lines, rest = without_strokes(across, down, found)
    if single and not row and not lines:
        return found, False  # a line that is connected to all the rest is not apart from it
    untied = [(line, ends) for line, ends in ties if ends < 2]
    if row:
        fine = hairlines([line for line, ends in untied if ends], rest)
        lines += fine
        rest = erased(rest, fine)
        least = max(min(found.shape), ALONG * cv2.boundingRect(rest)[2])
        untied = [(line, ends) for line, ends in untied if not line.upright and line not in fine]
        under = [line for line, _ in untied if is_underline(line, rest)]
        lines += under
        rest = without_teeth(erased(rest, under), [line for line in lines if not line.upright])
        untied = [
            (line, ends) for line, ends in untied if line.length > least and line not in under
        ]
    if loose := list(lines_apart(rest, untied)):
        lines += loose
        rest = erased(rest, loose) if row else erased(found, lines)
    if not lines:
        return found, False
    return (found, False) if are_writing(lines, rest) else (rest, True)


def are_writing(lines: list[Line], rest: Mask) -> bool:
    """Whether `lines` were all that is written: hardly anything is left in `rest` [h,w]."""
    if any(is_of_page(line, rest.shape) for line in lines):
        return False
    longest = max(line.length for line in lines)
    return max(largest_part(rest)) < LEFT_OVER * float(min(longest, *rest.shape))


def is_of_page(line: Line, shape: tuple[int, ...]) -> bool:
    """Whether `line` runs from border to border, as rules and folds do, and is as thin."""
    return all(line.ends) and line.thickness <= PAGE_LINE * min(shape)


def without_strokes(
    across: list[Line], down: list[Line], found: Mask
) -> tuple[list[tuple[Line, int]], list[Line], Mask]:
    """The lines that are no strokes of what is written, as `ties_of` gives them.

    Returns:
        Each with how many of its ends are tied; those tied at both; `found` [h,w] without these.
    """
    while True:
        ties = [
            (line, 2 if is_continued(line, down if line.upright else across) else ends)
            for line, ends in ties_of(across, down, found.shape)
        ]
        lines = both_tied(ties)
        rest = erased(found, lines)
        strokes = strokes_beside(ties, rest)
        if not strokes:
            return ties, lines, rest
        across = [line for line in across if line not in strokes]
        down = [line for line in down if line not in strokes]


def ties_of(
    across: list[Line], down: list[Line], shape: tuple[int, ...], *, row: bool = False
) -> list[tuple[Line, int]]:
    """Each of the lines across and down the picture, and how many of its ends are `tied`."""
    ties = [(line, tied(line, down, shape, row=row)) for line in across]
    return ties + [(line, tied(line, across, shape, row=row)) for line in down]


def both_tied(ties: list[tuple[Line, int]]) -> list[Line]:
    """The lines of which both ends are tied, without the strokes that lie along them."""
    lines = [line for line, ends in ties if ends == 2]
    if len(lines) < 2:
        return lines
    thicknesses = [line.thickness for line in lines]
    thickest = UNEVEN * min(thicknesses) + 1
    return [
        line.within(thickest) if thickness > thickest else line
        for line, thickness in zip(lines, thicknesses, strict=True)
    ]


def is_continued(line: Line, alike: list[Line]) -> bool:
    """Whether `line` is half of a rule that something interrupts: the other is among `alike`."""
    begins, stops = line.ends
    if begins == stops:
        return False
    for other in alike:
        first, last = (line, other) if begins else (other, line)
        gap, step = last.start - first.stop, int(last.rows[0]) - int(first.rows[-1])
        if (
            other.ends == (stops, begins)
            and abs(gap) <= HALVES * line.length
            and abs(step) <= CONTACT
        ):
            return True
    return False


def strokes_beside(ties: list[tuple[Line, int]], rest: Mask) -> list[Line]:
    """Of lines and how many of their ends are tied, those that are no sides of a frame.

    A side is as long as the writing in `rest` [h,w], and if one of its ends is loose, it runs along
    it; where an end is at the border, the frame may be cut.
    """
    if all(any(line.ends) for line, _ in ties):
        return []
    labels, stats, _ = components_of(rest)
    return [
        line
        for line, ends in ties
        if not any(line.ends) and not is_side(line, ends, stats, own_part(line, labels))
    ]


def is_side(line: Line, ends: int, stats: NDArray[np.int32], own: int) -> bool:
    """Whether `line`, so many of whose ends are tied, may be a side of a frame around the writing.

    Args:
        line: The line.
        ends: How many of its ends are tied.
        stats: Box and size of each part of the writing, as OpenCV gives them, [n,5].
        own: The part that the line belongs to, or 0.
    """
    sizes = stats[:, 4].copy()
    sizes[0] = 0
    if ends == 2:
        return not sizes.any() or line.length >= FRAME * along(line, stats[sizes.argmax()])[1]
    least = COMPARABLE * sizes[own]
    sizes[own] = 0
    parts = {own, int(sizes.argmax()) if sizes.max() > least else own} - {0}
    return all(
        min(line.stop, start + extent) - max(line.start, start) >= FRAME * extent
        for start, extent in (along(line, stats[part]) for part in parts)
    )


def along(line: Line, box: NDArray[np.int32]) -> tuple[int, int]:
    """Where `box`, left, top, width and height, begins along the line, and how long it is."""
    left, top, width, height = box[:4].tolist()
    return (top, height) if line.upright else (left, width)


def own_part(line: Line, labels: NDArray[np.int32]) -> int:
    """The connected part, of `labels` [h,w], that the line belongs to; 0 if it is not there."""
    row, column = line.point((line.start + line.stop) // 2)
    return int(labels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].max())


def hairlines(lines: list[Line], rest: Mask) -> list[Line]:
    """Those of `lines` that are much thinner than the strokes of `rest` [h,w]: no pen is both."""
    if not lines:
        return []
    ink = cv2.distanceTransform(rest, cv2.DIST_L2, 3)
    inside = ink[ink > 0]
    # From a stroke's edge to its middle the distance grows evenly.
    stroke = 4 * float(inside.mean()) if inside.size else 0.0
    return [line for line in lines if line.thickness <= HAIRLINE * stroke]


def is_underline(line: Line, rest: Mask) -> bool:
    """Whether `line`, across, lies under the writing of a row in `rest` [h,w].

    It is as long as the writing, and longer than any stroke of it; much longer if it touches some.
    """
    without = left_over(rest, [line])
    labels = np.flatnonzero(~without.crumb)
    if not labels.size:
        return False
    stats = without.parts.stats[labels]
    tallest = int(stats[:, cv2.CC_STAT_HEIGHT].max())
    large = stats[:, cv2.CC_STAT_HEIGHT] > COMPARABLE * tallest
    left, top = stats[large, :2].min(axis=0)
    right, bottom = (stats[large, :2] + stats[large, 2:4]).max(axis=0)
    row, _ = line.point((line.start + line.stop) // 2)
    own = components_of(rest).labels
    touched = np.unique(without.parts.labels[own == own_part(line, own)])
    is_apart = not np.isin(labels[large], touched).any()
    return bool(
        line.length > (UNDERLINE if is_apart else MUCH_LONGER * UNDERLINE) * tallest
        and min(line.stop, right) - max(line.start, left) > ALONG * (right - left)
        and row > bottom - LOWEST * (bottom - top)
    )


def without_teeth(rest: Mask, across: list[Line]) -> Mask:
    """Return `rest` [h,w] without the teeth of a comb: marks that divide a line that is gone.

    They are as thin as the line, of one height, less than that of what is written, and stand on it.
    """
    if not across:
        return rest
    components = components_of(rest)
    tooth = np.zeros(len(components.stats), np.bool_)
    for line in across:
        tooth |= are_teeth(components.stats, line)
    return np.asarray(rest & ~tooth[components.labels], np.uint8) if tooth.any() else rest


def are_teeth(stats: NDArray[np.int32], line: Line) -> NDArray[np.bool_]:
    """Which parts, by OpenCV's statistics [n,5], are teeth on the line; none unless two are."""
    left, top, width, height, _ = stats.T
    at = (left + width // 2 - line.start).clip(0, line.length - 1)
    teeth: NDArray[np.bool_] = (
        (np.abs(top + height - line.rows[at]) <= CONTACT + line.thickness)
        & (width <= THICKER * line.thickness + 1)
        & (height > width)
        & (height <= COMPARABLE * height[1:].max(initial=0))
    )
    teeth[0] = False
    if teeth.sum() < 2:
        return np.zeros(len(stats), np.bool_)
    return np.asarray(teeth & (np.abs(height - median(height[teeth])) <= CONTACT))


def reaches_border(found: Mask) -> bool:
    """Whether ink is as near to the border as the ends of an upright line that runs into it."""
    height, width = found.shape
    left, top, wide, high = cv2.boundingRect(found)
    margin = 2 + border_slack(height)
    return (
        min(left, top) <= margin or left + wide >= width - margin or top + high >= height - margin
    )


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


def largest_part(mask: Mask) -> tuple[int, int]:
    """Return width and height of the connected part that has most pixels."""
    stats = components_of(mask).stats[1:]
    if not len(stats):
        return 0, 0
    main = stats[stats[:, 4].argmax()]
    return int(main[2]), int(main[3])


def lines_apart(rest: Mask, loose: list[tuple[Line, int]]) -> Iterator[Line]:
    """Of lines and how many of their ends are tied, yield those that `is_apart` says are rules."""
    if not loose:
        return
    components = components_of(rest)
    if components.parts < 2:
        return
    parts, stats, _ = components
    longer = stats[:, 2:4].max(axis=1)
    longer[0] = 0
    judged = 0
    for line, ends in loose:
        part = own_part(line, parts)
        others = (
            max(int(longer[:part].max()), int(longer[part + 1 :].max(initial=0))) if part else 0
        )
        if others <= BESIDE * line.length:
            continue
        if is_apart(line, ends, rest, parts, part):
            yield line
        judged += 1
        if judged == MAX_JUDGED:
            return


def is_apart(line: Line, ends: int, rest: Mask, parts: NDArray[np.int32], part: int) -> bool:
    """Tell whether `line` is a rule beside the writing, or a corner's side.

    It is straight, longer than the largest part without it, and not connected to that part. If
    none of its ends is tied, it must be alone, keep a distance, and be no stroke of the writing.

    Args:
        line: The line.
        ends: How many of its ends are tied.
        rest: The mask, [h,w].
        parts: The connected parts of `rest`, [h,w].
        part: The part that the line belongs to.
    """
    without = left_over(rest, [line])
    sizes = np.where(without.crumb, 0, without.parts.stats[:, 4])
    main = int(sizes.argmax())
    longest_sides = np.where(without.crumb, 0, without.parts.stats[:, 2:4].max(axis=1))
    longer = int(longest_sides[main])
    if not BESIDE * line.length < longer < 1.1 * line.length:
        return False
    writing = without.parts.labels == main
    if (parts[writing] == part).any():
        return False
    if ends:
        return True
    if (longest_sides[np.unique(without.parts.labels[parts == part])] > BESIDE * line.length).any():
        return False
    close = cv2.dilate(writing.view(np.uint8), square(0.1 * line.length))
    if np.logical_and(close, rest > without.mask).any():
        return False
    return is_no_stroke(line, longer, without.parts.centers[main], rest.shape[1])


def is_no_stroke(line: Line, longer: int, middle: NDArray[np.float64], width: int) -> bool:
    """Whether `line`, which nothing ties or touches, is no stroke of the writing beside it.

    An upright one may be a 1; one above the writing, the bar of a 7.

    Args:
        line: The line.
        longer: The longer side of the writing, in pixels.
        middle: Its middle, column and row.
        width: Of the picture.
    """
    row, column = line.point((line.start + line.stop) // 2)
    if not line.upright:
        return row > middle[1] or line.length > LONGER_THAN_A_BAR * longer
    off_center = abs(float(middle[0]) / width - 0.5)
    farther = abs(column / width - 0.5) > 1.5 * off_center + 0.1
    return farther and line.length > LONGER_THAN_A_1 * longer


def bare_lines(found: Mask, ink: Plane, *, upright: bool, fitted: bool) -> list[Line]:
    """The `straight` lines of `found`, where no stroke lies on them."""
    lines = straight(found, upright=upright, fitted=fitted)
    return [line.beside_strokes(ink) for line in lines]


def straight(found: Mask, *, upright: bool, fitted: bool = False) -> list[Line]:
    """Return the straight thin lines of `found` within 16 degrees of the rows, or the columns.

    Args:
        found: The mask, [h,w].
        upright: Of the columns.
        fitted: Trace each again along the straight that fits it best: the votes' whole degrees
            lose a long one before its end.
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
    missed = 0
    for candidate in np.flatnonzero(hopeful):
        if lines and untaken[inside_rows[candidate], columns].sum() < least:
            continue
        line = tracer.trace(rows[candidate], inside_rows[candidate])
        if line is None:
            missed += 1
        else:
            if fitted and line.length >= FITTED:
                _take(untaken, line)
                line = tracer.fitted(line)
            lines.append(line)
            _take(untaken, line)
        if missed == MAX_MISSED or len(lines) == MAX_LINES:
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


def tied(line: Line, others: list[Line], shape: tuple[int, ...], *, row: bool = False) -> int:
    """Return how many ends of `line` are at the border or at the end of a line across.

    A rule or a frame's side has 2; the stem of a 4 ends in the middle of the side that it touches.
    In a row, the middle counts, too, of lines that may be a field's edge and that it touches, but
    nothing does of lines much thinner: a 1 may stand between them.
    """
    reach = max(3, int(0.06 * min(shape)))
    if row:
        thickness = line.thickness
        others = [one for one in others if thickness <= THICKER * one.thickness + 1]
    ends = 0
    for end, at_border in zip((line.start, line.stop - 1), line.ends, strict=True):
        place, column = line.point(end)
        ends += at_border or any(
            any(
                abs(place - y) <= reach and abs(column - x) <= reach
                for y, x in (other.point(other.start), other.point(other.stop - 1))
            )
            or (row and is_edge(other, line) and touches(other, place, column))
            for other in others
        )
    return ends


def is_edge(other: Line, line: Line) -> bool:
    """Whether `other` may be the edge of a field that `line` divides, and no rule of the page."""
    return other.length >= MUCH_LONGER * line.length and not all(other.ends)


def touches(line: Line, row: int, column: int) -> bool:
    """Whether `line` passes a place in the picture, so near that no ground is between."""
    along, across = (row, column) if line.upright else (column, row)
    if not line.start <= along < line.stop:
        return False
    at = along - line.start
    middle = int(line.rows[at])
    nearest = middle - line.above[at] - CONTACT, middle + line.below[at] + CONTACT
    return bool(nearest[0] <= across <= nearest[1])
