"""Colours and transparency -> gray levels that keep the contrast a person sees.

Colour becomes gray along the direction in which the picture's colours differ most, so that yellow
ink on white keeps its contrast; transparency becomes contrast with the ink, so that what lies
unseen under it changes nothing.

A picture of more than `MAX_GRAY_PIXELS` is converted in strips of rows, each reduced by a whole
factor at once: what follows never has more than that to work on, and beside the decoded picture
no second one of its size is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

GrayImage = NDArray[np.uint8]
"""Levels [h,w], 0 black and 255 white."""
Pixels = NDArray[np.uint8]
"""Several channels, [h,w,3] or [h,w,4], red first."""
Decoded = Image.Image | NDArray[np.uint8]
"""A picture by Pillow, or by OpenCV: [h,w,3] or [h,w,4], blue first."""
Conversion = Callable[[Pixels], GrayImage]

MAX_GRAY_PIXELS = 2_500_000
"""Pixels of the largest gray picture that is kept as it is; larger ones are reduced."""
STRIP_PIXELS = 2**18

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in JPEG
LUMA_ENOUGH = 0.7
"""Luma is used where it has this share of the best projection's contrast: white paper under a
yellow lamp is no coloured drawing."""
COLOUR_STEP = 48
"""Levels by which two colours differ that are two colours, and not noise."""
ALPHA_STEP = 32
"""Levels of opacity within which a picture counts as evenly opaque."""
MIN_VISIBLE = 64
"""Visible pixels among those sampled below which all are looked at."""


def reduction(pixels: int) -> int:
    """Return the whole factor by which the sides of a picture of `pixels` are divided."""
    factor = 1
    while pixels > MAX_GRAY_PIXELS * factor**2:
        factor += 1
    return factor


def reduced(gray: GrayImage, factor: int) -> GrayImage:
    """Average `gray` [h,w] over squares of `factor`² pixels; a rest at right and bottom is cut."""
    if factor == 1:
        return gray
    height, width = gray.shape[0] // factor, gray.shape[1] // factor
    height, width = max(height, 1), max(width, 1)
    whole = gray[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def to_gray(picture: Decoded) -> GrayImage:
    """Convert a picture of any mode.

    Returns:
        Levels [h,w]; sides divided by `reduction(pixels)`.
    """
    width, height = size_of(picture)
    factor = reduction(width * height)
    rows = max(1, STRIP_PIXELS // (width * factor)) * factor if factor > 1 else height
    strips = Strips(picture, rows=rows)
    convert = _conversion(strips)
    return np.concatenate([reduced(convert(strip), factor) for strip in strips])[
        : max(1, height // factor)
    ]


def size_of(picture: Decoded) -> tuple[int, int]:
    """Width and height."""
    if isinstance(picture, Image.Image):
        return picture.size
    return picture.shape[1], picture.shape[0]


class Strips:
    """A picture's rows in order, some at a time, for as many passes as it takes.

    Each strip is an array [rows,w], [rows,w,3] or [rows,w,4].

    Attributes:
        mode: Pillow's name for the channels.
        pixels: Pixels of the whole picture.
    """

    def __init__(self, picture: Decoded, *, rows: int) -> None:
        self.mode = _pixel_mode(picture)
        width, self._height = size_of(picture)
        self.pixels = width * self._height
        self._picture = picture
        self._rows = rows
        self._only = self._strip(0) if rows >= self._height else None

    def __iter__(self) -> Iterator[Pixels]:
        if self._only is not None:
            yield self._only
            return
        for top in range(0, self._height, self._rows):
            yield self._strip(top)

    def sample(self, count: int) -> Pixels:
        """About `count` pixels, evenly spread, as a smaller picture."""
        step = max(1, int((self.pixels / count) ** 0.5))
        # Copied, or the views would hold on to every strip.
        return np.concatenate([strip[::step, ::step].copy() for strip in self])

    def _strip(self, top: int) -> Pixels:
        bottom = min(top + self._rows, self._height)
        if not isinstance(self._picture, Image.Image):
            return _red_first(self._picture[top:bottom])
        image = self._picture
        if (top, bottom) != (0, self._height):
            image = image.crop((0, top, image.width, bottom))
        return np.asarray(image if image.mode == self.mode else image.convert(self.mode))


def _pixel_mode(picture: Decoded) -> str:
    """L, RGB or RGBA; pixels of more than eight bits are left as deep as they are."""
    if not isinstance(picture, Image.Image):
        return "RGBA" if picture.shape[2] == 4 else "RGB"
    if picture.mode[0] in "IF":  # where one of their levels is transparent, that is no matter
        return picture.mode
    if "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return "RGBA"
    return "L" if picture.mode in ("L", "1") else "RGB"


def _red_first(pixels: NDArray[np.uint8]) -> Pixels:
    code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _conversion(strips: Strips) -> Conversion:
    if strips.mode == "L":
        return lambda strip: strip
    if strips.mode == "RGB":
        return _from_rgb(strips)
    return _from_rgba(strips) if strips.mode == "RGBA" else _from_depth(strips)


def _from_depth(strips: Strips) -> Conversion:
    """More than eight bits, scaled so that the brightest value is white.

    White is 255 at least; of fractions, where no value exceeds 1, it is 1, as in JSON.
    """
    brightest = max(float(_finite(strip).max()) for strip in strips)
    is_fractions = strips.mode == "F" and brightest <= 1
    scale = 255 / (1 if is_fractions else max(255, brightest))
    return lambda strip: np.rint(_finite(strip) * scale).astype(np.uint8)


def _finite(values: NDArray[np.generic]) -> NDArray[np.float32]:
    floats = values.astype(np.float32)
    if values.dtype.kind == "f":
        floats = np.nan_to_num(floats, posinf=0, neginf=0)
    return np.maximum(floats, 0, out=floats)


def _from_rgb(strips: Strips) -> Conversion:
    """[h,w,3] along the direction in which its colours differ most; brighter stays brighter."""
    axis = _contrast_axis(strips.sample(2_000)[..., :3].reshape(-1, 3))
    return lambda strip: _project(_colours(strip), axis)


def _from_rgba(strips: Strips) -> Conversion:
    """Convert strips [h,w,4], in which transparency is ground.

    Ink on nothing is as dark or bright as it is opaque; an opaque card keeps its own colours and
    lends its ground to its surroundings.
    """
    low, high = _alpha_range(strips)
    if high - low < ALPHA_STEP:
        return _from_rgb(strips)
    opaque = (low + high) // 2
    some = strips.sample(5_000)
    visible = some[..., 3] > opaque
    colours = some[visible][:, :3]
    if len(colours) < MIN_VISIBLE:  # they may all lie between the samples
        colours, is_card = _all_visible(strips, opaque)
    else:
        _, _, width, height = cv2.boundingRect(visible.view(np.uint8))
        is_card = bool(np.count_nonzero(visible) > width * height / 2)
    if (colours == colours[0]).all():  # a canvas drawn on with one pen
        return _opacity(colours[0])
    middle = np.median(colours, axis=0)
    differs = (np.abs(colours - middle) > COLOUR_STEP).any(axis=1)
    if differs.mean() > 0.01 and is_card:
        return _card(strips, _contrast_axis(colours), opaque)
    return _opacity(middle)


def _alpha_range(strips: Strips) -> tuple[int, int]:
    ranges = [cv2.minMaxLoc(_alpha(strip))[:2] for strip in strips]
    return int(min(low for low, _ in ranges)), int(max(high for _, high in ranges))


def _alpha(rgba: Pixels) -> GrayImage:
    return np.asarray(cv2.extractChannel(rgba, 3), np.uint8)


def _colours(strip: Pixels) -> Pixels:
    return np.ascontiguousarray(strip[..., :3])


def _all_visible(strips: Strips, opaque: int) -> tuple[Pixels, bool]:
    """Return some 5,000 colours [n,3] a strip that are more opaque than `opaque`.

    The second value tells whether they cover most of their box.
    """
    found, count, top = [], 0, 0
    columns: list[int] = []
    rows: list[int] = []
    for strip in strips:
        visible = _alpha(strip) > opaque
        colours = strip[visible][:, :3]
        left, above, width, height = cv2.boundingRect(visible.view(np.uint8))
        if width:
            found.append(colours[:: 1 + len(colours) // 5_000])
            count += len(colours)
            columns += [left, left + width]
            rows += [top + above, top + above + height]
        top += strip.shape[0]
    area = (max(columns) - min(columns)) * (max(rows) - min(rows))
    return np.concatenate(found), count > area / 2


def _card(strips: Strips, axis: NDArray[np.float64], opaque: int) -> Conversion:
    """The card's own colours; where it is transparent, its ground shows through."""
    levels = np.zeros(256, np.int64)
    for strip in strips:
        shown = _project(_colours(strip), axis)[_alpha(strip) > opaque]
        levels += np.bincount(shown, minlength=256)
    ground = _median_level(levels)

    def convert(strip: Pixels) -> GrayImage:
        gray = _project(_colours(strip), axis).astype(np.float32)
        gray -= ground
        gray *= _alpha(strip) / np.float32(255)
        gray += ground
        return np.rint(gray, out=gray).astype(np.uint8)

    return convert


def _median_level(levels: NDArray[np.int64]) -> float:
    """The median of values of which there are `levels`[i] of each i."""
    below = np.cumsum(levels)
    total = int(below[-1])
    middle = ((total - 1) // 2, total // 2)
    return float(np.searchsorted(below, middle, side="right").mean())


def _opacity(ink: NDArray[np.generic]) -> Conversion:
    """Ink of one colour on nothing: on white where it is dark, on black where it is bright."""
    if LUMA @ ink < 128:
        return lambda strip: 255 - _alpha(strip)
    return _alpha


def _contrast_axis(colours: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the weights [3] of red, green and blue that separate `colours` [n,3] best.

    Their magnitudes sum to 1, and the variance of the weighted sum is the largest; luma's weights
    where their variance comes near.
    """
    red, green, blue = planes = colours.T.astype(np.float32)
    chroma = np.maximum(np.abs(red - green), np.abs(green - blue))
    if chroma.max() < COLOUR_STEP:
        return LUMA
    planes -= planes.mean(axis=1, keepdims=True)
    covariance = planes @ planes.T
    axis: NDArray[np.float64] = np.linalg.eigh(covariance)[1][:, -1]
    axis /= np.abs(axis).sum() * (1 if LUMA @ axis >= 0 else -1)
    if LUMA @ covariance @ LUMA >= LUMA_ENOUGH**2 * (axis @ covariance @ axis):
        return LUMA
    return axis


def _project(rgb: Pixels, weights: NDArray[np.float64]) -> GrayImage:
    if weights is LUMA:
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    offset = -255 * weights.clip(max=0).sum()
    return np.asarray(cv2.transform(rgb, np.append(weights, offset)[None]), np.uint8)
