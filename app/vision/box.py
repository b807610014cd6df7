"""Boxes in pictures."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from .grayscale import GrayImage
from .ink import Plane

P = TypeVar("P", GrayImage, Plane, NDArray[np.int32])

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, the last two just beyond it."""


def bounds(found: MatLike) -> Box:
    """Return the smallest box around all of a mask [h,w], or of points [n,1,2]; of none, zeros."""
    left, top, width, height = cv2.boundingRect(found)
    return left, top, left + width, top + height


def sides(box: Box) -> tuple[int, int]:
    """Width and height of `box`."""
    left, top, right, bottom = box
    return right - left, bottom - top


def cut(plane: P, box: Box) -> P:
    """Return what is in `box` of `plane` [h,w], as a view."""
    left, top, right, bottom = box
    return plane[top:bottom, left:right]


def within(box: Box, shape: tuple[int, ...]) -> bool:
    """Tell whether `box` touches no border of a picture of this shape."""
    left, top, right, bottom = box
    return left > 0 and top > 0 and right < shape[1] and bottom < shape[0]


def widened(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """`box` and so many pixels around it, as far as a picture of `shape` has them."""
    left, top, right, bottom = box
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(shape[1], right + margin),
        min(shape[0], bottom + margin),
    )


def enlarged_box(box: Box, scale: float) -> Box:
    """`box` in a picture whose sides are `scale` times as long."""
    left, top, right, bottom = box
    return round(left * scale), round(top * scale), round(right * scale), round(bottom * scale)


def in_pixels(inner: Box, left: int, top: int, unit: int) -> Box:
    """`inner`, in pixels of `unit` of the input's each, as a box in the input's."""
    x, y, right, bottom = inner
    return left + x * unit, top + y * unit, left + right * unit, top + bottom * unit
