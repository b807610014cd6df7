from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize

from .test_normalize import alike, digits, ink, normalized

SIDE = 400


def photographed(light: NDArray[np.floating], *, noise: float = 3) -> GrayImage:
    """Paper of this much light, 0-1 [h,w], as a camera takes it."""
    grain = np.random.default_rng(5).normal(0, noise, light.shape)
    return np.asarray((228 * light + grain).clip(0, 255).round(), np.uint8)


def across(degrees: float, offset: float = 0) -> NDArray[np.float64]:
    """Distance of each pixel [SIDE,SIDE] from a straight line, which is so far from the middle."""
    turn = np.deg2rad(degrees)
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    return np.asarray(np.cos(turn) * x + np.sin(turn) * y - offset)


def fold(distance: NDArray[np.float64], width: float, taken: float) -> NDArray[np.float64]:
    """Light where a fold takes some: sharp on one side and soft on the other."""
    return np.where(distance < 0, 1 - taken * np.exp(distance / width), 1.05)


def crease(distance: NDArray[np.float64], width: float, taken: float) -> NDArray[np.float64]:
    """Light where a crease takes some: soft on both sides."""
    return np.asarray(1 - taken * np.exp(-((distance / width) ** 2) / 2))


@pytest.mark.parametrize("kind", [fold, crease])
@pytest.mark.parametrize("degrees", [0, 10, 90])
@pytest.mark.parametrize("width", [12, 20])
@pytest.mark.parametrize("taken", [0.15, 0.25])
def test_a_fold_in_blank_paper_is_no_ink(
    kind: Callable[..., NDArray[np.float64]], degrees: float, width: float, taken: float
) -> None:
    assert normalize(photographed(kind(across(degrees, 20), width, taken))).box is None


@pytest.mark.parametrize("degrees", [0, 20, 90])
@pytest.mark.parametrize("width", [25, 50])
@pytest.mark.parametrize("taken", [0.15, 0.3])
def test_a_soft_band_of_shadow_is_no_ink(degrees: float, width: float, taken: float) -> None:
    distance = across(degrees)
    begins, ends = (1 / (1 + np.exp(-(distance + at) / 8)) for at in (width / 2, -width / 2))
    assert normalize(photographed(1 - taken * (begins - ends))).box is None


@digits
@pytest.mark.parametrize("margin", [0, 60])
@pytest.mark.parametrize("taken", [0.25, 0.35])
def test_faint_soft_strokes_are_ink_however_they_are_cut(
    digit: int, margin: int, taken: float
) -> None:
    strokes = ink(digit, 240, 0.2)
    left, top, width, height = cv2.boundingRect(strokes)
    cut = np.pad(strokes[top : top + height, left : left + width], margin)
    soft = cv2.GaussianBlur(cut / 255, (0, 0), 5)
    assert normalize(photographed(1 - taken * soft)).box is not None


@pytest.mark.parametrize("digit", [1, 7])
@pytest.mark.parametrize("taken", [0.15, 0.25])
@pytest.mark.parametrize("blur", [1, 3])
def test_faint_pencil_is_ink_out_of_focus_too(digit: int, taken: float, blur: float) -> None:
    strokes = cv2.GaussianBlur(np.pad(ink(digit, 240), 80) / 255, (0, 0), blur)
    result = normalize(photographed(1 - taken * strokes))
    assert alike(result.digit, normalized(ink(digit, 240))) > 0.75


@pytest.mark.parametrize("degrees", [0, 90])
def test_a_digit_is_read_beside_a_fold(degrees: float) -> None:
    light = crease(across(degrees, 140), 12, 0.2) * (1 - 0.8 * np.pad(ink(3, 200), 100) / 255)
    assert alike(normalize(photographed(light)).digit, normalized(ink(3, 200))) > 0.9


@pytest.mark.parametrize("width", [3, 6])
@pytest.mark.parametrize("taken", [0.25, 0.4])
@pytest.mark.parametrize("blur", [0, 1])
def test_a_pencil_1_that_goes_from_border_to_border_is_ink(
    width: int, taken: float, blur: float
) -> None:
    stroke = np.zeros((300, 160), np.uint8)
    cv2.line(stroke, (85, 0), (75, 299), 255, width, cv2.LINE_AA)
    soft = cv2.GaussianBlur(stroke, (0, 0), blur) if blur else stroke
    found = normalize(photographed(1 - taken * soft / 255, noise=1))
    assert found.box is not None
    assert found.box[3] - found.box[1] > 290


@pytest.mark.parametrize("degrees", [5, 60, 100])
@pytest.mark.parametrize("taken", [0.15, 0.25])
def test_a_short_crease_is_no_ink(degrees: float, taken: float) -> None:
    fading = np.exp(-((across(degrees + 90) / 110) ** 4))
    light = 1 + (crease(across(degrees), 7, taken) - 1) * fading
    assert normalize(photographed(light)).box is None


@pytest.mark.parametrize("taken", [0.2, 0.35])
@pytest.mark.parametrize("blur", [1, 4, 8])
@pytest.mark.parametrize("pressed", [0.0, 0.4])
def test_a_faint_soft_1_is_ink(taken: float, blur: float, pressed: float) -> None:
    pressure = 1 - pressed * np.linspace(-1, 1, 240)[:, None] ** 2
    strokes = cv2.GaussianBlur(np.pad(pressure * ink(1, 240, 0.12) / 255, 80), (0, 0), blur)
    assert normalize(photographed(1 - taken * strokes)).box is not None


@pytest.mark.parametrize("row", [0, 1])
def test_a_faint_hairline_of_few_pixels_is_ink(row: int) -> None:
    light = np.ones((28, 28))
    light[4:24, 13 : 14 + row] = 0.75
    light[(3, 24), 13] = 0.9
    assert normalize(photographed(light, noise=0.5)).box is not None


@pytest.mark.parametrize("digit", [2, 3, 4, 7])
@pytest.mark.parametrize("side", [8, 12, 20, 40])
@pytest.mark.parametrize("dark", [False, True])
def test_a_small_digit_that_fills_its_picture_is_ink(digit: int, side: int, *, dark: bool) -> None:
    drawn = ink(digit, 200, 0.15)
    left, top, width, height = cv2.boundingRect(drawn)
    tight = drawn[top : top + height, left : left + width]
    size = max(1, round(side * width / height)), side
    small = np.asarray(cv2.resize(tight, size, interpolation=cv2.INTER_AREA), np.uint8)
    assert normalize(255 - small if dark else small).box is not None
