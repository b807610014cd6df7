from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize

from .test_normalize import framed, ink

SIDE = 56
DIGITS = pytest.mark.parametrize("digits", [(7, 7), (1, 4), (4, 2, 3)], ids=str)


def row(digits: tuple[int, ...], gap: float) -> GrayImage:
    """Digits `SIDE` high, dark on white, `gap` of their height apart."""
    cut = []
    for digit in digits:
        one = ink(digit, SIDE)
        left, _, width, _ = cv2.boundingRect(one)
        cut += [one[:, left : left + width], np.zeros((len(one), round(gap * SIDE)), np.uint8)]
    return 255 - np.pad(np.concatenate(cut[:-1], axis=1), 30)


@DIGITS
@pytest.mark.parametrize("gap", [0.2, 0.6, 1.5, 2.5])
def test_each_digit_of_a_row_is_offered_apart(digits: tuple[int, ...], gap: float) -> None:
    apart = sorted(normalize(row(digits, gap)).apart, key=lambda part: part.box)
    assert len(apart) == len(digits)
    for part, digit in zip(apart, digits, strict=True):
        alone = normalize(255 - np.pad(ink(digit, SIDE), 30)).digit
        assert np.abs(part.digit.astype(int) - alone).mean() < 2


def test_each_part_has_its_box_in_the_pictures_pixels() -> None:
    image = row((7, 7), 1.5)
    _, _, stats, _ = cv2.connectedComponentsWithStats((image < 140).astype(np.uint8))
    expected = sorted((x, y, x + wide, y + high) for x, y, wide, high, _ in stats[1:])
    found = sorted(part.box for part in normalize(image).apart)
    assert np.abs(np.subtract(found, expected)).max() <= 3


@pytest.mark.parametrize("left", [False, True])
def test_a_blot_beside_a_digit_is_offered_apart(left: bool) -> None:
    # It may be a thick 0 or 8 whose holes are filled: the classifier tells them from blots.
    image = np.pad(ink(3, SIDE), ((30, 30), (30, 150)))
    cv2.circle(image, (SIDE + 90, 30 + SIDE // 2), SIDE // 3, 255, -1, cv2.LINE_AA)
    assert len(normalize(255 - image[:, ::-1] if left else 255 - image).apart) == 2


@pytest.mark.parametrize("digit", [2, 4, 7])
def test_an_exponent_is_offered_apart(digit: int) -> None:
    side = 2 * SIDE
    image = np.pad(ink(digit, side), ((50, 30), (30, 90)))
    small = side * 2 // 5
    left, top = 30 + side, 40
    image[top : top + small, left : left + small] = ink(3, small)
    assert len(normalize(255 - image).apart) == 2


def test_specks_beside_specks_are_not_offered_apart() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[10:12, 4:20:4] = 255
    assert normalize(image).apart == ()


@pytest.mark.parametrize("digit", [1, 4, 7])
def test_one_digit_with_a_speck_is_one(digit: int) -> None:
    image = 255 - np.pad(ink(digit, SIDE), 30)
    image[4:8, 4:8] = 0
    assert normalize(image).apart == ()


def test_dots_are_not_offered_apart() -> None:
    image = np.full((200, 200), 255, np.uint8)
    for place in range(40, 161, 20):
        cv2.circle(image, (100, place), 7, 0, -1, cv2.LINE_AA)
    assert normalize(image).apart == ()


@pytest.mark.parametrize("margin", [0, 3, 6])
def test_a_digit_cut_without_margin_is_offered_with_what_looks_like_a_rule(margin: int) -> None:
    seven = np.zeros((240, 180), np.uint8)
    near, far = 3 + margin, 176 - margin
    points = np.array([(near, near), (far, near), (70, 236 - margin)])
    cv2.polylines(seven, [points], False, 255, 6, cv2.LINE_AA)
    result = normalize(255 - seven)
    assert "frame-removed" in result.warnings
    assert result.with_lines is not None
    strokes = result.with_strokes(result.with_lines)
    assert strokes.box is not None
    assert np.abs(np.subtract(strokes.box, (margin, margin, 180 - margin, 240 - margin))).max() <= 4
    assert "frame-removed" not in strokes.warnings


def test_a_digit_in_a_frame_is_not_offered_with_it() -> None:
    assert normalize(framed(3)).with_lines is None
