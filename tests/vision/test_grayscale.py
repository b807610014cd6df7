from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.vision import grayscale
from app.vision.grayscale import MAX_GRAY_PIXELS, GrayImage, reduced, reduction, to_gray

SIDE = 120


def drawing(side: int = SIDE) -> GrayImage:
    """A 7 in black on white, without smooth edges."""
    page = np.full((side, side), 255, np.uint8)
    page[side // 6 : side // 4, side // 4 : side * 3 // 4] = 0
    for row in range(side // 6, side * 5 // 6):
        right = side * 3 // 4 - row // 3
        page[row, right - side // 10 : right] = 0
    return page


def on_card() -> Image.Image:
    """Two colours on a card that covers part of a transparent picture."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[20:100, 10:110] = (250, 240, 60, 255)
    rgba[40:80, 50:60] = (10, 20, 120, 200)
    return Image.fromarray(rgba)


def ink_on_nothing(colour: tuple[int, int, int]) -> Image.Image:
    rgba = np.dstack([np.full((SIDE, SIDE, 3), colour, np.uint8), 255 - drawing()])
    return Image.fromarray(rgba)


def specks_on_nothing() -> Image.Image:
    """So few visible pixels that a sample may miss them."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[61, 37:41] = (200, 30, 30, 255)
    rgba[77, 91:93] = (20, 30, 200, 255)
    return Image.fromarray(rgba)


def coloured() -> Image.Image:
    pixels = np.where(drawing()[..., None] < 128, (255, 255, 0), (255, 255, 255))
    return Image.fromarray(pixels.astype(np.uint8))


def deep() -> Image.Image:
    return Image.fromarray(drawing().astype(np.uint16) * 200)


MODES: dict[str, Any] = {
    "1": lambda: Image.fromarray(drawing()).convert("1"),
    "L": lambda: Image.fromarray(drawing()),
    "P": lambda: coloured().quantize(4),
    "RGB": coloured,
    "CMYK": lambda: coloured().convert("CMYK"),
    "I;16": deep,
    "F": lambda: Image.fromarray(drawing().astype(np.float32) * 7),
    "fractions": lambda: Image.fromarray(drawing().astype(np.float32) / 255),
    "RGBA on a card": on_card,
    "dark ink on nothing": lambda: ink_on_nothing((0, 0, 60)),
    "bright ink on nothing": lambda: ink_on_nothing((255, 255, 200)),
    "specks on nothing": specks_on_nothing,
    "LA": lambda: ink_on_nothing((0, 0, 0)).convert("LA"),
}


@pytest.mark.parametrize(
    ("pixels", "factor"),
    [
        (1, 1),
        (MAX_GRAY_PIXELS, 1),
        (MAX_GRAY_PIXELS + 1, 2),
        (4 * MAX_GRAY_PIXELS, 2),
        (64_000_000, 6),
    ],
)
def test_the_factor_leaves_no_more_than_the_most_pixels(pixels: int, factor: int) -> None:
    assert reduction(pixels) == factor


def test_reduced_pixels_are_means_and_a_rest_is_left_out() -> None:
    gray = np.array([[0, 100, 7], [100, 200, 7], [9, 9, 9]], np.uint8)
    assert reduced(gray, 2).tolist() == [[100]]
    assert reduced(gray, 1) is gray


@pytest.mark.parametrize("mode", MODES)
def test_strips_give_what_the_whole_picture_gives_reduced(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = MODES[mode]()
    whole = to_gray(image)
    monkeypatch.setattr(grayscale, "MAX_GRAY_PIXELS", image.width * image.height // 4)
    monkeypatch.setattr(grayscale, "STRIP_PIXELS", image.width * 14)
    strips = to_gray(image)
    assert strips.shape == (SIDE // 2, SIDE // 2)
    assert np.abs(strips.astype(int) - reduced(np.ascontiguousarray(whole), 2)).max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_a_drawing_keeps_its_contrast(mode: str) -> None:
    gray = to_gray(MODES[mode]())
    assert gray.dtype == np.uint8
    assert np.ptp(gray) > 100


@pytest.mark.parametrize("white", [1, 255])
def test_white_is_1_where_no_value_exceeds_it(white: int) -> None:
    dark = np.full((SIDE, SIDE), 51, np.uint8)
    for levels in (drawing(), dark):
        gray = to_gray(Image.fromarray(levels.astype(np.float32) * (white / 255)))
        assert np.array_equal(gray, levels)


@pytest.mark.parametrize("seed", range(20))
def test_the_median_of_levels_is_the_median(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, 5 + seed)
    levels = np.bincount(values, minlength=256)
    assert grayscale._median_level(levels) == np.median(values)
