"""Lines beside a row of digits: under it, along its field, and what stands on them.

The digits of a row are each much shorter than such a line, which tells it from their strokes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .components import components_of
from .ink import Mask, median
from .lines import CONTACT, Line, Rows, erased, left_over, own_part

HAIRLINE = 0.5
"""Thickness of a line beside a row, at most, in widths of its strokes, that is no stroke of it."""
UNDERLINE = 1.4
"""Length of a line under or over a row, at least, in heights of its digits."""
OUTER = 0.2
"""Share of the row's height, at its foot and top, in which a line may be under or over it."""
TIGHT = 0.7
"""Height of the tallest digit of a row that was cut out without margin, at least, as a share of the
picture's."""
SHORT = 0.5
"""Height of a mark or a tooth, at most, in heights of the tallest digit."""
TOOTH = 1.5
"""Thickness of a comb's tooth, at most, in thicknesses of the line that it stands on, and a pixel
more."""
CELLS = 2
"""Cells of a comb, at least."""
ALONG = 0.8
"""Length of a loose line beside a row, at least, as a share of the row's."""


def without_digits_strokes(lines: list[Line], found: Mask) -> list[Line]:
    """Those of `lines`, tied at both ends, that are no strokes of a row cut out without margin.

    The digits are then as high as the picture, `found` [h,w], and their strokes end at its border;
    but none is as long as the edges of a field.
    """
    if not lines or any(line.length > UNDERLINE * len(found) for line in lines if not line.upright):
        return lines
    rest = erased(found, lines)
    tallest = components_of(rest).stats[1:, cv2.CC_STAT_HEIGHT].max(initial=0)
    return lines if tallest < TIGHT * len(found) else hairlines(lines, rest)


def without_row_lines(
    rest: Mask, gone: list[Line], untied: list[tuple[Line, int]]
) -> tuple[Mask, list[Line], list[tuple[Line, int]]]:
    """Take from `rest` [h,w] what is no stroke of a row's digits by its thickness or length alone.

    Args:
        rest: The mask without the lines that are gone.
        gone: These lines.
        untied: The others, and how many of their ends are tied.

    Returns:
        What is left; the lines that were taken; those that may yet be rules beside the row.
    """
    taken = hairlines([line for line, ends in untied if ends], rest)
    rest = erased(rest, taken)
    least = max(min(rest.shape), ALONG * cv2.boundingRect(rest)[2])
    across = [(line, ends) for line, ends in untied if not line.upright and line not in taken]
    under = [line for line, _ in across if is_comb(line, rest) or is_underline(line, rest)]
    taken += under
    rest = erased(rest, under)
    rest = without_teeth(rest, [line for line in gone + taken if not line.upright])
    loose = [(line, ends) for line, ends in across if line.length > least and line not in under]
    return rest, taken, loose


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
    """Whether `line`, across, lies under or over the writing of a row in `rest` [h,w].

    It is as long as the writing, longer than any stroke of it, and touches none: the foot of a 2
    may lie on such a line.
    """
    without = left_over(rest, [line])
    labels = np.flatnonzero(~without.crumb)
    if not labels.size:
        return False
    stats = without.parts.stats[labels]
    tallest = int(stats[:, cv2.CC_STAT_HEIGHT].max())
    large = stats[:, cv2.CC_STAT_HEIGHT] > SHORT * tallest
    left, top = stats[large, :2].min(axis=0)
    right, bottom = (stats[large, :2] + stats[large, 2:4]).max(axis=0)
    row, _ = line.point((line.start + line.stop) // 2)
    edge = OUTER * (bottom - top)
    if (
        line.length <= UNDERLINE * tallest
        or min(line.stop, right) - max(line.start, left) <= ALONG * (right - left)
        or top + edge <= row <= bottom - edge
    ):
        return False
    own = components_of(rest).labels
    touched = np.unique(without.parts.labels[own == own_part(line, own)])
    return not np.isin(labels[large], touched).any()


def is_comb(line: Line, rest: Mask) -> bool:
    """Whether `line`, across, is a comb's under the row in `rest` [h,w], whatever touches it."""
    _, top, width, height = cv2.boundingRect(rest)
    row, _ = line.point((line.start + line.stop) // 2)
    is_under = row >= top + (1 - OUTER) * height
    is_long = line.length > max(ALONG * width, UNDERLINE * height)
    return is_under and is_long and bool(teeth_on(line, rest))


def without_teeth(rest: Mask, across: list[Line]) -> Mask:
    """Return `rest` [h,w] without the teeth of combs whose lines, across, are gone."""
    return erased(rest, [tooth for line in across for tooth in teeth_on(line, rest)])


def teeth_on(line: Line, rest: Mask) -> list[Line]:
    """The teeth of a comb that stand on `line` in `rest` [h,w], from left to right.

    They are as thin as the line, and of one height, less than half of that of what is written; one
    stands at each of the line's ends. One that a digit stands on stays, as does what is beside one.
    """
    foot = line.rows - int(median(line.above[line.thin])) - 1
    most = int(SHORT * cv2.boundingRect(rest)[3])
    high = climb(rest, line, foot, most + 1)
    marks = [(run, int(high[run].max())) for run in runs_of(high > CONTACT)]
    widest = TOOTH * line.thickness + 1
    thin = [(run, height) for run, height in marks if len(run) <= min(widest, height - 1)]
    if len(thin) <= CELLS:
        return []
    (first, height), (last, other) = thin[0], thin[-1]
    height = min(height, other)
    reach = CONTACT + line.thickness
    alike = [mark for mark in thin if abs(mark[1] - height) <= CONTACT]
    if height > most or first[0] > reach or last[-1] < line.length - 1 - reach or len(alike) < 2:
        return []
    return [tooth(rest, run + line.start, int(foot[run[0]]), height) for run, height in alike]


def runs_of(hit: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """The places of true values, by runs without a hole."""
    at = np.flatnonzero(hit)
    return np.split(at, np.flatnonzero(np.diff(at) > 1) + 1) if at.size else []


def climb(rest: Mask, line: Line, foot: Rows, most: int) -> Rows:
    """How far the ink of `rest` [h,w] goes up from above each column of `line`, `most` at most."""
    rows = foot - np.arange(most)[:, None]
    columns = np.arange(line.start, line.stop)
    inked = np.where(rows >= 0, rest[rows.clip(0), columns], 0)
    return np.asarray(np.minimum.accumulate(inked, axis=0).sum(axis=0, dtype=np.intp))


def tooth(rest: Mask, columns: NDArray[np.intp], foot: int, height: int) -> Line:
    """The upright line of these columns of `rest`, from row `foot` upwards, where it is bare."""
    rows, width = np.arange(foot - height + 1, foot + 1), len(columns)
    sides = np.array((columns[0] - 1, columns[-1] + 1)).clip(0, rest.shape[1] - 1)
    beside = np.setdiff1d(sides, columns)
    bare = ~rest[rows[:, None], beside].any(axis=1)
    left = np.full(height, (width - 1) // 2)
    ends = False, False
    return Line(True, int(rows[0]), foot + 1, columns[0] + left, left, width - 1 - left, bare, ends)
