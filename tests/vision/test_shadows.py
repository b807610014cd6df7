import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.ink import Mask, find_ink
from app.vision.normalize import normalize
from app.vision.shadows import find_shadows, without_shadows
from app.vision.sheet import find_sheet

from .test_normalize import alike, digits, ink, normalized

SIDE = 160


def phone(x: int, y: int, degrees: float) -> Mask:
    """The shadow of a phone held over the picture, 0 or 1 [SIDE,SIDE]."""
    shadow = np.zeros((SIDE, SIDE), np.uint8)
    corners = cv2.boxPoints(((x, y), (0.42 * SIDE, 0.7 * SIDE), degrees))
    cv2.fillConvexPoly(shadow, corners.astype(np.int32), 1)
    return shadow


def hand(x: int) -> Mask:
    """The shadow of a hand that comes in from below, 0 or 1 [SIDE,SIDE]."""
    shadow = np.zeros((SIDE, SIDE), np.uint8)
    shadow[126:, x - 5 : x + 44] = 1
    for finger in range(4):
        base, tip = x + 12 * finger, x + 13 * finger - 8
        cv2.line(shadow, (base, SIDE), (tip, 60 + 8 * abs(finger - 1)), 1, 9)
    return shadow


def head(x: int, y: int, radius: int) -> Mask:
    """The shadow of a head that leans over the picture, 0 or 1 [SIDE,SIDE]."""
    shadow = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(shadow, (x, y), (radius * 4 // 5, radius), 0, 0, 360, 1, -1)
    return shadow


def shaded(shadow: Mask, strokes: GrayImage, light: float, *, pen: float = 0.85) -> GrayImage:
    """Paper with strokes of this pen, and a shadow that leaves this share of the light."""
    left = 1 - (1 - light) * cv2.GaussianBlur(shadow.astype(np.float32), (0, 0), 0.6)
    grain = np.random.default_rng(7).normal(0, 1.5, shadow.shape)
    paper = 230 * left * (1 - pen * (strokes / 255.0)) + grain
    return np.asarray(paper.clip(0, 255).round(), np.uint8)


def placed(digit: int) -> GrayImage:
    """A digit in the middle."""
    return np.pad(ink(digit, 80), (SIDE - 80) // 2)


shadows = pytest.mark.parametrize(
    "shadow",
    [hand(30), hand(70), phone(35, 110, 20), phone(120, 60, 60), phone(80, 20, 80)],
    ids=["hand left", "hand", "phone left", "phone right", "phone above"],
)
lights = pytest.mark.parametrize("light", [0.4, 0.5, 0.65])


@digits
@shadows
@lights
def test_a_digit_is_read_across_a_hard_shadow(digit: int, shadow: Mask, light: float) -> None:
    result = normalize(shaded(shadow, placed(digit), light))
    assert alike(result.digit, normalized(placed(digit))) > 0.85


@shadows
@lights
def test_a_hard_shadow_is_ground(shadow: Mask, light: float) -> None:
    strokes = placed(3)
    gray = shaded(shadow, strokes, light)
    found = without_shadows(gray, find_ink(gray))
    near = cv2.dilate((strokes > 0).view(np.uint8), np.ones((7, 7), np.uint8))
    assert found.mask[strokes > 200].mean() > 0.95
    assert found.mask[near == 0].mean() < 0.01


@shadows
def test_a_blank_shadow_beside_writing_is_no_sheet(shadow: Mask) -> None:
    assert find_sheet(shaded(shadow, placed(3) * (1 - shadow), 0.5)) is None


@pytest.mark.parametrize("level", [0, 60, 120])
@pytest.mark.parametrize("degrees", [0, 12])
def test_a_dark_patch_with_nothing_beside_it_is_a_sheet(level: int, degrees: int) -> None:
    gray = np.full((SIDE, SIDE), 235, np.uint8)
    corners = cv2.boxPoints(((78, 82), (0.7 * SIDE, 0.6 * SIDE), degrees))
    cv2.fillConvexPoly(gray, corners.astype(np.int32), level)
    grain = np.random.default_rng(8).normal(0, 2, gray.shape)
    for picture in (gray, (gray + grain).clip(0, 255).astype(np.uint8)):
        assert find_sheet(picture) is not None


@digits
@pytest.mark.parametrize("width", [0.15, 0.25])
def test_thick_strokes_beside_darker_lines_are_no_shadow(digit: int, width: float) -> None:
    strokes = np.pad(ink(digit, 110, width), (SIDE - 110) // 2)
    gray = shaded(np.zeros_like(strokes), strokes, 1, pen=0.5)
    gray[::40] = 20
    found = find_ink(gray)
    assert without_shadows(gray, found) is found


@pytest.mark.parametrize("turns", range(4))
def test_what_lies_beyond_a_corner_of_the_page_is_no_ink(turns: int) -> None:
    gray = shaded(phone(35, 110, 20), placed(3), 0.5)
    cv2.fillConvexPoly(gray, np.array([[148, 0], [159, 0], [159, 60]]), 12)
    gray = np.ascontiguousarray(np.rot90(gray, turns))
    found = without_shadows(gray, find_ink(gray))
    corner = np.rot90(found.mask, -turns)[:50, 150:]
    assert not corner[:, 4:].any()


@pytest.mark.parametrize(
    "shadow",
    [head(10, 130, 60), head(150, 90, 55), head(0, 60, 45), phone(20, 150, 15), phone(10, 75, 82)],
    ids=["head below", "head right", "head left", "phone below", "phone left"],
)
@lights
def test_blank_paper_with_a_hard_shadow_is_blank(shadow: Mask, light: float) -> None:
    assert normalize(shaded(shadow, np.zeros_like(shadow), light)).box is None


def test_one_tone_from_border_to_border_has_no_shadow() -> None:
    assert find_shadows(np.full((SIDE, SIDE), 200, np.uint8)) is None
