from collections.abc import Callable

import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.impulses import SHARE, impulses, without_impulses
from app.vision.normalize import normalize

from .test_normalize import alike, digits, ink, normalized


def salted(gray: GrayImage, share: float, seed: int = 2) -> GrayImage:
    """`gray` [h,w] with this share of its pixels black or white."""
    draw = np.random.default_rng(seed).random(gray.shape)
    return np.where(draw < share / 2, 0, np.where(draw > 1 - share / 2, 255, gray)).astype(np.uint8)


def photo(digit: int, side: int) -> GrayImage:
    """A digit on paper that is lit from one side, as a camera takes it."""
    strokes = np.pad(ink(digit, side // 2), side // 4) / 255.0
    light = np.linspace(0.7, 1, side)
    grain = np.random.default_rng(1).normal(0, 4, (side, side))
    return np.asarray((215 * light * (1 - 0.8 * strokes) + grain).clip(0, 255).round(), np.uint8)


def page(digit: int, side: int) -> GrayImage:
    """A digit in black on white."""
    return 255 - np.pad(ink(digit, side // 2), side // 4)


@digits
@pytest.mark.parametrize("side", [200, 400])
@pytest.mark.parametrize("share", [0.06, 0.1])
@pytest.mark.parametrize("drawn", [page, photo])
def test_a_digit_is_read_in_salt_and_pepper(
    drawn: Callable[[int, int], GrayImage], share: float, side: int, digit: int
) -> None:
    result = normalize(salted(drawn(digit, side), share))
    assert alike(result.digit, normalized(ink(digit, side // 2))) > (0.8 if digit == 1 else 0.9)


@pytest.mark.parametrize("side", [200, 400, 800])
@pytest.mark.parametrize("level", [200, 255])
def test_paper_with_salt_and_pepper_is_blank(level: int, side: int) -> None:
    assert normalize(salted(np.full((side, side), level, np.uint8), 0.06)).box is None


@pytest.mark.parametrize("share", [0.03, 0.06, 0.1])
@pytest.mark.parametrize("level", [0, 100, 255])
def test_the_share_of_lone_pixels_is_measured(share: float, level: int) -> None:
    salty = salted(np.full((300, 400), level, np.uint8), share)
    expected = share if 0 < level < 255 else share / 2
    assert 0.6 * expected < impulses(salty) < 1.1 * expected


@pytest.mark.parametrize("side", [200, 400])
@digits
def test_a_photo_and_thin_strokes_stay_as_they_are(digit: int, side: int) -> None:
    gray = photo(digit, side)
    assert without_impulses(gray) is gray
    line = np.full((side, side), 255, np.uint8)
    cv2.line(line, (side // 4, 20), (side // 2, side - 20), 0, 1)
    line[:, ::12] = 0
    assert impulses(line) < SHARE
    assert without_impulses(line) is line


@pytest.mark.parametrize("pattern", [np.eye(2), 1 - np.eye(2)])
def test_a_pattern_of_lone_pixels_comes_to_an_end(pattern: GrayImage) -> None:
    checks = np.tile(pattern * 255, (60, 80)).astype(np.uint8)
    assert normalize(checks).digit.shape == (28, 28)
