"""The canvas in a screenshot: an even, upright rectangle with one large figure in it.

What is around it, such as buttons and their words, is no writing.
"""

from __future__ import annotations

import cv2
import numpy as np

from .box import Box, cut, sides, within
from .components import Components, components_of
from .grayscale import GrayImage
from .ink import Mask, square

SMALLEST_PICTURE = 64
"""Pixels of the shorter side below which a screenshot's words can't be told from specks."""
EVEN = 0.5
"""Share of neighbours that are the same level to the last bit, at least: a camera has noise."""
STEP, STEPS, APART = 6, 0.25, 0.15
"""Levels that an edge of the rectangle has, at least, its length, and how far it is from the other,
at least, as shares of the picture's sides."""
FLAT = 5
"""Levels by which neighbours on even ground differ, at most."""
SMALLEST = 0.04
"""Share of the picture that the rectangle covers, at least."""
STRAIGHT = 0.7
"""Share of its edges that is straight, at least; corners may be round."""
WRITTEN = 0.3
"""Longer side of what is written in it, at least, as a share of its shorter side."""
RIVAL = 0.25
"""Size of another rectangle with writing, in sizes of the largest, from which on either may be
meant."""
ALIKE = 0.5, 2.0
"""Heights, as shares of that of what is written, between which a figure beside may be a digit."""
WIDEST = 1.5
"""Width of a digit, at most, as a share of its height."""
FRAME = 6
"""Pixels around the rectangle that its frame covers."""
INSET = 0.02
"""What is left out along the edges, as a share of the rectangle's shorter side."""


def find_panel(gray: GrayImage) -> Box | None:
    """Left, top, right, bottom of the canvas that a screenshot [h,w] shows, if it is one."""
    if min(gray.shape) < SMALLEST_PICTURE or not (_is_drawn(gray) and _has_edges(gray)):
        return None
    change = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, square(3))
    busy = np.asarray(change > FLAT).view(np.uint8)
    heights = [(panel, _written(panel, busy)) for panel in _panels(components_of(1 - busy))]
    written = [(panel, height) for panel, height in heights if height is not None]
    if not written or (len(written) > 1 and _size(written[1][0]) >= RIVAL * _size(written[0][0])):
        return None
    panel, height = written[0]
    return _inset(panel) if _stands_out(height, panel, busy) else None


def _is_drawn(gray: GrayImage) -> bool:
    """Whether a picture [h,w] has even tones without any grain, as no photo has."""
    some = gray[::8]
    return bool(np.count_nonzero(some[:, 1:] == some[:, :-1]) >= EVEN * some.size)


def _has_edges(gray: GrayImage) -> bool:
    """Whether a picture [h,w] has two long straight edges along its rows, and along its columns."""
    height, width = gray.shape
    for steps, axis, extent in (
        (cv2.absdiff(gray[1:], gray[:-1]), 1, width),
        (cv2.absdiff(gray[:, 1:], gray[:, :-1]), 0, height),
    ):
        steep = cv2.threshold(steps, STEP, 1, cv2.THRESH_BINARY)[1]
        lengths = cv2.reduce(steep, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        at = np.flatnonzero(lengths >= STEPS * extent)
        if not len(at) or at[-1] - at[0] < APART * steps.shape[1 - axis]:
            return False
    return True


def _panels(even: Components) -> list[Box]:
    """The upright rectangles within the picture among even regions, the largest first."""
    height, width = even.labels.shape
    found = []
    for part, (left, top, wide, high, _) in enumerate(even.stats.tolist()):
        box = (left, top, left + wide, top + high)
        if part and within(box, even.labels.shape) and wide * high >= SMALLEST * width * height:
            own = cut(even.labels, box) == part
            edges = (own[0], own[-1], own[:, 0], own[:, -1])
            if min(edge.mean() for edge in edges) >= STRAIGHT:
                found.append(box)
    return sorted(found, key=_size, reverse=True)


def _size(box: Box) -> int:
    """How many pixels are in a box."""
    width, height = sides(box)
    return width * height


def _inset(box: Box) -> Box:
    """A box without its edges."""
    left, top, right, bottom = box
    rim = 1 + round(INSET * min(right - left, bottom - top))
    return left + rim, top + rim, right - rim, bottom - rim


def _written(panel: Box, busy: Mask) -> int | None:
    """The height of what is written in a rectangle, if it is as large as a drawn digit."""
    inner = _inset(panel)
    width, height = sides(inner)
    x, y, wide, high, _ = components_of(cut(busy, inner).copy()).stats[1:].T
    inside = (x > 0) & (y > 0) & (x + wide < width) & (y + high < height)
    longer = np.maximum(wide, high) * inside
    if not len(longer) or longer.max() < WRITTEN * min(width, height):
        return None
    return int(high[longer.argmax()])


def _stands_out(height: int, panel: Box, busy: Mask) -> bool:
    """Whether there is something beside a rectangle and its frame, but no figure of this height."""
    left, top, right, bottom = panel
    beside = busy.copy()
    beside[max(0, top - FRAME) : bottom + FRAME, max(0, left - FRAME) : right + FRAME] = 0
    x, y, wide, high, _ = components_of(beside).stats[1:].T
    around = (x < right) & (x + wide > left) & (y < bottom) & (y + high > top)
    alike = (high >= ALIKE[0] * height) & (high <= ALIKE[1] * height) & (wide <= WIDEST * high)
    return len(high) > 0 and not (alike & ~around).any()
