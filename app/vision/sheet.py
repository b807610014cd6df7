"""The sheet on a desk: one convex patch of one tone, with straight edges, amid another tone.

What is written is inside it. The desk is painted over in the sheet's own light, so that neither it
nor the sheet's edges are taken for ink.
"""

from __future__ import annotations

from operator import and_

import cv2
import numpy as np
from numpy.typing import NDArray

from .box import Box, bounds, widened
from .grayscale import GrayImage
from .ink import Mask, median, square

Outline = NDArray[np.int32]
"""Corners (x, y) of a convex outline, [n,1,2]."""

SMALLEST_PICTURE = 48
"""Pixels of the shorter side below which a sheet can't be told from a stroke."""
SMALLEST_SHEET, SMALLEST_NOTE = 0.12, 0.05
"""Share of the picture that a sheet covers, at least, and a note or a strip, which has writing."""
NARROWEST, NARROWEST_NOTE = 0.4, 0.22
"""Their shorter sides, at least, as shares of the picture's: a thick 1 is narrower than a sheet."""
WRITTEN = 0.01
"""Share of a note's inside that is writing, at least."""
CRUMBS = 0.002
"""Share of the picture that is dark beside a dark patch, at most, if nothing is written there."""
TONES = 30.0
"""Levels of 255 between sheet and desk, at least."""
CONVEX = 0.93
"""Share of its convex outline that a sheet fills; something may lie on its edge."""
STRAIGHT = 0.92
"""Share of its outline that few corners leave."""
CORNER_ERROR = 0.012
"""Distance of the outline from straight edges, at most, as a share of its length."""
EDGES = 4
"""Edges within the picture; the border may cut the corners off. Shadows have fewer, discs more."""
PAPER, DESK = 0.75, 0.85
"""Share of the sheet that has its tone, at least, and of what is beside it that has the other."""
SHARP, EDGE_PIXELS = 0.68, 4
"""Share of the difference in tone, at least, that is between the bands on both sides of the sheet's
edge, and their width in pixels: a shadow's edge is soft."""
RIM = 0.02
"""What is left out along the edges, as a share of the picture's longer side."""
FITTED_PIXELS = 2_000
"""Pixels that the sheet's light is measured at, about."""


def find_sheet(gray: GrayImage) -> Outline | None:
    """Return the outline of the sheet that a picture [h,w] shows on a desk, if it does."""
    if min(gray.shape) < SMALLEST_PICTURE:
        return None
    calm = np.asarray(cv2.blur(gray, (3, 3)), np.uint8)
    threshold = cv2.threshold(calm, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    bright: Mask = np.asarray(threshold[1], np.uint8)
    tones = [cv2.mean(calm, mask)[0] for mask in (bright, 1 - bright)]
    if tones[0] - tones[1] < TONES:
        return None
    for region in (bright, 1 - bright):
        outline = _outline(region, blank=region is bright)
        if outline is not None and _is_toned(region, outline):
            step = _step_over(calm, outline)
            return outline if step >= SHARP * (tones[0] - tones[1]) else None
    return None


def _outline(region: Mask, *, blank: bool) -> Outline | None:
    """The convex outline of the largest part of `region` [h,w], if it has a sheet's shape.

    Nothing need be written on it where it may be `blank`. A dark patch may be a shadow: it must be
    written on if there is writing beside it.
    """
    contours = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    hull = cv2.convexHull(contour)
    area = cv2.contourArea(hull)
    corners = cv2.approxPolyDP(hull, CORNER_ERROR * cv2.arcLength(hull, True), True)
    is_sheet = (
        area >= SMALLEST_NOTE * region.size
        and cv2.contourArea(contour) >= CONVEX * area
        and min(cv2.minAreaRect(hull)[1]) >= NARROWEST_NOTE * min(region.shape)
        and cv2.contourArea(corners) >= STRAIGHT * area
        and _edges_within(corners, region.shape) == EDGES
    )
    if not is_sheet:
        return None
    outline = np.asarray(hull, np.int32)
    if _is_large(outline, region.shape) and (blank or _is_alone(outline, region)):
        return outline
    return outline if _is_written(outline, region) else None


def _is_large(outline: Outline, shape: tuple[int, ...]) -> bool:
    """Whether an outline is that of a sheet, blank or not, in a picture of `shape`."""
    shorter = min(cv2.minAreaRect(outline)[1])
    size = shape[0] * shape[1]
    is_wide = shorter >= NARROWEST * min(shape)
    return bool(is_wide and cv2.contourArea(outline) >= SMALLEST_SHEET * size)


def _is_written(outline: Outline, region: Mask) -> bool:
    """Whether there is writing in an outline, away from its edges."""
    inner = 1 - off_sheet(outline, region.shape)
    covered = np.count_nonzero(inner)
    return bool(np.count_nonzero(inner & (1 - region)) > WRITTEN * covered)


def _is_alone(outline: Outline, region: Mask) -> bool:
    """Whether there is nothing of `region` [h,w] beside an outline, away from its edges."""
    beside = region.copy()
    cv2.fillConvexPoly(beside, outline, 0)
    cv2.polylines(beside, [outline], True, 0, 2 * EDGE_PIXELS)
    return bool(np.count_nonzero(beside) <= CRUMBS * region.size)


def _is_toned(region: Mask, outline: Outline) -> bool:
    """Whether `outline` has mostly `region` [h,w] in it, and little of it beside."""
    inside = np.zeros_like(region)
    cv2.fillConvexPoly(inside, outline, 1)
    covered, toned = np.count_nonzero(inside), np.count_nonzero(region & inside)
    beside = np.count_nonzero(region) - toned
    return bool(toned >= PAPER * covered and beside <= (1 - DESK) * (region.size - covered))


def _step_over(gray: GrayImage, outline: Outline) -> float:
    """By how much the levels of `gray` [h,w] differ on both sides of an outline, close to it."""
    inside = np.zeros_like(gray)
    cv2.fillConvexPoly(inside, outline, 1)
    band = square(1 + 2 * EDGE_PIXELS)
    inner = cv2.mean(gray, mask=cv2.subtract(inside, cv2.erode(inside, band)))[0]
    outer = cv2.mean(gray, mask=cv2.subtract(cv2.dilate(inside, band), inside))[0]
    return abs(inner - outer)


def _edges_within(corners: NDArray[np.generic], shape: tuple[int, ...]) -> int:
    """Count the edges of an outline that do not run along the picture's border."""
    height, width = shape
    near = [
        (x <= 2, y <= 2, x >= width - 3, y >= height - 3)
        for x, y in corners.reshape(-1, 2).astype(np.intp).tolist()
    ]
    edges = zip(near, near[1:] + near[:1], strict=True)
    return sum(not any(map(and_, here, there)) for here, there in edges)


def around(outline: Outline, shape: tuple[int, ...]) -> Box:
    """Left, top, right, bottom of a sheet and a little of the desk around it."""
    return widened(bounds(outline), round(2 * RIM * max(shape)), shape)


def off_sheet(outline: Outline, shape: tuple[int, ...]) -> Mask:
    """Where a picture of `shape` shows the desk or the sheet's edges, 0 or 1 [h,w]."""
    inside = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(inside, outline, 1)
    rim = square(1 + 2 * max(2, RIM * max(shape)))
    inner = cv2.erode(inside, rim, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return np.asarray(1 - inner, np.uint8)


def painted(gray: GrayImage, off: Mask) -> GrayImage:
    """`gray` [h,w] with the sheet's light, which varies evenly, where `off` says."""
    y, x = np.nonzero(off == 0)
    if not len(y):
        return gray
    step = 1 + len(y) // FITTED_PIXELS
    y, x = y[::step], x[::step]
    levels = gray[y, x].astype(np.float64)
    places = np.column_stack((x, y, np.ones(len(x))))
    kept = np.ones(len(x), bool)
    for _ in range(3):  # without the ink
        light = np.linalg.lstsq(places[kept], levels[kept])[0]
        error = np.abs(places @ light - levels)
        kept = error <= 3 * median(error) + 1
    height, width = gray.shape
    plane = light[0] * np.arange(width) + light[1] * np.arange(height)[:, None] + light[2]
    return np.where(off, np.rint(plane).clip(0, 255).astype(np.uint8), gray)
