"""The strip of a row: its ink at one height, for the network that reads rows without cuts."""

from __future__ import annotations

import cv2
import numpy as np

from .components import components_of
from .grayscale import GrayImage
from .ink import Plane, median

STRIP_HEIGHT = 28
"""Pixels of a strip's height."""
DIGIT_HEIGHT = 20
"""Pixels of the usual digit's height in it, as MNIST's longer side."""
RIM = 4
"""Columns without ink at both ends."""
MAX_STRIP = 1024
"""Columns of a strip, at most: some 60 digits. A longer row has none."""
SOLID = 96
"""Level of 255 from which on ink joins parts."""
TALL = 0.6
"""Height of the parts that are measured, at least, as a share of the tallest's."""


def no_strip() -> GrayImage:
    """That of a row without ink, or of one that is too long."""
    return np.empty((STRIP_HEIGHT, 0), np.uint8)


def strip_of(plane: Plane) -> GrayImage:
    """Bring a row `plane` [h,w] to one height: [STRIP_HEIGHT, w], white on black."""
    height, width = plane.shape
    scale = min(DIGIT_HEIGHT / _usual_height(plane), (STRIP_HEIGHT - 2) / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size[0] + 2 * RIM > MAX_STRIP:
        return no_strip()
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(np.asarray(plane, np.float32), size, interpolation=kind)
    top = (STRIP_HEIGHT - size[1]) // 2
    strip = np.zeros((STRIP_HEIGHT, size[0] + 2 * RIM), np.uint8)
    strip[top : top + size[1], RIM : RIM + size[0]] = np.rint(small.clip(0, 255))
    return strip


def _usual_height(plane: Plane) -> float:
    """The usual height of the larger connected parts of a row."""
    stats = components_of(np.asarray(plane > SOLID, np.uint8)).stats[1:]
    if not len(stats):
        return float(plane.shape[0])
    high = stats[:, cv2.CC_STAT_HEIGHT]
    return median(high[high > TALL * high.max()])
