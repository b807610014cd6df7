from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from app.vision.sheet import find_sheet

from .test_normalize import alike, framed, ink, page

WIDTH, HEIGHT = 600, 450
desks = pytest.mark.parametrize("desk", [30, 90, 150])
shares = pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
angles = pytest.mark.parametrize("angle", [-8, 0, 5])


def photo(share: float, angle: float, desk: int, digit: int | None = None) -> GrayImage:
    """A sheet of this share of the frame on a desk of this tone, lit from the left."""
    wide, high = round(share * WIDTH), round(share * HEIGHT)
    sheet = np.full((high, wide), 235, np.uint8)
    if digit is not None:
        strokes = ink(digit, high // 2)
        top, left = high // 4, wide // 3
        sheet[top : top + len(strokes), left : left + len(strokes)] -= (strokes * 0.8).astype(
            np.uint8
        )
    scene = np.full((HEIGHT, WIDTH), desk, np.uint8)
    top, left = (HEIGHT - high) // 2, (WIDTH - wide) // 2
    scene[top : top + high, left : left + wide] = sheet
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, 1)
    turned = cv2.warpAffine(scene, turn, (WIDTH, HEIGHT), borderValue=(desk,))
    calm = cv2.GaussianBlur(turned, (0, 0), 1.3) * np.linspace(1, 0.85, WIDTH)
    noise = np.random.default_rng(0).normal(0, 4, calm.shape)
    return np.asarray((calm + noise).clip(0, 255), np.uint8)


@desks
@shares
@angles
def test_a_digit_on_a_sheet_on_a_desk_is_found(share: float, angle: float, desk: int) -> None:
    result = normalize(photo(share, angle, desk, 7))
    no_desk = normalize(photo(share, angle, 235, 7))
    assert result.inverted
    assert alike(result.digit, no_desk.digit) > 0.95


@desks
@shares
@angles
def test_a_blank_sheet_on_a_desk_is_blank(share: float, angle: float, desk: int) -> None:
    assert normalize(photo(share, angle, desk)).box is None


def test_the_box_is_in_the_pictures_pixels() -> None:
    image = photo(0.6, 0, 60, 4)
    box = normalize(image).box
    assert box is not None
    sheet = image[100:350, 130:470]
    left, top, width, height = cv2.boundingRect((sheet < 140).astype(np.uint8))
    expected = (130 + left, 100 + top, 130 + left + width, 100 + top + height)
    assert np.abs(np.subtract(box, expected)).max() <= 4


@pytest.mark.parametrize(
    "image",
    [framed(3), page(7), np.repeat(np.repeat([[40, 220]], 90, 1), 150, 0).astype(np.uint8)],
    ids=["a frame", "a page", "a shadow"],
)
def test_what_is_no_sheet(image: GrayImage) -> None:
    assert find_sheet(image) is None


def test_a_thick_1_is_no_sheet() -> None:
    image = np.full((120, 90), 240, np.uint8)
    image[10:110, 35:55] = 30
    assert find_sheet(image) is None


@pytest.mark.parametrize("level", [1, 50, 200, 255])
def test_a_picture_of_one_tone_shows_no_sheet(level: int) -> None:
    assert find_sheet(np.full((100, 120), level, np.uint8)) is None


@pytest.mark.parametrize(("wide", "high"), [(180, 180), (420, 120), (120, 300)])
@pytest.mark.parametrize("desk", [60, 150])
def test_a_digit_on_a_note_or_a_strip_is_found(wide: int, high: int, desk: int) -> None:
    scene = np.full((480, 480), desk, np.uint8)
    top, left, side = (480 - high) // 2, (480 - wide) // 2, min(wide, high) * 2 // 3
    scene[top : top + high, left : left + wide] = 235
    strokes = (ink(3, side) * 0.8).astype(np.uint8)
    scene[240 - side // 2 :, 240 - side // 2 :][:side, :side] -= strokes
    result = normalize(cv2.GaussianBlur(scene, (0, 0), 1).astype(np.uint8))
    assert result.inverted
    assert (
        alike(result.digit, normalize(np.full((side, side), 235, np.uint8) - strokes).digit) > 0.9
    )


@pytest.mark.parametrize("desk", [90, 120])
def test_a_sheet_is_found_in_a_photo_that_is_darker_in_its_corners(desk: int) -> None:
    y, x = np.mgrid[-1:1:160j, -1:1:120j]
    scene = np.full((160, 120), desk, np.float64)
    scene[16:-16, 12:-12] = 235
    scene[70:90, 55:60] = 40
    lit = cv2.GaussianBlur(scene * (1 - 0.3 * (x**2 + y**2) / 2), (0, 0), 0.7)
    assert find_sheet(lit.astype(np.uint8)) is not None
