"""Rules and frames: straight thin lines that are printed, and not strokes of the writing.

They are judged by where their ends are: rules run from border to border, a frame's sides from
corner to corner. Strokes that cross them stay.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from .components import components_of
from .ink import Mask, Plane, square
from .lines import CONTACT, Line, bare_lines, border_slack, erased, left_over, own_part
from .rowlines import without_digits_strokes, without_row_lines

LEFT_OVER = 0.25
"""The largest part that is left when lines are taken away is at least this share of their length
long, or of the picture's shorter side; else they were the writing."""
PAGE_LINES, PAGE_LINE = 3, 0.03
"""Lines from border to border that are a page's, at least: fewer may be strokes of a digit that
fills the picture; and their thickness, at most, as a share of the picture's shorter side."""
BESIDE = 0.4
"""Longer side of writing beside a line, at least, in lengths of the line."""
HALVES = 0.15
"""Gap in a rule, at most, in lengths of its half."""
FRAME = 0.8
"""Length of a frame's side, at least, in lengths of the writing along it. A frame that the writing
touches is as long as it is; the straight strokes of a digit beside another are shorter."""
LONGER_THAN_A_1 = 1.25
"""Length of a loose upright line, in lengths of the writing, from which on it is no 1."""
LONGER_THAN_A_BAR = 1.4
"""Length of a loose line above the writing, in lengths of that, from which on it is no bar of a 7
or a 5 that does not touch the rest."""
MAX_JUDGED = 6
"""Lines with a loose end that are looked at, at most."""
UNEVEN = 1.25
"""Thickness of a frame's side, in thicknesses of its thinnest and a pixel more, from which on
strokes lie on it."""
COMPARABLE = 0.5
"""Ink of other writing, at least, in that of the part that a line belongs to."""
MUCH_LONGER = 1.8
"""Length of a line, in lengths of one that ends on it, from which on it is a field's edge."""
THICKER = 1.5
"""Thickness of a line, in thicknesses of those that it ends on, from which on it is a stroke."""


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
    across = bare_lines(found, ink, upright=False, row=row)
    if not across and not reaches_border(found):
        return found, False  # an upright line's ends would have nothing to be tied to
    down = bare_lines(found, ink, upright=True, row=row)
    if not across and not down:
        return found, False
    if row:
        ties = ties_of(across, down, found.shape, row=True)
        lines = without_digits_strokes(both_tied(ties), found)
        rest, beside, untied = without_row_lines(erased(found, lines), lines, not_tied(ties))
        lines += beside
    else:
        lines, rest, untied = without_strokes(across, down, found)
        if single and not lines:
            return found, False  # a line that is connected to all the rest is not apart from it
    if loose := list(lines_apart(rest, untied)):
        lines += loose
        rest = erased(rest, loose) if row else erased(found, lines)
    if not lines:
        return found, False
    return (found, False) if are_writing(lines, rest) else (rest, True)


def are_writing(lines: list[Line], rest: Mask) -> bool:
    """Whether `lines` were all that is written: hardly anything is left in `rest` [h,w]."""
    if are_of_page(lines, rest.shape):
        return False
    return max(largest_part(rest)) < least_writing(lines, rest.shape)


def least_writing(lines: list[Line], shape: tuple[int, ...]) -> float:
    """Longer side of writing between `lines`, at least, in pixels: in a cell, if it is a table."""
    upright = sum(line.upright for line in lines)
    cells = max(upright, len(lines) - upright) - 1
    return LEFT_OVER * min(max(line.length for line in lines), *shape) / max(cells, 1)


def are_of_page(lines: list[Line], shape: tuple[int, ...]) -> bool:
    """Whether some of `lines` run beside each other from border to border, as thin as rules."""
    thickest = PAGE_LINE * min(shape)
    whole = [line.upright for line in lines if all(line.ends) and line.thickness <= thickest]
    return max(whole.count(upright) for upright in (False, True)) >= PAGE_LINES


def without_strokes(
    across: list[Line], down: list[Line], found: Mask
) -> tuple[list[Line], Mask, list[tuple[Line, int]]]:
    """The lines that are no strokes of what is written.

    Returns:
        Those that are tied at both ends, or divide a frame; `found` [h,w] without these; those
        that are `not_tied`, dividers among them.
    """
    while True:
        ties = [
            (line, 2 if is_continued(line, down if line.upright else across) else ends)
            for line, ends in ties_of(across, down, found.shape)
        ]
        lines = both_tied(ties)
        untied = not_tied(ties)
        lines += dividers([line for line, _ in untied], lines, found)
        rest = erased(found, lines)
        strokes = strokes_beside(ties, rest)
        if not strokes:
            return lines, rest, untied
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


def not_tied(ties: list[tuple[Line, int]]) -> list[tuple[Line, int]]:
    """The lines that have a loose end, and how many of their ends are tied."""
    return [(line, ends) for line, ends in ties if ends < 2]


def dividers(untied: list[Line], sides: list[Line], found: Mask) -> list[Line]:
    """Those of the untied lines that divide a frame, beside writing that they are no strokes of.

    They are as thin as the two sides that they end on.
    """
    lines = [line for line in untied if ends_on(line, sides)]
    if not lines:
        return []
    rest = erased(found, sides)
    parts = components_of(rest).labels
    without = left_over(rest, lines)
    longer = np.where(without.crumb, 0, without.parts.stats[:, 2:4].max(axis=1))
    if longer.max() < least_writing(sides + lines, found.shape):
        return []
    return [
        line
        for line in lines
        if longer[np.unique(without.parts.labels[parts == own_part(line, parts)])].max()
        <= BESIDE * line.length
    ]


def ends_on(line: Line, sides: list[Line]) -> bool:
    """Whether both ends of `line` are on lines across that are no thinner."""
    across = [side for side in sides if side.upright is not line.upright]
    across = [side for side in across if line.thickness <= side.thickness + 1]
    ends = (line.point(line.start), line.point(line.stop - 1))
    return all(any(touches(side, *end) for side in across) for end in ends)


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


def reaches_border(found: Mask) -> bool:
    """Whether ink is as near to the border as the ends of an upright line that runs into it."""
    height, width = found.shape
    left, top, wide, high = cv2.boundingRect(found)
    margin = 2 + border_slack(height)
    return (
        min(left, top) <= margin or left + wide >= width - margin or top + high >= height - margin
    )


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
