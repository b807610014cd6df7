"""Rows: several digits of a data set side by side, and rows that are no numbers, made by code.

`render(digits, kind, rng)` gives a picture of a row. Plain kinds put the data set's own pixels
together; scenes write them with a pen and photograph them, as `scenes` does a single digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from app.vision.grayscale import GrayImage
from training.corpora import Rng, outliers
from training.corpora.scenes import (
    LINES,
    LOOKS,
    REACH,
    WORK,
    Look,
    Plane,
    Range,
    box_of,
    coverage,
    photographed,
    placed,
    segment,
    stroke_distance,
    uniform,
    waves,
)

HEIGHT = 20
"""Pixels of a digit's longer side in plain rows."""
SPACED, CLOSE, TOUCHING, OVERLAPPING = (0.1, 0.7), (0.02, 0.3), (0.0, 0.06), (0.06, 0.2)
"""Gaps, and how far digits that touch reach into each other, in heights."""


def ink_of(digit: GrayImage, scale: float) -> GrayImage:
    """The digit's box of ink, its longer side `scale` times HEIGHT."""
    ink = digit[box_of(digit > 24)]
    factor = scale * HEIGHT / max(ink.shape)
    size = max(2, round(ink.shape[1] * factor)), max(2, round(ink.shape[0] * factor))
    if size == ink.shape[::-1]:
        return ink
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(ink, size, interpolation=kind), np.uint8)


def clearance(left: GrayImage, right: GrayImage) -> int:
    """Columns that `right` can move to the left, from beside `left`, before their ink meets."""
    solid_left, solid_right = left > 96, right > 96
    free_left = np.where(solid_left.any(1), solid_left[:, ::-1].argmax(1), left.shape[1])
    free_right = np.where(solid_right.any(1), solid_right.argmax(1), right.shape[1])
    # Strokes meet across a row of pixels or two as well.
    near_left = np.minimum.reduce([np.roll(free_left, step) for step in (-1, 0, 1)])
    return int((near_left + free_right).min())


def joined(
    digits: Sequence[GrayImage], gap: Range, rng: Rng, *, depth: Range | None = None, pairs: int = 0
) -> GrayImage:
    """Put digits side by side, white on black.

    Args:
        digits: [h,w] each, white on black.
        gap: Between digits, in heights.
        rng: The generator.
        depth: How far digits that touch reach into each other, in heights.
        pairs: Neighbours that touch, at most.
    """
    writer = uniform(rng, (0.9, 1.1))
    inks = [ink_of(digit, writer * uniform(rng, (0.92, 1.08))) for digit in digits]
    high = max(ink.shape[0] for ink in inks) + 4
    planes = []
    for ink in inks:
        spare = high - ink.shape[0]
        top = int(np.clip(spare / 2 + rng.normal(0, 0.05) * HEIGHT, 0, spare))
        planes.append(np.pad(ink, ((top, spare - top), (0, 0))))
    touching = set(rng.permutation(len(digits) - 1)[:pairs].tolist())
    row = planes[0]
    for number, plane in enumerate(planes[1:]):
        shift = round(uniform(rng, gap) * HEIGHT)
        if depth is not None and number in touching:
            shift = -(clearance(row, plane) + round(uniform(rng, depth) * HEIGHT))
        start = max(row.shape[1] // 3, row.shape[1] + shift)
        wide = np.zeros((high, max(row.shape[1], start + plane.shape[1])), np.uint8)
        wide[:, : row.shape[1]] = row
        part = wide[:, start : start + plane.shape[1]]
        np.maximum(part, plane, out=part)
        row = wide
    return np.pad(row, rng.integers(2, 12, (2, 2)))


def side_by_side(digits: Sequence[GrayImage], rng: Rng) -> GrayImage:
    """Put the data set's frames side by side, as people do with MNIST's."""
    gap = max(0, 28 - digits[0].shape[1]) // 2
    return np.concatenate([np.pad(digit, gap) for digit in digits], axis=1)


def enlarged(row: GrayImage, rng: Rng) -> GrayImage:
    """Half of the rows two to four times as large; half of them dark on light."""
    if rng.random() < 0.5:
        factor = int(rng.integers(2, 5))
        row = np.asarray(
            cv2.resize(row, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8
        )
    return 255 - row if rng.random() < 0.5 else row


def scene(digits: Sequence[GrayImage], look: Look, rng: Rng, *, combed: bool = False) -> GrayImage:
    """Write digits in a row with one pen, and photograph them.

    Args:
        digits: [h,w] each, white on black.
        look: The parameters of the scene.
        rng: The generator.
        combed: Draw a box around each.
    """
    longer = uniform(rng, (36, 100))
    spacing = uniform(rng, (0.04, 0.45))
    turn, slant = uniform(rng, (-4, 4)), float(rng.normal(0, 0.1))
    rising = np.tan(np.deg2rad(turn))
    fields = [stroke_distance(digit, rng, pen=look.pen is not None) for digit in digits]
    cell = uniform(rng, (1.0, 1.3)) * longer
    pitch = [
        cell
        if combed
        else _width(field) * longer + max(0.02, spacing + rng.normal(0, 0.06)) * longer
        for field in fields
    ]
    margin = longer * rng.uniform(0.3, 0.8, 2)
    length = sum(pitch) + 2 * margin[0]
    shape = round(longer + 2 * margin[1] + abs(rising) * length), round(length)
    middle = np.array([shape[1], shape[0]]) / 2
    along = np.cumsum(pitch) - np.array(pitch) / 2 - sum(pitch) / 2
    distance: Plane = np.full(shape, -REACH, np.float32)
    for field, x in zip(fields, along, strict=True):
        centre = middle + np.array([x, -rising * x + rng.normal(0, 0.03) * longer])
        warped = placed(
            field,
            shape,
            longer * uniform(rng, (0.92, 1.06)),
            (centre[0], centre[1]),
            (turn + uniform(rng, (-4, 4)), slant + float(rng.normal(0, 0.03))),
        )
        distance = np.maximum(distance, warped)
    lines: Plane = np.zeros(0, np.float32)
    if combed:
        lines = comb(len(digits), cell, rng, shape, longer=longer, slope=-rising)
    elif look.lines:
        lines = LINES[look.lines](rng, shape, longer, middle)
    pen = uniform(rng, (-0.012, 0.02)) * longer
    if look.pen is not None:
        pen = max(0.5, uniform(rng, look.pen) * longer / 2)
    pressure = pen + 0.15 * abs(pen) * waves(rng, shape, 6)
    ink = coverage(distance, pressure, max(1.0, uniform(rng, (0.01, 0.04)) * longer))
    if look.grain:
        tooth = rng.standard_normal(shape, dtype=np.float32)
        tooth = np.asarray(cv2.GaussianBlur(tooth, (0, 0), max(0.5, longer / 200)), np.float32)
        depth = look.grain * rng.uniform(0.3, 1) / float(tooth.std())
        ink *= np.clip(0.8 + np.float32(depth) * tooth, 0, 1)
    return photographed(ink, lines, longer, look, rng)


def _width(field: Plane) -> float:
    """The width of a field of `stroke_distance`, as a share of its longer side."""
    return max(0.1, float(np.count_nonzero((field > -1).any(axis=0))) / WORK)


def comb(
    cells: int, cell: float, rng: Rng, shape: tuple[int, int], *, longer: float, slope: float
) -> Plane:
    """Draw a form's field with a cell for each digit, `cell` pixels wide, along a row's slope."""
    plane = np.zeros(shape, np.float32)
    half = longer * uniform(rng, (0.6, 0.8))
    width = max(1.0, longer * uniform(rng, (0.012, 0.04)))
    x, y = shape[1] / 2, shape[0] / 2
    ends = -cells * cell / 2, cells * cell / 2

    def corner(at: float, side: float) -> Range:
        return x + at, y + slope * at + side

    for side in (-half, half):
        segment(plane, corner(ends[0], side), corner(ends[1], side), width)
    for number in range(cells + 1):
        at = ends[0] + number * cell
        segment(plane, corner(at, -half), corner(at, half), width)
    return plane * np.float32(uniform(rng, (0.5, 1.0)))


LEVEL = {name: replace(LOOKS[name], perspective=0.02) for name in ("photo", "pencil", "ruled")}

KINDS: dict[str, Callable[[Sequence[GrayImage], Rng], GrayImage]] = {
    "side by side": side_by_side,
    "spaced": lambda d, r: enlarged(joined(d, SPACED, r), r),
    "close": lambda d, r: enlarged(joined(d, CLOSE, r), r),
    "touching": lambda d, r: enlarged(joined(d, CLOSE, r, depth=TOUCHING, pairs=1), r),
    "overlapping": lambda d, r: enlarged(joined(d, CLOSE, r, depth=OVERLAPPING, pairs=1), r),
    "all touching": lambda d, r: enlarged(joined(d, CLOSE, r, depth=TOUCHING, pairs=9), r),
    "photo": lambda d, r: scene(d, LEVEL["photo"], r),
    "ruled": lambda d, r: scene(d, LEVEL["ruled"], r),
    "boxed": lambda d, r: scene(d, LOOKS["form box"], r, combed=True),
    "pencil": lambda d, r: scene(d, LEVEL["pencil"], r),
    "canvas": lambda d, r: scene(d, LOOKS["canvas white"], r),
}
PLAIN = ("side by side", "spaced", "close", "touching", "overlapping", "all touching")
SCENES = ("photo", "ruled", "boxed", "pencil", "canvas")


def render(digits: Sequence[GrayImage], kind: str, rng: Rng) -> GrayImage:
    """Return a picture [h,w] of the named kind that shows `digits` in a row."""
    return KINDS[kind](digits, rng)


# ----------------------------------------------------------------------- what is no number


def word(table: Sequence[str], rng: Rng, *, held_back: bool = False) -> GrayImage:
    """Draw signs of the named kinds of outliers side by side, dark on light or light on dark."""
    source = outliers.HELD_BACK if held_back else outliers.MADE
    none = np.zeros((0, 28, 28), np.uint8)
    make = source[table[int(rng.integers(len(table)))]][1]
    count = int(rng.integers(1, 7)) if "letter" in " ".join(table) else int(rng.integers(1, 3))
    signs = []
    for _ in range(count):
        ink = np.rint(make(none, none[:, 0, 0], rng)).clip(0, 255).astype(np.uint8)
        box = box_of(ink > 60)
        signs.append(np.asarray(ink[box], np.uint8))
    high = max(sign.shape[0] for sign in signs)
    gap = int(uniform(rng, (0.0, 0.4)) * high)
    planes = [
        np.pad(sign, (((high - sign.shape[0]) // 2, -(-(high - sign.shape[0]) // 2)), (0, gap)))
        for sign in signs
    ]
    row = np.pad(np.concatenate(planes, axis=1), 8)
    return 255 - row if rng.random() < 0.5 else row


WORDS = ("printed letters", "written letters")
HELD_BACK_WORDS = ("letters of other fonts", "other letters", "other written letters")
SHAPES = ("scribbles", "zigzags", "shapes")
HELD_BACK_SHAPES = ("spirals",)


def no_number(rng: Rng, *, held_back: bool = False) -> GrayImage:
    """Draw a word, letters, a scribble or a shape."""
    words, shapes = (HELD_BACK_WORDS, HELD_BACK_SHAPES) if held_back else (WORDS, SHAPES)
    table = words if rng.random() < 0.75 else shapes
    return word(table, rng, held_back=held_back)
