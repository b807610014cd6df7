"""Where the ink is: which of dark and light is ink, on what ground, and how much there is of it.

Works on pages that are shaded, tinted, grainy or even, without learning anything: strokes are
narrow, and the smaller part of where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .grayscale import GrayImage, reduced

Mask = NDArray[np.uint8]
Plane = NDArray[np.floating] | GrayImage
Ground = GrayImage | int
"""Its levels [h,w], or the one level of an even page."""

FINDING_SIDE = 180
"""Pixels of the longer side, at most, of the picture that the ink is found on; a narrow one may be
longer, and has no more pixels than a square."""
GRAINY_PARTS = 79
"""Connected parts above which a picture is too grainy to find ink in without blurring it."""
GRAIN_BLUR = 1.5
"""Spread of the blur that takes grain away, in pixels of the picture that the ink is found on."""
MAX_SIDE = 9 * FINDING_SIDE
"""Pixels of the longer side, at most, of the picture that the digit is cut from."""
CUT_MARGIN, CUT_PIXELS = 0.06, 2
"""Distance of ink from the border, at most, where a digit was cut with little margin, as a share of
the picture's shorter side; or so many pixels. Within it lines pass for tied to the border."""
WIDE, NARROW = 0.36, 0.13
"""Strokes as wide as this are not taken for ground, as shares of the picture's shorter side."""
SHADOW, BROAD = 0.2, 1.15
"""Shares of the narrow strokes' ink: more than this elsewhere is shadow; more than this in all
beside them is broader strokes."""
CONTRAST = 14.0
"""Levels of 255 between ground and ink below which a picture is blank."""
NOISE_SPREADS = 4.0
"""How far above the ground's own spread a level is before it counts as ink."""
INK_SHARE = 0.3
"""Share of the peak from which on a level is ink."""
CORNER_WEIGHT = 0.03
"""What a corner counts against the whole picture when ground is told from ink."""
DOUBT = 0.1
"""How far a picture may lean to bright ink, as a share of what is weighed, and be dark on light all
the same: a shadow's hard edge speaks for either, and shadows fall on paper rather than boards."""
RIPPLES = 3
"""Levels by which an even page may differ at its rim: enlarging by cubic curves leaves so much."""
WHITE = 255
DARKEST = 24
"""Ground is taken to be at least this bright where ink is the share of its light taken away."""


def square(side: float) -> Mask:
    """A window of odd side for morphology."""
    side = max(1, int(side)) | 1
    return np.ones((side, side), np.uint8)


@dataclass(frozen=True, slots=True)
class InkMap:
    """The ink of a picture.

    Attributes:
        dark: Whether it is dark ink on light ground.
        ground: Gray level behind the ink, one for all or [h,w].
        ink: How much ink there is, 0–255 [h,w].
        mask: Where ink was found, 0 or 1 [h,w].
        off: Where the picture shows no paper, 0 or 1 [h,w]; None where it shows nothing else.
    """

    dark: bool
    ground: Ground
    ink: Plane
    mask: Mask
    off: Mask | None = None


def find_ink(gray: GrayImage) -> InkMap:
    """Find the ink of a picture [h,w], on one plain ground or on an uneven one."""
    return find_ink_on(gray, plain_ground(gray))


def find_ink_on(gray: GrayImage, level: int | None) -> InkMap:
    """Find the ink of a picture [h,w] whose `plain_ground` is known."""
    if level is None:
        return strokes_of(gray, dark=ink_is_dark(gray))
    dark = bool(level > gray.min())
    return ink_over(gray, level, dark=dark)


def plain_ground(gray: GrayImage) -> int | None:
    """The level of an even page, as canvases and scans have; None where most has not just one."""
    level = int(gray[0, 0])
    if level not in cv2.minMaxLoc(gray)[:2]:
        return None
    rim = np.concatenate((gray[0], gray[-1], gray[:, 0], gray[:, -1]))
    rippled = rim.max() - rim.min() > RIPPLES
    if rippled or 2 * np.count_nonzero(gray == level) <= gray.size:
        return None
    return level


def ink_is_dark(gray: GrayImage) -> bool:
    """Tell whether most pixels are nearer to the brightest around them than to the darkest.

    Strokes are the smaller part of their surroundings, wherever they are and however lit.
    """
    calm = reduced(gray, 2) if min(gray.shape) > 96 else cv2.blur(gray, (3, 3))
    window = square(WIDE * max(min(calm.shape), calm.shape[0] // 2))
    to_brightest = cv2.subtract(cv2.dilate(calm, window), calm)
    to_darkest = cv2.subtract(calm, cv2.erode(calm, window))
    for_dark, for_bright = mean(to_darkest), mean(to_brightest)
    lean = for_dark - for_bright
    corner = calm.shape[0] // 12 + 1, calm.shape[1] // 12 + 1
    for rows in (np.s_[: corner[0]], np.s_[-corner[0] :]):
        for columns in (np.s_[: corner[1]], np.s_[-corner[1] :]):
            lean += CORNER_WEIGHT * mean(to_darkest[rows, columns])
            lean -= CORNER_WEIGHT * mean(to_brightest[rows, columns])
    return lean > -DOUBT * (for_dark + for_bright)


def strokes_of(gray: GrayImage, *, dark: bool) -> InkMap:
    """The ink on uneven ground.

    A wide window sees broad strokes whole, but also the shadows that a narrow one does not see.
    What it finds beside narrow strokes is more of them; what it finds elsewhere is no ink.
    """
    side = max(min(gray.shape), gray.shape[0] // 2)  # a 1 without margin is nearly all there is
    calm = np.asarray(cv2.medianBlur(gray, 3) if min(gray.shape) > 64 else gray, np.uint8)
    wide = ink_over(gray, ground_of(calm, WIDE * side, dark=dark), dark=dark)
    narrow = ink_over(gray, ground_of(calm, NARROW * side, dark=dark), dark=dark)
    near = cv2.dilate(narrow.mask, square(1.5 * NARROW * side))
    narrow_ink = float((narrow.ink * narrow.mask).sum())
    ink = wide.ink * wide.mask
    beside = float((ink * near).sum())
    elsewhere = float(ink.sum()) - beside
    shaded = elsewhere > SHADOW * narrow_ink and beside < BROAD * narrow_ink
    return narrow if shaded else wide


def ink_over(gray: GrayImage, ground: Ground, *, dark: bool) -> InkMap:
    """Find the ink of a picture [h,w] whose ground is known."""
    ink = ink_above(gray, ground, dark=dark)
    peak = peak_of(ink)
    if peak < CONTRAST:
        return InkMap(dark, ground, ink, np.zeros(gray.shape, np.uint8))
    found = exceeds(ink, max(INK_SHARE * peak, CONTRAST / 2))
    if not isinstance(ground, int):
        levels = np.asarray(cv2.subtract(ground, gray), np.uint8) if dark else ink
        found &= exceeds_noise(levels)
    return InkMap(dark, ground, ink, found.view(np.uint8))


def exceeds_noise(levels: Plane) -> NDArray[np.bool_]:
    """Where `levels` [h,w] beside the ground's are more than noise, as strong in any light."""
    # Ink that covers most of the picture must not pass for its noise.
    return exceeds(levels, min(noise_floor(levels), 0.6 * peak_of(levels)))


def peak_of(plane: Plane) -> float:
    """The highest level of `plane` [h,w] but for single pixels."""
    return float(cv2.minMaxLoc(cv2.blur(plane, (3, 3)))[1])


def ground_of(gray: GrayImage, stroke: float, *, dark: bool) -> GrayImage:
    """`gray` [h,w] without what is narrower than `stroke`: its closing (opening, of bright ink).

    The picture goes on beyond its borders for a quarter of that: what the border cuts is ground
    where it is a shadow, but not where a stroke runs along it.
    """
    kind = cv2.MORPH_CLOSE if dark else cv2.MORPH_OPEN
    window = square(stroke)
    rim = len(window) // 4
    whole = cv2.copyMakeBorder(gray, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    height, width = gray.shape
    inner = np.s_[rim : rim + height, rim : rim + width]
    return np.ascontiguousarray(cv2.morphologyEx(whole, kind, window)[inner], np.uint8)


def ink_above(gray: GrayImage, ground: Ground, *, dark: bool) -> Plane:
    """Return how much ink there is, 0–255 [h,w].

    Of dark ink, the share of the ground's light that it takes away, whatever the light; of bright
    ink, what it adds.
    """
    if isinstance(ground, int):
        if dark and ground == WHITE:
            return np.asarray(cv2.bitwise_not(gray), np.uint8)
        ground = np.full_like(gray, ground)
    if not dark:
        return np.asarray(cv2.subtract(gray, ground), np.uint8)
    taken, light = cv2.subtract(ground, gray), np.maximum(ground, np.uint8(DARKEST))
    return np.asarray(cv2.divide(taken, light, scale=WHITE, dtype=cv2.CV_32F), np.float32)


def exceeds(plane: Plane, level: float) -> NDArray[np.bool_]:
    """Where `plane` [h,w] is above `level`: of bytes, without making them floats first."""
    return plane > (int(level) if plane.dtype == np.uint8 else level)


def noise_floor(ink: Plane) -> float:
    """The highest level of the ground's noise."""
    histogram = cv2.calcHist([np.asarray(ink, np.uint8)], [0], None, [256], [0, 256]).ravel()
    share = np.cumsum(histogram) / ink.size
    low, middle = (int(np.searchsorted(share, part)) for part in (0.1, 0.4))
    return float(middle + NOISE_SPREADS * (middle - low))


def noise_of(ink: Plane, found: Mask) -> float:
    """The level that 2% of the ground exceed; 0 only where there is not a speck on it."""
    around = square(5 + 0.08 * min(ink.shape))  # the faint edges of enlarged pixels are ink, too
    outside = (cv2.dilate(found, around) == 0).view(np.uint8)
    highest = cv2.minMaxLoc(ink, outside)[1]
    if not highest:
        return 0.0
    return max(percentile(ink[outside > 0][::5], 0.98), min(highest, 1.0))


def percentile(values: NDArray[Any], share: float) -> float:
    """The value [n] that `share` of all are below, as np.percentile gives in ten times the time."""
    place = (values.size - 1) * share
    low = int(place)
    high = min(low + 1, values.size - 1)
    ordered = np.partition(values, (low, high))
    below, above, part = ordered[low], ordered[high], place - low
    step = above - below
    return float(above - step * (1 - part) if part >= 0.5 else below + step * part)


def median(values: NDArray[Any]) -> float:
    """The median of values [n], for a quarter of np.median's time: that looks for NaN first."""
    low, high = (values.size - 1) // 2, values.size // 2
    return float(np.partition(values, (low, high))[low : high + 1].mean())


def mean(plane: NDArray[Any]) -> float:
    """The mean level of `plane` [h,w], for a tenth of its own method's time."""
    return float(cv2.sumElems(plane)[0] / plane.size)


def without_grain(gray: GrayImage, factor: int) -> GrayImage:
    """`gray` [h,w], of which the ink is found at 1/`factor`, blurred until grain is no ink."""
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), GRAIN_BLUR * factor), np.uint8)


def is_cut(mask: Mask) -> bool:
    """Whether ink comes nearly to three borders, as of a digit that was cut with little margin."""
    left, top, width, height = cv2.boundingRect(mask)
    right, bottom = mask.shape[1] - left - width, mask.shape[0] - top - height
    return bool(
        sorted((left, top, right, bottom))[2] <= max(CUT_PIXELS, CUT_MARGIN * min(mask.shape))
    )


def spread(dropped: Mask, kept: Mask) -> Mask:
    """What was dropped and its faint edges, up to what was kept."""
    near = cv2.subtract(cv2.dilate(dropped, square(5)), cv2.dilate(kept, square(3)))
    return np.asarray(cv2.max(near, dropped), np.uint8)
