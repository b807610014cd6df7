"""Corruptions of 28×28 arrays: noise, blur, lines, fog, levels, geometry.

Source: MNIST-C (Mu and Gilmer 2019, arXiv 1906.02337), with more of the same families. A function
of the table `KINDS` takes an image float32 [28,28] in 0–1 and a generator, draws its own severity,
and returns a new image of the same shape; `corrupt` clips and rounds.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.digit import SIDE
from training.corpora import Rng

Image = NDArray[np.float32]
Kind = Callable[[Image, Rng], Image]


def corrupt(image: NDArray[np.uint8], kind: str, rng: Rng) -> NDArray[np.uint8]:
    """Return a digit uint8 [28,28] altered by the corruption `kind`."""
    altered = KINDS[kind](_floats(image / np.float32(255)), rng)
    return np.asarray(np.rint(np.clip(altered, 0, 1) * 255), np.uint8)


def some(images: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """Return images uint8 [n,28,28], each altered by a random kind; all are equally likely."""
    kinds = rng.choice(list(KINDS), len(images))
    return np.stack([corrupt(image, kind, rng) for image, kind in zip(images, kinds, strict=True)])


def gaussian_noise(x: Image, rng: Rng) -> Image:
    """Add normal noise."""
    return x + rng.normal(0, rng.uniform(0.05, 0.4), x.shape).astype(np.float32)


def shot_noise(x: Image, rng: Rng) -> Image:
    """Draw each pixel from a Poisson distribution, as few photons would."""
    photons = np.exp(rng.uniform(np.log(2), np.log(40)))
    return _floats(rng.poisson(x * photons) / photons)


def speckle(x: Image, rng: Rng) -> Image:
    """Multiply by normal noise."""
    return x * (1 + rng.normal(0, rng.uniform(0.2, 0.8), x.shape)).astype(np.float32)


def salt_and_pepper(x: Image, rng: Rng) -> Image:
    """Set random pixels to black or white."""
    chance = rng.random(x.shape)
    share = rng.uniform(0.03, 0.35)
    x = np.where(chance < share / 2, np.float32(0), x)
    return _floats(np.where(chance > 1 - share / 2, np.float32(1), x))


def gaussian_blur(x: Image, rng: Rng) -> Image:
    """Blur evenly."""
    return _blurred(x, rng.uniform(0.5, 2.0))


def motion_blur(x: Image, rng: Rng) -> Image:
    """Blur along a random direction."""
    length = rng.uniform(2, 9)
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((11, 11), np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    _line(kernel, 5 - reach, 5 + reach, 1)
    return _floats(cv2.filter2D(x, -1, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT))


def glass_blur(x: Image, rng: Rng) -> Image:
    """Exchange pixels with near ones, then blur."""
    reach = int(rng.integers(1, 3))
    rows, columns = np.indices(x.shape)
    down, right = rng.integers(-reach, reach + 1, (2, *x.shape))
    x = x[np.clip(rows + down, 0, SIDE - 1), np.clip(columns + right, 0, SIDE - 1)]
    return _blurred(x, rng.uniform(0.4, 0.9))


def pixelated(x: Image, rng: Rng) -> Image:
    """Scale down and up again."""
    side = int(rng.integers(9, 18))
    small = cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA)
    way = int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR]))
    return _floats(cv2.resize(small, (SIDE, SIDE), interpolation=way))


def jpeg(x: Image, rng: Rng) -> Image:
    """Compress as JPEG of low quality."""
    quality = int(rng.integers(5, 40))
    levels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _floats(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)) / np.float32(255)


def raised_black(x: Image, rng: Rng) -> Image:
    """Add a constant level."""
    return x + np.float32(rng.uniform(0.1, 0.6))


def low_contrast(x: Image, rng: Rng) -> Image:
    """Compress the range of levels."""
    gain = rng.uniform(0.15, 0.8)
    return (x * gain + rng.uniform(0, 1 - gain)).astype(np.float32)


def gamma(x: Image, rng: Rng) -> Image:
    """Apply a random gamma curve."""
    return x ** np.float32(np.exp(rng.uniform(-1.2, 1.2)))


def two_levels(x: Image, rng: Rng) -> Image:
    """Cut all levels at a random one."""
    return (x > rng.uniform(0.15, 0.75)).astype(np.float32)


def inverted(x: Image, rng: Rng) -> Image:
    """Exchange black and white."""
    return 1 - x


def inverted_bands(x: Image, rng: Rng) -> Image:
    """Invert bands left and right of the middle, or above and below it."""
    x = x.copy()
    first, last = rng.integers(3, 10, 2)
    bands = x if rng.random() < 0.7 else x.T
    bands[:, :first] = 1 - bands[:, :first]
    bands[:, SIDE - last :] = 1 - bands[:, SIDE - last :]
    return x


def fog(x: Image, rng: Rng) -> Image:
    """Blend with smooth noise of several scales."""
    amount = rng.uniform(0.5, 2.5)
    hills = [_waves(rng, cells) * 0.6**power for power, cells in enumerate((2, 4, 7, 14))]
    cloud = np.sum(hills, axis=0)
    cloud = (cloud - cloud.min()) / np.ptp(cloud)
    return _floats((x + amount * cloud) / (1 + amount * rng.uniform(0.5, 1)))


def shade(x: Image, rng: Rng) -> Image:
    """Brighten towards one side, ground and ink alike."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.indices(x.shape) / (SIDE - 1) - 0.5
    slope = rows * np.sin(angle) + columns * np.cos(angle)
    return _floats(x + rng.uniform(0.2, 0.6) * (slope + 0.5))


def spatter(x: Image, rng: Rng) -> Image:
    """Cover small drops with one level."""
    drops = _blurred(rng.normal(0, 1, x.shape).astype(np.float32), rng.uniform(0.7, 1.5))
    wet = drops > np.quantile(drops, 1 - rng.uniform(0.03, 0.15))
    return np.where(wet, np.float32(rng.choice([0.0, rng.uniform(0.5, 1)])), x)


def line(x: Image, rng: Rng) -> Image:
    """Draw a line across."""
    start, end = _across(rng)
    return _with_line(x, [start, end], rng)


def zigzag(x: Image, rng: Rng) -> Image:
    """Draw a zigzag line across."""
    start, end = _across(rng)
    corners = int(rng.integers(4, 12))
    along = np.linspace(0, 1, corners)[:, None]
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / SIDE
    swing = rng.uniform(1, 4) * np.where(np.arange(corners) % 2, 1, -1)[:, None]
    return _with_line(x, list(start + along * (end - start) + swing * normal), rng)


def dotted_line(x: Image, rng: Rng) -> Image:
    """Draw a dotted line across."""
    start, end = _across(rng)
    gap = rng.uniform(2, 5)
    dots = np.arange(0, np.hypot(*(end - start)), gap)[:, None] / np.hypot(*(end - start))
    x = x.copy()
    for dot in start + dots * (end - start):
        _line(x, dot, dot, int(rng.integers(1, 3)))
    return x


def outlines(x: Image, rng: Rng) -> Image:
    """Keep the edges of the strokes alone, as an edge detector does."""
    levels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.7:
        low = rng.uniform(50, 120)
        return _floats(cv2.Canny(levels, low, low * 2)) / np.float32(255)
    ring = cv2.morphologyEx(levels, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
    return _floats(ring) / np.float32(255)


def thinner(x: Image, rng: Rng) -> Image:
    """Erode the strokes."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return _mixed(x, cv2.erode(x, kernel), rng)


def thicker(x: Image, rng: Rng) -> Image:
    """Dilate the strokes."""
    side = int(rng.integers(2, 5))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return _mixed(x, cv2.dilate(x, kernel), rng)


def gaps(x: Image, rng: Rng) -> Image:
    """Remove the ink of narrow strips, as a failing pen does."""
    x = x.copy()
    for _ in range(int(rng.integers(1, 4))):
        start, end = _across(rng)
        _line(x, start, end, 1, 0.0)
    return x


def patch(x: Image, rng: Rng) -> Image:
    """Cover a small square with one level."""
    side = int(rng.integers(3, 8))
    row, column = rng.integers(2, SIDE - 2 - side, 2)
    x = x.copy()
    x[row : row + side, column : column + side] = rng.choice([0, rng.random()])
    return x


def turned(x: Image, rng: Rng) -> Image:
    """Rotate by 8–30°."""
    angle = rng.uniform(8, 30) * rng.choice([-1, 1])
    return _warped(x, cv2.getRotationMatrix2D((13.5, 13.5), angle, 1))


def sheared(x: Image, rng: Rng) -> Image:
    """Shear along one axis."""
    shear = rng.uniform(0.15, 0.5) * rng.choice([-1, 1])
    way = [[1, shear, -13.5 * shear], [0, 1, 0]]
    across = [[1, 0, 0], [shear * 0.7, 1, -9.45 * shear]]
    return _warped(x, np.array(way if rng.random() < 0.7 else across))


def scaled(x: Image, rng: Rng) -> Image:
    """Scale both axes, each by its own factor."""
    across, down = np.exp(rng.uniform(-0.5, 0.25) + rng.uniform(-0.2, 0.2, 2))
    return _warped(x, np.array([[across, 0, 13.5 * (1 - across)], [0, down, 13.5 * (1 - down)]]))


def shifted(x: Image, rng: Rng) -> Image:
    """Move by up to 5 pixels."""
    right, down = rng.uniform(-5, 5, 2)
    return _warped(x, np.array([[1, 0, right], [0, 1, down]]))


def elastic(x: Image, rng: Rng) -> Image:
    """Displace pixels smoothly, by 0.7–1.6 pixels."""
    return bent(x, rng, rng.uniform(0.7, 1.6))


def bent(x: Image, rng: Rng, strength: float) -> Image:
    """Displace pixels smoothly by `strength` pixels (Simard, Steinkraus and Platt 2003)."""
    rows, columns = np.indices(x.shape).astype(np.float32)
    right, down = (_floats(_waves(rng, 5)) * strength for _ in range(2))
    return _floats(cv2.remap(x, columns + right, rows + down, cv2.INTER_LINEAR))


def _floats(x: Any) -> Image:
    return np.asarray(x, np.float32)


def _blurred(x: Image, sigma: float) -> Image:
    return _floats(cv2.GaussianBlur(x, (0, 0), sigma))


def _warped(x: Image, matrix: Any) -> Image:
    return _floats(cv2.warpAffine(x, np.asarray(matrix, np.float64), (SIDE, SIDE)))


def _mixed(x: Image, other: Any, rng: Rng) -> Image:
    share = np.float32(rng.uniform(0.5, 1))
    return (1 - share) * x + share * _floats(other)


def _waves(rng: Rng, cells: int) -> NDArray[np.float64]:
    """Smooth noise of unit size, with about `cells` hills a side."""
    coarse = rng.normal(0, 1, (cells + 1, cells + 1))
    return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def _across(rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two ends (x, y) of a line that crosses most of the image."""
    ends = np.array([[rng.uniform(0, 5), rng.uniform(3, 25)], [rng.uniform(22, 27), 0]])
    ends[1, 1] = np.clip(ends[0, 1] + rng.uniform(-14, 14), 1, 26)
    if rng.random() < 0.4:
        ends = ends[:, ::-1]
    return ends[0], ends[1]


def _line(
    x: Image, start: NDArray[np.float64], end: NDArray[np.float64], width: int, ink: float = 1.0
) -> None:
    first, last = ([int(v) for v in np.rint(point)] for point in (start, end))
    cv2.line(x, first, last, ink, width)


def _with_line(x: Image, points: list[NDArray[np.float64]], rng: Rng) -> Image:
    drawn = np.zeros_like(x)
    width = int(rng.integers(1, 3))
    for start, end in pairwise(points):
        _line(drawn, start, end, width)
    return _floats(np.maximum(x, drawn * rng.uniform(0.6, 1)))


KINDS: dict[str, Kind] = {
    "gaussian noise": gaussian_noise,
    "shot noise": shot_noise,
    "speckle": speckle,
    "salt and pepper": salt_and_pepper,
    "gaussian blur": gaussian_blur,
    "motion blur": motion_blur,
    "glass blur": glass_blur,
    "pixelated": pixelated,
    "jpeg": jpeg,
    "raised black": raised_black,
    "low contrast": low_contrast,
    "gamma": gamma,
    "two levels": two_levels,
    "inverted": inverted,
    "inverted bands": inverted_bands,
    "fog": fog,
    "shade": shade,
    "spatter": spatter,
    "line": line,
    "zigzag": zigzag,
    "dotted line": dotted_line,
    "outlines": outlines,
    "thinner": thinner,
    "thicker": thicker,
    "gaps": gaps,
    "patch": patch,
    "turned": turned,
    "sheared": sheared,
    "scaled": scaled,
    "shifted": shifted,
    "elastic": elastic,
}
