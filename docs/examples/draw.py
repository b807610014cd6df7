"""Draws the pictures that the README sends: `python docs/examples/draw.py`.

seven.jpg   a photo: a seven in ball-pen on shaded, grainy paper, a little tilted
three.png   a canvas: a three on transparent ground, as a browser's canvas exports it
five.png    a five, white on black, 28×28
number.png  a number on white paper: 735
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
FINE = 4  # bits of a coordinate's fraction

Strokes = list[NDArray[np.float64]]
Image = NDArray[np.uint8]


def arc(
    x: float, y: float, width: float, height: float, *, degrees: tuple[int, int]
) -> NDArray[np.float64]:
    """Part of an ellipse about (x, y) with these radii; degrees are clockwise from the right."""
    angles = np.radians(np.linspace(*degrees, 40))
    return np.column_stack([x + width * np.cos(angles), y + height * np.sin(angles)])


# In a unit square, y downwards.
THREE: Strokes = [
    np.vstack(
        [
            arc(0.45, 0.28, 0.24, 0.2, degrees=(-160, 80)),
            arc(0.45, 0.69, 0.28, 0.23, degrees=(-80, 155)),
        ]
    )
]
FIVE: Strokes = [
    np.array([[0.73, 0.1], [0.33, 0.12], [0.29, 0.46]]),
    np.vstack([[[0.29, 0.46]], arc(0.44, 0.66, 0.27, 0.22, degrees=(-120, 150))]),
]
SEVEN: Strokes = [np.array([[0.2, 0.16], [0.5, 0.13], [0.78, 0.14], [0.6, 0.45], [0.42, 0.92]])]


def draw(strokes: Strokes, size: int, *, width: float) -> Image:
    """The strokes, white on black, [size, size]; `width` in pixels."""
    scale = 1 if size >= 100 else 10  # small ones are drawn large, for lines have whole widths
    image = np.zeros((size * scale, size * scale), np.uint8)
    for stroke in strokes:
        points = np.rint(stroke * size * scale * 2**FINE).astype(np.int32)
        cv2.polylines(image, [points], False, 255, round(width * scale), cv2.LINE_AA, FINE)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


def photo(ink: Image, *, seed: int) -> Image:
    """`ink` written in blue on paper, [1200,900,3] BGR: tilted, shaded, blurred, with grain."""
    rng = np.random.default_rng(seed)
    height, width = 1200, 900
    tilt = cv2.getRotationMatrix2D((ink.shape[1] / 2, ink.shape[0] / 2), 6, 1.0)
    tilt[:, 2] += (330, 390)
    cover = cv2.warpAffine(ink, tilt, (width, height)).astype(np.float32)[..., None] / 255
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    light = (1 - 0.35 * across - 0.2 * down).astype(np.float32)[..., None]
    paper = np.array([205, 226, 232], np.float32)
    pen = np.array([120, 52, 40], np.float32)
    seen = cv2.GaussianBlur(((1 - cover) * paper + cover * pen) * light, (0, 0), 1.5)
    return (seen + rng.normal(0, 5, seen.shape)).clip(0, 255).astype(np.uint8)


def row(digits: list[Strokes]) -> Image:
    """The digits side by side, black on white, the second a little lower."""
    page = np.zeros((140, 40 + 95 * len(digits)), np.uint8)
    for place, digit in enumerate(digits):
        top, left = 20 + 6 * (place % 2), 20 + 95 * place
        page[top : top + 100, left : left + 100] |= draw(digit, 100, width=7)
    return 255 - page


def main() -> None:
    """Draw the examples beside this file."""
    seven = photo(draw(SEVEN, 300, width=9), seed=7)
    cv2.imwrite(str(HERE / "seven.jpg"), seven, [cv2.IMWRITE_JPEG_QUALITY, 80])
    three = np.zeros((280, 280, 4), np.uint8)
    three[..., 3] = draw(THREE, 280, width=16)
    cv2.imwrite(str(HERE / "three.png"), three)
    cv2.imwrite(str(HERE / "five.png"), draw(FIVE, 28, width=2.2))
    cv2.imwrite(str(HERE / "number.png"), row([SEVEN, THREE, FIVE]))


if __name__ == "__main__":
    main()
