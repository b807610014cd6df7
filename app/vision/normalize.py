"""GrayImage pixels -> a digit as MNIST made them: white ink on black, 28×28, in a 20-pixel box.

How MNIST was made (Bottou and LeCun's code, as recovered in facebookresearch/qmnist, `xnist.lsh`):
the box of the ink, its longer side brought to 20 pixels by area resampling, greys kept; then
pasted into 28×28 at the integer offset that puts the centre of mass nearest to the centre.

The ink is found on a reduced picture: which of dark and light is ink, the ground behind it, rules
and frames, the strokes that belong together. It is then cut from the picture as it came, so that
a small digit in a large photo loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from . import dots
from .boxes import without_boxes
from .components import components_of
from .grayscale import Box, GrayImage, reduced
from .groups import chosen
from .impulses import without_impulses
from .ink import (
    InkMap,
    Mask,
    Plane,
    exceeds,
    find_ink,
    find_ink_on,
    ink_above,
    median,
    noise_of,
    plain_ground,
    square,
)
from .lines import SMALLEST_LINED
from .panel import find_panel
from .rings import without_ring, without_touched_ring
from .rules import without_lines
from .shade import is_shade
from .shadows import without_shadows
from .sheet import Outline, around, find_sheet, off_sheet, painted

P = TypeVar("P", GrayImage, Plane)

SIDE = 28
INK_SIDE = 20
MIDDLE = 14.5
"""Where the centre of mass is put, rounded down: 15, and the middle of a pixel is at 0.5."""
FINDING_SIDE = 180
"""Pixels of the longer side, at most, of the picture that the ink is found on; a narrow one may be
longer, and has no more pixels than a square."""
ENOUGH_SIDE = 80
"""Pixels of the longer side from which on ink on grainy ground is cut from that picture: four for
each of the digit's, and less grain."""
GRAINY_PARTS = 79
"""Connected parts above which a picture is too grainy to find ink in without blurring it."""
MAX_BLURRED_FACTOR = 6
"""Reduction of the picture that ink is found on above which a grainy picture is halved first: the
blur's time grows by the third power of the side."""
MAX_SIDE = 9 * FINDING_SIDE
"""Pixels of the longer side, at most, of the picture that the digit is cut from."""
FILLED = "filled-shape"
"""What is said of a disc, a tap of the pen or a filled square: it has no strokes."""
EVEN_SIDES, FILLED_SHARE = 1.2, 0.71
"""Longer side in shorter sides, at most, and share of its box, at least, of a filled shape; eleven
of 70,000 of MNIST's digits are of that kind."""
CUT_MARGIN, CUT_PIXELS = 0.06, 2
"""Distance of ink from the border, at most, where a digit was cut with little margin, as a share of
the picture's shorter side; or so many pixels. Within it lines pass for tied to the border."""
LOW_CONTRAST = 64
"""Levels of 255 between ground and ink below which the answer says that there is little."""
STRONG = 0.6
"""Share of the peak from which on ink is strong."""
FULL = 200
"""Ink from this level on is left as it is on clean ground."""
HAIRLINE = 1.25
"""Strokes thinner than this, in pixels of the 20-pixel box, are made THICKENED wide."""
THICKENED = 1.9
THICKENED_SIDE = 320
"""Pixels of the longer side, at most, of the ink that is thickened, which takes time by the fourth
power of it: 16 for each of the digit's."""


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
    """Of "frame-removed", "touches-edge", "low-contrast" and `FILLED`, those that hold."""
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
        if self.box is None or "frame-removed" in self.warnings:
            return self
        return self._replace(warnings=("frame-removed", *self.warnings))

    def with_strokes(self, lined: Part) -> Normalized:
        """The same where the lines that were taken away are strokes of the digit."""
        warnings = tuple(slug for slug in self.warnings if slug != "frame-removed")
        return self._replace(digit=lined.digit, box=lined.box, warnings=warnings)

    def _placed(self, place: Callable[[Box], Box]) -> Normalized:
        lined = self.with_lines
        return self._replace(
            box=self.box and place(self.box),
            apart=tuple(part._replace(box=place(part.box)) for part in self.apart),
            with_lines=lined and lined._replace(box=place(lined.box)),
        )


def enlarged_box(box: Box, scale: float) -> Box:
    """`box` in a picture whose sides are `scale` times as long."""
    left, top, right, bottom = box
    return round(left * scale), round(top * scale), round(right * scale), round(bottom * scale)


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
        left, top, right, bottom = (edge * factor for edge in panel)
        drawn = normalize(np.ascontiguousarray(gray[top:bottom, left:right]))
        return drawn.moved(left, top).without_frame()
    if level is None and (calm := without_impulses(gray)) is not gray:
        gray, small = calm, reduced(calm, factor)
    sheet = find_sheet(small) if level is None else None
    if sheet is None:
        return normalize_page(gray, factor, without_shadows(small, find_ink_on(small, level)))
    left, top, right, bottom = (edge * factor for edge in around(sheet, small.shape))
    sheet = np.asarray(sheet * factor - (left, top), np.int32)
    page = gray[top:bottom, left:right]
    factor = finding_factor(page)
    return normalize_page(page, factor, ink_on(page, factor, sheet), sheet).moved(left, top)


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
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), 1.5 * factor), np.uint8)
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
        "frame-removed": framed,
        "touches-edge": not within(box, gray.shape),
        "low-contrast": peak < LOW_CONTRAST,
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


def is_cut(mask: Mask) -> bool:
    """Whether ink comes nearly to three borders, as of a digit that was cut with little margin."""
    left, top, width, height = cv2.boundingRect(mask)
    right, bottom = mask.shape[1] - left - width, mask.shape[0] - top - height
    return bool(
        sorted((left, top, right, bottom))[2] <= max(CUT_PIXELS, CUT_MARGIN * min(mask.shape))
    )


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


def in_pixels(inner: Box, left: int, top: int, unit: int) -> Box:
    """`inner`, in pixels of `unit` of the input's each, as a box in the input's."""
    x, y, right, bottom = inner
    return left + x * unit, top + y * unit, left + right * unit, top + bottom * unit


def within(box: Box, shape: tuple[int, ...]) -> bool:
    """Tell whether `box` touches no border of a picture of this shape."""
    left, top, right, bottom = box
    return left > 0 and top > 0 and right < shape[1] and bottom < shape[0]


def window(ink: Plane, kept: Mask, *, clean: bool) -> Box:
    """Where the digit's ink, with its faint edges, may lie; `clean` if there is nothing else."""
    left, top, width, height = cv2.boundingRect((ink > 0).view(np.uint8) if clean else kept)
    margin = 1 if clean else 2 + max(width, height) // 16
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(kept.shape[1], left + width + margin),
        min(kept.shape[0], top + height + margin),
    )


def spread(dropped: Mask, kept: Mask) -> Mask:
    """What was dropped and its faint edges, up to what was kept."""
    near = cv2.subtract(cv2.dilate(dropped, square(5)), cv2.dilate(kept, square(3)))
    return np.asarray(cv2.max(near, dropped), np.uint8)


def enlarged(small: GrayImage, factor: int, shape: tuple[int, ...]) -> GrayImage:
    """`small` at `factor` times its size, or at `shape`, which may be a rest larger."""
    if small.shape == shape:
        return small
    size = small.shape[1] * factor, small.shape[0] * factor
    large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    rest = ((0, shape[0] - size[1]), (0, shape[1] - size[0]))
    return np.asarray(np.pad(large, rest, mode="edge") if np.any(rest) else large, np.uint8)


def rendered(ink: Plane, floor: float) -> tuple[GrayImage, Box | None]:
    """`ink` [h,w], its ground's noise up to `floor`, as a digit [28,28], and its box in `ink`."""
    ink = leveled(ink, floor)
    box = ink_box(ink, 40 if floor else 0)
    digit = None if box is None else boxed(thickened(cut(ink, box), max(sides(box)) / INK_SIDE))
    if digit is None:
        return np.zeros((SIDE, SIDE), np.uint8), None
    return digit, box


def sides(box: Box) -> tuple[int, int]:
    """Width and height of `box`."""
    left, top, right, bottom = box
    return right - left, bottom - top


def leveled(ink: Plane, floor: float) -> Plane:
    """`ink` [h,w] without its ground's noise, its strokes as white as MNIST's."""
    peak = float(ink.max(initial=0))
    if peak == 0:
        return ink
    level = FULL if not floor and is_bold(ink, peak) else usual_level(ink, peak)
    if not floor and level >= FULL:
        return ink
    low = min(1.5 * floor, level / 2)
    whiter: Plane = ((ink - low) * (255 / (level - low))).clip(0, 255)
    return whiter


def boxed(ink: Plane) -> GrayImage | None:
    """`ink` [h,w] in MNIST's box of 20 pixels, centered in [28,28]; None where nothing shows."""
    box = (0, 0, ink.shape[1], ink.shape[0])
    while True:
        fitted = in_levels(fit(cut(ink, box)))
        left, top, width, height = cv2.boundingRect(fitted)
        if max(width, height) in (0, INK_SIDE):
            return centered(fitted) if width else None
        box = trimmed(box, (left, top, left + width, top + height), fitted.shape)


def in_levels(ink: Plane) -> GrayImage:
    """`ink` [h,w] in whole levels."""
    if ink.dtype == np.uint8:
        return np.asarray(ink, np.uint8)
    return np.rint(ink).astype(np.uint8)


def is_bold(ink: Plane, peak: float) -> bool:
    """Whether `usual_level` is FULL or more, for a quarter of its time."""
    some = sampled(ink)
    strong = np.count_nonzero(exceeds(some, STRONG * peak))
    return bool(2 * np.count_nonzero(some >= FULL) > strong)


def usual_level(ink: Plane, peak: float) -> float:
    """The median of the stronger ink, over some 10,000 pixels."""
    some = sampled(ink)
    strong = some[exceeds(some, STRONG * peak)]
    if not strong.size:
        return peak
    return median(strong)


def sampled(ink: Plane) -> Plane:
    """Return some 10,000 pixels of `ink` [h,w], evenly spread, as a view."""
    step = max(1, int((ink.size / 10_000) ** 0.5))
    return ink[::step, ::step]


def thickened(ink: Plane, unit: float) -> Plane:
    """Make hairlines in `ink` [h,w] as wide as MNIST's thinner strokes.

    The mean of a box of 20 pixels would leave little of them.

    Args:
        ink: Of one digit, or of several by one pen.
        unit: Pixels of `ink` that become one of the box.
    """
    if unit < 2:
        return ink
    step = int(unit) // 4 or 1  # four pixels for each of the digit's measure it as well as twenty
    mask = (ink[::step, ::step] > 128).view(np.uint8)
    if mask.all():  # a bar fills its box, and its width is to be measured from some ground
        mask = np.pad(mask, 1)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    width = step * max(1.0, 4 * cv2.mean(distance, mask)[0] - 2) if mask.any() else 0.0
    if width >= HAIRLINE * unit:
        return ink
    pool = -(-round(unit * INK_SIDE) // THICKENED_SIDE)
    more = round((THICKENED * unit - width) / pool) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (more, more))
    thick: Plane = cv2.dilate(np.pad(pooled(ink, pool), more // 2), disc)  # type: ignore[assignment]
    return thick


def pooled(ink: Plane, side: int) -> Plane:
    """Return the maxima of `ink` [h,w] over squares of `side`² pixels."""
    if side == 1:
        return ink
    square_window = np.ones((side, side), np.uint8)
    maxima: Plane = cv2.dilate(ink, square_window, anchor=(0, 0))  # type: ignore[assignment]
    return maxima[::side, ::side].copy()


def trimmed(box: Box, tight: Box, shape: tuple[int, ...]) -> Box:
    """`box` less its rows and columns that are too faint to show in the fitted digit."""
    left, top, right, bottom = box
    across, down = (right - left) / shape[1], (bottom - top) / shape[0]
    after = shape[1] - tight[2], shape[0] - tight[3]
    return (
        left + int(np.ceil(tight[0] * across)),
        top + int(np.ceil(tight[1] * down)),
        right - int(np.ceil(after[0] * across)),
        bottom - int(np.ceil(after[1] * down)),
    )


def own_box(gray: GrayImage) -> Box | None:
    """The box of the ink, where it is 20 pixels long and the ground is black without a speck."""
    left, top, width, height = cv2.boundingRect(gray)
    if max(width, height) != INK_SIDE:
        return None
    box = left, top, left + width, top + height
    return box if gray.shape == (SIDE, SIDE) or within(box, gray.shape) else None


def ink_box(ink: GrayImage | Plane, above: float) -> Box | None:
    """Return the smallest box around all values greater than `above`; None where there are none."""
    mask = ink if above == 0 and ink.dtype == np.uint8 else (ink > above).view(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    return (left, top, left + width, top + height) if width else None


def cut(ink: P, box: Box) -> P:
    """Return what is in `box`, as a view."""
    left, top, right, bottom = box
    return ink[top:bottom, left:right]


def fit(ink: Plane) -> Plane:
    """`ink` [h,w] with its longer side brought to 20 pixels, each the mean of what it covers."""
    height, width = ink.shape
    scale = INK_SIDE / max(height, width)
    if scale == 1:
        return ink
    size = max(1, round(width * scale)), max(1, round(height * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted: Plane = cv2.resize(ink, size, interpolation=kind)  # type: ignore[assignment]
    return fitted


def centered(ink: GrayImage) -> GrayImage:
    """`ink` [h,w], at most 28 a side, pasted into 28×28 by its centre of mass."""
    height, width = ink.shape
    moments = cv2.moments(ink)
    mass = max(moments["m00"], 1.0)
    left, top = offset(moments["m10"] / mass, width), offset(moments["m01"] / mass, height)
    digit = np.zeros((SIDE, SIDE), np.uint8)
    digit[top : top + height, left : left + width] = ink
    return digit


def offset(middle: float, extent: int) -> int:
    """Where ink of `extent` pixels is put whose mass has its centre `middle` pixels from there."""
    place, last = int(MIDDLE - middle), SIDE - extent
    if place < 0:
        return 0
    if place > last:  # min and max would take as long as all the rest
        return last
    return place
