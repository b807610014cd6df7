"""Ink -> a digit as MNIST made them: white on black, 28×28, in a 20-pixel box.

How MNIST was made (Bottou and LeCun's code, as recovered in facebookresearch/qmnist, `xnist.lsh`):
the box of the ink, its longer side brought to 20 pixels by area resampling, greys kept; then
pasted into 28×28 at the integer offset that puts the centre of mass nearest to the centre.
"""

from __future__ import annotations

import cv2
import numpy as np

from .box import Box, bounds, cut, sides, within
from .grayscale import GrayImage
from .ink import Plane, exceeds, median

SIDE = 28
INK_SIDE = 20
MIDDLE = 14.5
"""Where the centre of mass is put, rounded down: 15, and the middle of a pixel is at 0.5."""
STRONG = 0.6
"""Share of the peak from which on ink is strong."""
FULL = 200
"""Ink from this level on is left as it is on clean ground."""
FADED, VISIBLE = 1.5, 40
"""On noisy ground: how much of the noise is taken from the ink, in its own floor; and the level
that is left above which ink counts for the box."""
SOLID = 128
"""Level above which ink counts for the width of strokes."""
HAIRLINE = 1.25
"""Strokes thinner than this, in pixels of the 20-pixel box, are made THICKENED wide."""
THICKENED = 1.9
THICKENED_SIDE = 320
"""Pixels of the longer side, at most, of the ink that is thickened, which takes time by the fourth
power of it: 16 for each of the digit's."""


def own_box(gray: GrayImage) -> Box | None:
    """The box of the ink, where it is 20 pixels long and the ground is black without a speck."""
    box = bounds(gray)
    if max(sides(box)) != INK_SIDE:
        return None
    return box if gray.shape == (SIDE, SIDE) or within(box, gray.shape) else None


def rendered(ink: Plane, floor: float) -> tuple[GrayImage, Box | None]:
    """`ink` [h,w], its ground's noise up to `floor`, as a digit [28,28], and its box in `ink`."""
    ink = leveled(ink, floor)
    box = ink_box(ink, VISIBLE if floor else 0)
    digit = None if box is None else boxed(thickened(cut(ink, box), max(sides(box)) / INK_SIDE))
    if digit is None:
        return np.zeros((SIDE, SIDE), np.uint8), None
    return digit, box


def leveled(ink: Plane, floor: float) -> Plane:
    """`ink` [h,w] without its ground's noise, its strokes as white as MNIST's."""
    peak = float(ink.max(initial=0))
    if peak == 0:
        return ink
    level = FULL if not floor and is_bold(ink, peak) else usual_level(ink, peak)
    if not floor and level >= FULL:
        return ink
    low = min(FADED * floor, level / 2)
    whiter: Plane = ((ink - low) * (255 / (level - low))).clip(0, 255)
    return whiter


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
    mask = (ink[::step, ::step] > SOLID).view(np.uint8)
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


def ink_box(ink: GrayImage | Plane, above: float) -> Box | None:
    """Return the smallest box around all values greater than `above`; None where there are none."""
    mask = ink if above == 0 and ink.dtype == np.uint8 else (ink > above).view(np.uint8)
    box = bounds(mask)
    return box if sides(box)[0] else None


def boxed(ink: Plane) -> GrayImage | None:
    """`ink` [h,w] in MNIST's box of 20 pixels, centered in [28,28]; None where nothing shows."""
    box = (0, 0, ink.shape[1], ink.shape[0])
    while True:
        fitted = in_levels(fit(cut(ink, box)))
        tight = bounds(fitted)
        if (longer := max(sides(tight))) in (0, INK_SIDE):
            return centered(fitted) if longer else None
        box = trimmed(box, tight, fitted.shape)


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


def in_levels(ink: Plane) -> GrayImage:
    """`ink` [h,w] in whole levels."""
    if ink.dtype == np.uint8:
        return np.asarray(ink, np.uint8)
    return np.rint(ink).astype(np.uint8)


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
