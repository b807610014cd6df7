"""The main figure's traffic: the images that people send, drawn from MNIST digits by a seed.

Every block of 50 images has the same shares, so that any stretch of a run has them nearly too:
20 canvases (280×280 RGBA PNG), 15 crops of 40–200 px (gray PNG, RGB PNG, JPEG), 9 phone photos of
1–3 megapixels and 1 of 12 (JPEG), 5 gray PNGs of 28×28.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.digits import Digits

SHARES = {"canvas": 20, "crop": 15, "photo": 9, "large-photo": 1, "png-28": 5}
"""Images of each kind in a block."""
BLOCK = sum(SHARES.values())
CANVAS_SIDE = 280
LARGE_PHOTO = (3024, 4032)
"""Height and width of a phone's 12 megapixels."""
GRAIN_SIDE = 256

Image = NDArray[np.uint8]
Ink = NDArray[np.float32]
"""Coverage by ink, 0–1, [h,w]."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image, and the digit that a person sees in it."""

    kind: str
    file: bytes
    label: int


def draw_mix(digits: Digits, *, blocks: int, seed: int) -> list[Picture]:
    """Return `blocks` × 50 pictures; the kinds of a block are in random order."""
    rng = np.random.default_rng(seed)
    kinds = [kind for kind, count in SHARES.items() for _ in range(count)]
    return [
        picture
        for _ in range(blocks)
        for kind in rng.permutation(kinds)
        for picture in draw(digits, str(kind), count=1, rng=rng)
    ]


def draw(digits: Digits, kind: str, *, count: int, rng: np.random.Generator) -> list[Picture]:
    """Return `count` pictures of a kind, each of a random digit."""
    chosen = rng.integers(0, len(digits.images), count)
    return [
        Picture(kind, DRAW[kind](digits.images[index], rng), int(digits.labels[index]))
        for index in chosen
    ]


def small_png(digit: Image, rng: np.random.Generator) -> bytes:
    """Return the digit as it is, a gray PNG of 28×28."""
    return encode(digit, ".png")


def canvas(digit: Image, rng: np.random.Generator) -> bytes:
    """Return a drawing on a page's canvas: sharp strokes on nothing, on white or on black."""
    ink = strokes(digit, CANVAS_SIDE, CANVAS_SIDE)
    opaque = np.ones_like(ink)
    gray, alpha = (
        (0 * ink, ink),
        (1 - ink, opaque),
        (ink, opaque),
    )[rng.integers(3)]
    return encode(to_bytes(np.dstack([gray, gray, gray, alpha])), ".png")


def crop(digit: Image, rng: np.random.Generator) -> bytes:
    """Return a digit cut from a scan, dark on paper, in one of three encodings."""
    height = int(rng.integers(40, 201))
    width = max(40, int(height * rng.uniform(0.7, 1.0)))
    ink = np.zeros((height, width), np.float32)
    side = int(min(height, width) * rng.uniform(0.85, 1.0))
    top, left = (height - side) // 2, (width - side) // 2
    ink[top : top + side, left : left + side] = strokes(digit, side, side)
    gray = add_grain(to_bytes(on_paper(ink, rng)), rng)
    encoding = rng.integers(3)
    if encoding == 0:
        return encode(gray, ".png")
    return encode(tint(gray), ".png" if encoding == 1 else ".jpg", quality=85)


def photo(digit: Image, rng: np.random.Generator) -> bytes:
    """Return a phone's photo of 1–3 megapixels, as messengers send them."""
    width = int(np.sqrt(rng.uniform(1e6, 3e6) * 4 / 3))
    return photograph(digit, width * 3 // 4, width, rng)


def large_photo(digit: Image, rng: np.random.Generator) -> bytes:
    """Return a phone's photo of 12 megapixels, as its camera stores it."""
    return photograph(digit, *LARGE_PHOTO, rng)


def photograph(digit: Image, height: int, width: int, rng: np.random.Generator) -> bytes:
    """Return a JPEG, portrait or landscape: a digit on shaded paper, some way off the middle."""
    if rng.random() < 0.5:
        height, width = width, height
    side = int(min(height, width) * rng.uniform(0.35, 0.7))
    top, left = (int(rng.uniform(0.2, 0.8) * (room - side)) for room in (height, width))
    ink = np.zeros((height, width), np.float32)
    ink[top : top + side, left : left + side] = strokes(digit, side, side)
    shade = np.linspace(1, rng.uniform(0.75, 1), width, dtype=np.float32)
    gray = to_bytes(on_paper(ink, rng) * shade)
    return encode(tint(add_grain(gray, rng)), ".jpg", quality=90)


DRAW: dict[str, Callable[[Image, np.random.Generator], bytes]] = {
    "canvas": canvas,
    "crop": crop,
    "photo": photo,
    "large-photo": large_photo,
    "png-28": small_png,
}


def strokes(digit: Image, height: int, width: int) -> Ink:
    """Return the digit enlarged, with the edges of a pen's strokes instead of a blur."""
    enlarged = cv2.resize(digit, (width, height), interpolation=cv2.INTER_CUBIC)
    steepness = max(1.0, min(height, width) / 28)
    ink: Ink = np.clip((enlarged.astype(np.float32) / 255 - 0.4) * steepness + 0.5, 0, 1)
    return ink


def on_paper(ink: Ink, rng: np.random.Generator) -> Ink:
    """Return the brightness of ink on paper, each of a random tone."""
    paper, pen = rng.uniform(0.8, 0.98), rng.uniform(0.05, 0.35)
    brightness: Ink = (paper - (paper - pen) * ink).astype(np.float32)
    return brightness


def add_grain(gray: Image, rng: np.random.Generator) -> Image:
    """Return the image with a camera's noise, from a tile: a full one costs more than the rest."""
    tile = rng.normal(0, 3, (GRAIN_SIDE, GRAIN_SIDE))
    height, width = gray.shape
    repeats = (-(-height // GRAIN_SIDE), -(-width // GRAIN_SIDE))
    grain = np.tile(np.rint(tile).astype(np.int16), repeats)[:height, :width]
    return cv2.add(gray, grain, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def tint(gray: Image) -> Image:
    """Return the gray image in the colors of lamplight, [h,w,3]."""
    channels = [cv2.convertScaleAbs(gray, alpha=share) for share in (0.94, 0.98, 1.0)]
    return cv2.merge(channels).astype(np.uint8, copy=False)


def to_bytes(brightness: Ink) -> Image:
    """Return values of 0–1 as 0–255."""
    return np.rint(255 * brightness).astype(np.uint8)


def encode(image: Image, suffix: str, *, quality: int = 90) -> bytes:
    """Return [h,w], [h,w,3] BGR or [h,w,4] BGRA as a file of the suffix's format."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, image, options)[1].tobytes()
