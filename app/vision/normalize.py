"""GrayImage pixels -> a digit of 28×28 pixels: where it is, and what belongs to it.

The ink is found on a reduced picture: which of dark and light is ink, the ground behind it, rules
and frames, the strokes that belong together. It is then cut from the picture as it came, so that
a small digit in a large photo loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from typing import NamedTuple

import cv2
import numpy as np

from . import dots
from .box import Box, bounds, cut, enlarged_box, in_pixels, sides, widened, within
from .components import components_of
from .digit import FULL, SIDE, centered, own_box, rendered
from .grayscale import GrayImage, reduced
from .groups import chosen
from .impulses import without_impulses
from .ink import (
    FINDING_SIDE,
    GRAINY_PARTS,
    MAX_SIDE,
    InkMap,
    Mask,
    Plane,
    find_ink,
    find_ink_on,
    ink_above,
    is_cut,
    noise_of,
    plain_ground,
    spread,
    without_grain,
)
from .lines import SMALLEST_LINED
from .panel import find_panel
from .rings import without_ring, without_touched_ring
from .rules import without_lines
from .shade import is_shade
from .shadows import without_shadows
from .sheet import Outline, around, find_sheet, off_sheet, painted
from .tickboxes import without_boxes

ENOUGH_SIDE = 80
"""Pixels of the longer side from which on ink on grainy ground is cut from that picture: four for
each of the digit's, and less grain."""
MAX_BLURRED_FACTOR = 6
"""Reduction of the picture that ink is found on above which a grainy picture is halved first: the
blur's time grows by the third power of the side."""
FRAME_REMOVED, TOUCHES_EDGE, LITTLE_CONTRAST = "frame-removed", "touches-edge", "low-contrast"
"""What is said of a digit besides its label."""
FILLED = "filled-shape"
"""What is said of a disc, a tap of the pen or a filled square: it has no strokes."""
EVEN_SIDES, FILLED_SHARE = 1.2, 0.71
"""Longer side in shorter sides, at most, and share of its box, at least, of a filled shape; eleven
of 70,000 of MNIST's digits are of that kind."""
LOW_CONTRAST = 64
"""Levels of 255 between ground and ink below which the answer says that there is little."""


class Part(NamedTuple):
    """Ink that may be a digit by itself."""

    digit: GrayImage
    """As `Normalized.digit`."""
    box: Box
    """Left, top, right, bottom in the input's pixels."""
    inside: bool
    """It is a part of `Normalized.digit`, too."""


class Normalized(NamedTuple):
    """A digit and what was done to get it."""

    digit: GrayImage
    """[28,28], white ink on black."""
    inverted: bool
    """The input was dark ink on light ground."""
    box: Box | None
    """Left, top, right, bottom of the ink in the input's pixels; None where it is blank."""
    warnings: tuple[str, ...]
    """Of `FRAME_REMOVED`, `TOUCHES_EDGE`, `LITTLE_CONTRAST` and `FILLED`, those that hold."""
    apart: tuple[Part, ...] = ()
    """Where the ink may be several digits: each by itself."""
    with_lines: Part | None = None
    """Where a digit may have been cut without margin, and its strokes be taken for rules: the ink
    with them."""

    def scaled(self, scale: float) -> Normalized:
        """The same of a picture whose sides are `scale` times as long."""
        if scale == 1 or self.box is None:
            return self
        return self._placed(lambda box: enlarged_box(box, scale))

    def moved(self, left: int, top: int) -> Normalized:
        """The same of a picture that this one was cut from, so far from its left and top."""
        if self.box is None:
            return self
        return self._placed(lambda box: in_pixels(box, left, top, 1))

    def clipped(self, shape: tuple[int, ...]) -> Normalized:
        """The same with boxes that end where a picture of `shape` does."""
        height, width = shape
        return self._placed(lambda box: (*box[:2], min(box[2], width), min(box[3], height)))

    def without_frame(self) -> Normalized:
        """The same where a frame around all of it was left out."""
        if self.box is None or FRAME_REMOVED in self.warnings:
            return self
        return self._replace(warnings=(FRAME_REMOVED, *self.warnings))

    def with_strokes(self, lined: Part) -> Normalized:
        """The same where the lines that were taken away are strokes of the digit."""
        warnings = tuple(slug for slug in self.warnings if slug != FRAME_REMOVED)
        return self._replace(digit=lined.digit, box=lined.box, warnings=warnings)

    def _placed(self, place: Callable[[Box], Box]) -> Normalized:
        lined = self.with_lines
        return self._replace(
            box=self.box and place(self.box),
            apart=tuple(part._replace(box=place(part.box)) for part in self.apart),
            with_lines=lined and lined._replace(box=place(lined.box)),
        )


def normalize(gray: GrayImage) -> Normalized:
    """Normalize `gray` [h,w] of any size to a digit as MNIST made them, or to a blank one."""
    if (box := own_box(gray)) is not None:
        return Normalized(centered(cut(gray, box)), False, box, ())
    if (excess := -(-max(gray.shape) // MAX_SIDE)) > 1:
        return normalize_reduced(gray, excess)
    factor = finding_factor(gray)
    small = reduced(gray, factor)
    level = plain_ground(small)
    if level is None and (panel := find_panel(small)) is not None:
        panel = in_pixels(panel, 0, 0, factor)
        drawn = normalize(np.ascontiguousarray(cut(gray, panel)))
        return drawn.moved(*panel[:2]).without_frame()
    if level is None and (calm := without_impulses(gray)) is not gray:
        gray, small = calm, reduced(calm, factor)
    sheet = find_sheet(small) if level is None else None
    if sheet is None:
        return normalize_page(gray, factor, without_shadows(small, find_ink_on(small, level)))
    box = in_pixels(around(sheet, small.shape), 0, 0, factor)
    sheet = np.asarray(sheet * factor - box[:2], np.int32)
    page = cut(gray, box)
    factor = finding_factor(page)
    return normalize_page(page, factor, ink_on(page, factor, sheet), sheet).moved(*box[:2])


def finding_factor(gray: GrayImage) -> int:
    """By how much `gray` [h,w] is reduced to find the ink."""
    shorter, longer = sorted(gray.shape)
    usual = -(-longer // FINDING_SIDE)
    as_large = ceil((shorter * longer) ** 0.5 / FINDING_SIDE)
    return int(min(usual, max(as_large, shorter // SMALLEST_LINED)))


def ink_on(gray: GrayImage, factor: int, sheet: Outline | None) -> InkMap:
    """Find the ink of `gray` [h,w], reduced by `factor`, or on the sheet that it shows."""
    small = reduced(gray, factor)
    if sheet is None:
        return without_shadows(small, find_ink(small))
    off = off_sheet(sheet // factor, small.shape)
    return replace(find_ink(painted(small, off)), off=off)


def normalize_page(
    gray: GrayImage, factor: int, found: InkMap, sheet: Outline | None = None
) -> Normalized:
    """Normalize the ink `found` in `gray` [h,w], reduced by `factor`, or in a calmer copy of it."""
    parts = count_parts(found.mask)
    if parts > GRAINY_PARTS:
        if factor > MAX_BLURRED_FACTOR:
            return normalize_reduced(gray, 2)
        gray = without_grain(gray, factor)
        found = ink_on(gray, factor, sheet)
        parts = count_parts(found.mask)
    if parts >= dots.FEWEST and (strokes := dots.joined(gray, factor, found.mask)) is not None:
        gray, found = strokes, ink_on(strokes, factor, sheet)
        parts = count_parts(found.mask)
    return normalize_found(gray, factor, found, parts) if parts else blank(inverted=found.dark)


def normalize_found(gray: GrayImage, factor: int, found: InkMap, parts: int) -> Normalized:
    """Normalize the ink that was found in `gray` [h,w], reduced by `factor`, in so many parts."""
    floor = noise_of(found.ink, found.mask)
    strokes, framed = without_lines(found.mask, found.ink, single=parts == 1)
    if parts > 1:
        strokes, ticked = without_boxes(strokes)
        framed |= ticked
    kept, apart = strokes, list[tuple[Mask, bool]]()
    ringed = False
    if parts > 1 or framed:
        strokes, ringed = without_ring(strokes, components_of(strokes), found.ink)
    if not ringed:
        strokes, ringed = without_touched_ring(strokes)
    framed |= ringed
    if parts > 1 or framed:
        kept, apart = chosen(strokes, found.ink, framed=framed)
    if is_shade(kept, found):
        return blank(inverted=found.dark)
    digit, box, peak = digit_of(kept, gray, factor, found, floor)
    if box is None:
        return blank(inverted=found.dark)
    warnings = {
        FRAME_REMOVED: framed,
        TOUCHES_EDGE: not within(box, gray.shape),
        LITTLE_CONTRAST: peak < LOW_CONTRAST,
        FILLED: is_filled(digit),
    }
    lined = framed and is_cut(found.mask)
    part = partial(part_of, gray=gray, factor=factor, found=found, floor=floor)
    return Normalized(
        digit,
        found.dark,
        box,
        tuple(slug for slug, so in warnings.items() if so),
        tuple(one for mask, inside in apart if (one := part(mask, inside=inside))),
        part(connected(found.mask, kept), inside=True) if lined else None,
    )


def is_filled(digit: GrayImage) -> bool:
    """Whether `digit` [28,28] fills most of a square box, as a disc does."""
    mask = (digit > FULL // 2).view(np.uint8)
    _, _, width, height = cv2.boundingRect(mask)
    is_square = max(width, height) <= EVEN_SIDES * min(width, height)
    return is_square and cv2.countNonZero(mask) > FILLED_SHARE * width * height


def connected(mask: Mask, kept: Mask) -> Mask:
    """The connected parts of `mask` [h,w] that `kept` has something of."""
    count, labels = cv2.connectedComponents(mask)
    keep = np.zeros(count, bool)
    keep[labels[kept > 0]] = True
    keep[0] = False
    return np.asarray(keep[labels], np.uint8)


def part_of(
    kept: Mask, *, inside: bool, gray: GrayImage, factor: int, found: InkMap, floor: float
) -> Part | None:
    """Cut what `kept` [h,w] keeps of the ink, as `digit_of` does; None where it is blank."""
    digit, box, _ = digit_of(kept, gray, factor, found, floor)
    return None if box is None else Part(digit, box, inside)


def digit_of(
    kept: Mask, gray: GrayImage, factor: int, found: InkMap, floor: float
) -> tuple[GrayImage, Box | None, float]:
    """Cut what `kept` [h,w] keeps of the ink that was found.

    Returns:
        The digit [28,28], its box in pixels of `gray`, None where it is blank, and its peak.
    """
    dropped = beside(kept, found)
    near = window(found.ink, kept, clean=dropped is None and floor == 0)
    ink, unit = ink_within(near, gray, factor, found, noisy=floor > 0)
    if dropped is not None:
        ink *= 1 - enlarged(cut(spread(dropped, kept), near), factor // unit, ink.shape)
    digit, inner = rendered(ink, floor)
    box = None if inner is None else in_pixels(inner, near[0] * factor, near[1] * factor, unit)
    return digit, box, float(ink.max(initial=0))


def beside(kept: Mask, found: InkMap) -> Mask | None:
    """What there is beside the ink `kept` [h,w]: other ink, and no paper; None if nothing."""
    if kept is found.mask and found.off is None:
        return None
    dropped = found.mask & (1 - kept)
    if found.off is not None:
        dropped |= found.off
    return dropped if dropped.any() else None


def normalize_reduced(gray: GrayImage, factor: int) -> Normalized:
    """Normalize `gray` at 1/`factor` of its size, which must be enough for its digit."""
    # A side that is shorter than `factor` is a pixel of the smaller picture all the same.
    return normalize(reduced(gray, factor)).scaled(factor).clipped(gray.shape)


def count_parts(mask: Mask) -> int:
    """Count the connected parts of `mask` [h,w]."""
    return int(cv2.connectedComponents(mask)[0]) - 1


def ink_within(
    near: Box, gray: GrayImage, factor: int, found: InkMap, *, noisy: bool
) -> tuple[Plane, int]:
    """Cut the ink that lies in the box `near` of the reduced picture.

    Returns:
        The ink [h,w], the caller's to change, and how many pixels of `gray` each side of its
        pixels spans: 1, or `factor` where the reduced picture is enough.
    """
    left, top, right, bottom = near
    if noisy and max(bottom - top, right - left) >= ENOUGH_SIDE:
        return cut(found.ink, near).copy(), factor
    whole = gray[top * factor :, left * factor :]
    if (bottom, right) != found.mask.shape:
        whole = whole[: (bottom - top) * factor, : (right - left) * factor]
    ground = found.ground
    if not isinstance(ground, int):
        ground = enlarged(cut(ground, near), factor, whole.shape)
    return ink_above(whole, ground, dark=found.dark), 1


def blank(*, inverted: bool) -> Normalized:
    """Return the outcome for a picture without ink."""
    return Normalized(np.zeros((SIDE, SIDE), np.uint8), inverted, None, ())


def window(ink: Plane, kept: Mask, *, clean: bool) -> Box:
    """Where the digit's ink, with its faint edges, may lie; `clean` if there is nothing else."""
    box = bounds((ink > 0).view(np.uint8) if clean else kept)
    return widened(box, 1 if clean else 2 + max(sides(box)) // 16, kept.shape)


def enlarged(small: GrayImage, factor: int, shape: tuple[int, ...]) -> GrayImage:
    """`small` at `factor` times its size, or at `shape`, which may be a rest larger."""
    if small.shape == shape:
        return small
    size = small.shape[1] * factor, small.shape[0] * factor
    large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    rest = ((0, shape[0] - size[1]), (0, shape[1] - size[0]))
    return np.asarray(np.pad(large, rest, mode="edge") if np.any(rest) else large, np.uint8)
