from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.vision import dots
from app.vision.grayscale import GrayImage
from app.vision.normalize import FILLED, normalize

from .test_normalize import STROKES, alike, ink

SIDE = 280
STROKE_SHARE = 0.9
"""Width of a stroke that is like a row of dots, in diameters."""


def dotted(digit: int, *, dot: float, step: float) -> GrayImage:
    """A digit in dots, dark on white; their diameter and their distance, in sides of it."""
    image = np.full((SIDE, SIDE), 255, np.uint8)
    for stroke in STROKES[digit]:
        points = np.array(stroke)
        lengths = np.hypot(*np.diff(points, axis=0).T)
        along = np.concatenate(([0.0], np.cumsum(lengths)))
        places = np.linspace(0, along[-1], round(along[-1] / step) + 1)
        for x, y in zip(*(np.interp(places, along, axis) for axis in points.T), strict=True):
            center = round(x * SIDE * 16), round(y * SIDE * 16)
            cv2.circle(image, center, round(dot * SIDE * 8), 0, -1, cv2.LINE_AA, 4)
    return image


@pytest.mark.parametrize("digit", STROKES)
@pytest.mark.parametrize(("dot", "step"), [(0.05, 0.07), (0.07, 0.11), (0.04, 0.08)])
def test_a_digit_in_dots_is_as_in_strokes(digit: int, dot: float, step: float) -> None:
    image = dotted(digit, dot=dot, step=step)
    drawn = normalize(ink(digit, SIDE, STROKE_SHARE * dot)).digit
    assert alike(normalize(image).digit, drawn) > 0.8


def test_what_is_drawn_in_strokes_is_left_alone() -> None:
    image = 255 - ink(4, SIDE)
    beside = image.copy()
    for x in range(20, 260, 60):
        cv2.circle(beside, (x, 272), 3, 0, -1)
    assert alike(normalize(beside).digit, normalize(image).digit) > 0.99


@pytest.mark.parametrize("side", [280, 560])
@pytest.mark.parametrize("share", [0.06, 0.1, 0.3, 0.5])
def test_a_tap_or_a_disc_is_a_filled_shape(side: int, share: float) -> None:
    image = np.full((side, side), 255, np.uint8)
    cv2.circle(image, (side // 2, side // 2), round(side * share / 2), 17, -1, cv2.LINE_AA)
    assert FILLED in normalize(image).warnings


@pytest.mark.parametrize("digit", STROKES)
def test_a_thick_pen_fills_no_shape(digit: int) -> None:
    assert FILLED not in normalize(255 - ink(digit, SIDE, 0.2)).warnings


def test_more_dots_than_a_digit_has_are_not_joined() -> None:
    field = np.zeros((180, 180), np.uint8)
    field[2::9, 2::9] = field[3::9, 2::9] = field[2::9, 3::9] = field[3::9, 3::9] = 1
    assert dots.joined(255 - 255 * field, 1, field) is None
    few = field.copy()
    few[60:], few[:, 60:] = 0, 0
    assert dots.joined(255 - 255 * few, 1, few) is not None
