"""Hard shadows, of a hand or a phone: paper in a second tone, with strokes in both.

Ground is what is even and broader than a stroke. The light of the paper changes little by little;
a shadow's edge and a stroke's cut the ground into regions. A stroke is darker than the ground of
every region around it, a shadow's edge only than that of the brighter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from .components import Components, components_of
from .grayscale import GrayImage
from .ink import InkMap, Mask, ink_over, median, square

SMALLEST_PICTURE = 64
"""Pixels of the shorter side below which a shadow can't be told from a stroke."""
STEP, NOISE = 0.1, 6
"""Share of its level, at most, and levels by which even ground changes from pixel to pixel."""
BROAD, BROADER = 0.045, 0.14
"""Half the width of ground, at least, as a share of the picture's shorter side; and that of a
shadow that lies within the picture, as a thick stroke does, too."""
DARKEST, DARKER = 0.2, 0.88
"""Light in a shadow, at least and at most, as a share of the paper's."""
PAPER = 0.05
"""Share of the picture that paper in full light covers, at least."""
ALIKE = 0.12
"""Share of its tone by which a piece of ground that a stroke cuts off differs, at most."""
CRUMB = 4
"""Pixels of the smallest piece."""
EDGE = 5
"""Pixels across a shadow's edge."""
MAX_REGIONS = 3
"""Regions that are looked at, at most, for one that may be a shadow."""
TAKEN_FOR_INK = 0.08
"""Share of what was found as ink that is ground in a shadow or beside it, at least."""
DEEPER = 0.08
"""By how much more light ink takes than the shadow, at least, as a share of the light: else either
may be the other."""


class Shadows(NamedTuple):
    """A picture of paper that lies partly in a shadow.

    Attributes:
        ground: Gray level behind the strokes [h,w].
        bare: Where there is nothing but ground, 0 or 1 [h,w].
        light: The share of light that the deepest shadow leaves, in 0-1.
    """

    ground: GrayImage
    bare: Mask
    light: float


def without_shadows(gray: GrayImage, found: InkMap) -> InkMap:
    """The ink of a picture [h,w] where hard shadows are ground; `found` if it has none of them."""
    if not found.dark or isinstance(found.ground, int) or min(gray.shape) < SMALLEST_PICTURE:
        return found
    calm = np.asarray(cv2.medianBlur(gray, 3), np.uint8)
    if not may_be_shadow(found.mask[::2, ::2], np.ascontiguousarray(calm[::2, ::2])):
        return found
    shadows = find_shadows(calm)
    if shadows is None or _share(found.mask, shadows.bare) < TAKEN_FOR_INK:
        return found
    lit = ink_over(gray, shadows.ground, dark=True)
    written = lit.mask > 0
    if not written.any():
        return found
    light = median(gray[written] / np.maximum(shadows.ground[written], 1))
    return lit if light < shadows.light - DEEPER else found


def even_ground(calm: GrayImage) -> Mask:
    """Where the level of a picture [h,w] changes little, as between the edges of strokes."""
    change = cv2.morphologyEx(calm, cv2.MORPH_GRADIENT, square(3))
    most = np.maximum(cv2.multiply(calm, STEP), NOISE)  # type: ignore[call-overload]
    return np.asarray(change <= most).view(np.uint8)


def may_be_shadow(mask: Mask, calm: GrayImage) -> bool:
    """Whether some of the `mask` [h,w] of the ink may be a shadow in a picture without grain.

    It is even, darker than the paper, broad, and reaches the picture's border or is broader than
    strokes are. Most pictures have nothing of that kind, which takes little time to tell.
    """
    side = min(calm.shape)
    brightest = cv2.minMaxLoc(calm)[1]
    dark = cv2.threshold(calm, DARKER * brightest, 1, cv2.THRESH_BINARY_INV)[1]
    left = cv2.bitwise_and(even_ground(calm), np.asarray(dark, np.uint8))
    broad = cv2.erode(left, square(2 * BROAD * side))
    broader = cv2.erode(broad, square(2 * (BROADER - BROAD) * side))
    for _ in range(MAX_REGIONS):
        seed = cv2.minMaxLoc(broad)[3]
        if not broad[seed[::-1]]:
            return False
        before = left.copy()
        box = cv2.floodFill(left, None, seed, 0)[3]
        region = cv2.subtract(before, left)
        is_taken = _has_some(mask, region)
        at_border = _at_border(np.asarray(box), left.shape)
        if is_taken and (at_border or _has_some(broader, region)):
            return True
        broad = cv2.bitwise_and(broad, left)
    return False


def _has_some(plane: MatLike, region: MatLike) -> bool:
    """Whether there is some of `plane` [h,w] in a region."""
    return cv2.countNonZero(cv2.bitwise_and(plane, region)) > 0


def _share(mask: Mask, bare: Mask) -> float:
    """The share of `mask` [h,w] that is bare ground."""
    return np.count_nonzero(mask & bare) / np.count_nonzero(mask)


def find_shadows(calm: GrayImage) -> Shadows | None:
    """Find the hard shadows on paper [h,w], without grain, that has dark strokes, if there are."""
    even = even_ground(calm)
    regions = components_of(even)
    broad, broader = _wider(even, regions, (BROAD, BROADER))
    level = regions.ink(calm) / np.maximum(regions.stats[:, 4], 1)
    large = broad & (regions.stats[:, 4] >= PAPER * calm.size)
    paper = level[large].max(initial=0)
    dark = broad & (level < DARKER * paper)
    at_border = _at_border(regions.stats, calm.shape)
    shadow = dark & (level >= DARKEST * paper) & (at_border | broader)
    if not shadow.any():
        return None
    ground = _with_pieces(shadow | (broad & ~dark), level, regions) | _at_corner(regions)
    bare = np.asarray(ground[regions.labels], np.uint8)
    return Shadows(_filled(calm, bare), bare, float(level[shadow].min() / paper))


def _wider(
    even: Mask, regions: Components, reaches: tuple[float, float]
) -> Iterator[NDArray[np.bool_]]:
    """Whether each region's middle is so far from its edges, the border aside, [n] for a reach."""
    padded = cv2.copyMakeBorder(even, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    for reach in reaches:
        wide = np.zeros(len(regions.stats), np.bool_)
        wide[regions.labels[distance >= reach * min(even.shape)]] = True
        yield wide


def _at_border(boxes: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether a box, or each [n,4], touches the border of a picture of `shape`.

    A box is its left, top, width and height; OpenCV's statistics [n,5] of regions begin with it.
    """
    left, top, width, height = boxes.T[:4]
    across = (left == 0) | (left + width == shape[1])
    return np.asarray(across | (top == 0) | (top + height == shape[0]), np.bool_)


def _at_corner(regions: Components) -> NDArray[np.bool_]:
    """Whether each region fills a corner of the picture, as what lies beyond a page does, [n]."""
    corners = np.zeros(len(regions.stats), np.bool_)
    corners[regions.labels[[0, 0, -1, -1], [0, -1, 0, -1]]] = True
    corners[0] = False
    return corners


def _with_pieces(
    ground: NDArray[np.bool_], level: NDArray[np.float64], regions: Components
) -> NDArray[np.bool_]:
    """The regions that are ground, [n], with those that strokes cut off from them."""
    tones = level[ground]
    alike = np.abs(level[:, None] - tones) < ALIKE * tones
    pieces = alike.any(axis=1) & (regions.stats[:, 4] >= CRUMB)
    pieces[0] = False
    return np.asarray(ground | pieces)


def _filled(calm: GrayImage, bare: Mask) -> GrayImage:
    """The level of the nearest bare ground, or of the darker one at a shadow's edge, [h,w]."""
    clear = cv2.erode(bare, square(3)) > 0  # without the faint edges of strokes
    _, nearest = cv2.distanceTransformWithLabels(
        (~clear).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    levels = np.zeros(int(nearest.max()) + 1, np.uint8)
    levels[nearest[clear]] = calm[clear]
    return np.asarray(cv2.erode(levels[nearest], square(EDGE)), np.uint8)
