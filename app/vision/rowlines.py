"""Lines beside a row of digits: under it, along its field, and what stands on them.

The digits of a row are each much shorter than such a line, which tells it from their strokes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .components import components_of
from .ink import Mask, median
from .lines import CONTACT, Line, erased, left_over, own_part

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
    under = [line for line, _ in across if is_underline(line, rest)]
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
    own = components_of(rest).labels
    touched = np.unique(without.parts.labels[own == own_part(line, own)])
    if np.isin(labels[large], touched).any():
        return False
    left, top = stats[large, :2].min(axis=0)
    right, bottom = (stats[large, :2] + stats[large, 2:4]).max(axis=0)
    row, _ = line.point((line.start + line.stop) // 2)
    edge = OUTER * (bottom - top)
    return bool(
        line.length > UNDERLINE * tallest
        and min(line.stop, right) - max(line.start, left) > ALONG * (right - left)
        and not top + edge <= row <= bottom - edge
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
        & (width <= TOOTH * line.thickness + 1)
        & (height > width)
        & (height <= SHORT * height[1:].max(initial=0))
    )
    teeth[0] = False
    if teeth.sum() < 2:
        return np.zeros(len(stats), np.bool_)
    return np.asarray(teeth & (np.abs(height - median(height[teeth])) <= CONTACT))
