"""Stroke models: digits as a hand draws them with a mouse, in a unit square, y downwards.

They are of their own: no data set, and nothing of the page's examples, is in them. A model is a few
corners and arcs; a `Hand` turns it into the points that a mouse reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Positions [n,2] of x and y."""
SEED = 17


def arc(x: float, y: float, across: float, down: float, degrees: tuple[float, float]) -> Points:
    """Return part of an ellipse about (x, y) with these radii; degrees clockwise from the right."""
    angles = np.radians(np.linspace(*degrees, 24))
    return np.column_stack([x + across * np.cos(angles), y + down * np.sin(angles)])


def line(*corners: tuple[float, float]) -> Points:
    """Return the corners of a stroke of straight lines."""
    return np.array(corners)


MODELS: dict[str, tuple[Points, ...]] = {
    "0": (arc(0.5, 0.5, 0.25, 0.36, (-75, 290)),),
    "1": (line((0.51, 0.13), (0.49, 0.87)),),
    "2": (np.vstack([arc(0.49, 0.33, 0.22, 0.2, (-170, 40)), line((0.27, 0.86), (0.76, 0.85))]),),
    "3": (
        np.vstack([arc(0.47, 0.31, 0.2, 0.18, (-155, 85)), arc(0.46, 0.67, 0.25, 0.2, (-80, 150))]),
    ),
    "4": (line((0.4, 0.13), (0.25, 0.57), (0.77, 0.57)), line((0.63, 0.34), (0.61, 0.88))),
    "5": (
        np.vstack([line((0.35, 0.15), (0.32, 0.45)), arc(0.45, 0.65, 0.25, 0.22, (-115, 145))]),
        line((0.35, 0.15), (0.71, 0.14)),
    ),
    "6": (
        np.vstack(
            [arc(0.73, 0.62, 0.46, 0.5, (-95, -180)), arc(0.48, 0.66, 0.21, 0.21, (-180, 180))]
        ),
    ),
    "7": (line((0.24, 0.16), (0.75, 0.15), (0.43, 0.88)),),
    "8": (
        np.vstack(
            [
                arc(0.5, 0.31, 0.18, 0.17, (-30, -270)),
                arc(0.5, 0.67, 0.22, 0.19, (-90, 270)),
                arc(0.5, 0.31, 0.18, 0.17, (90, -30)),
            ]
        ),
    ),
    "9": (
        np.vstack(
            [arc(0.5, 0.33, 0.2, 0.19, (-20, -350)), line((0.7, 0.33), (0.67, 0.6), (0.6, 0.88))]
        ),
    ),
    "1 with a flag": (line((0.36, 0.29), (0.53, 0.13), (0.52, 0.87)),),
    "4 closed": (line((0.64, 0.87), (0.62, 0.14), (0.26, 0.62), (0.79, 0.61)),),
    "7 with a bar": (
        line((0.26, 0.16), (0.74, 0.15), (0.42, 0.88)),
        line((0.41, 0.5), (0.68, 0.49)),
    ),
}


@dataclass(frozen=True, slots=True)
class Hand:
    """A way of drawing.

    Attributes:
        size: Share of the pad that a digit's square takes.
        left: Place of the square's left side, as a share of the pad; None centers it.
        top: The same of its top.
        slant: Shift to the right over the square's height, as a share of it.
        step: Distance between two reported positions, as a share of the square: a fast hand's is
            long, and cuts corners.
        shake: Deviation of a position, as a share of the pad.
        pen: Title of the pen on the page.
        dots: Whether the digit is put down as single dots instead of lines.
    """

    size: float = 0.72
    left: float | None = None
    top: float | None = None
    slant: float = 0.0
    step: float = 0.04
    shake: float = 0.002
    pen: str = "Medium pen"
    dots: bool = False

    def draw(self, model: tuple[Points, ...], random: np.random.Generator) -> list[Points]:
        """Return a model's strokes as shares of the pad, each a list of positions [n,2]."""
        centered = (1 - self.size) / 2
        left = centered if self.left is None else self.left
        top = centered if self.top is None else self.top
        strokes = []
        for stroke in model:
            points = resampled(stroke, self.step)
            points[:, 0] += self.slant * (0.5 - points[:, 1])
            points = np.array([left, top]) + self.size * points
            points += random.normal(0, self.shake, points.shape)
            strokes.append(points.clip(0.02, 0.98))
        if self.dots:
            return [point[None] for point in np.vstack(strokes)]
        return strokes


def resampled(stroke: Points, step: float) -> Points:
    """Return positions along a stroke, `step` apart, its ends among them."""
    along = np.concatenate([[0], np.hypot(*np.diff(stroke, axis=0).T).cumsum()])
    places = np.linspace(0, along[-1], max(2, round(along[-1] / step) + 1))
    return np.column_stack([np.interp(places, along, stroke[:, axis]) for axis in (0, 1)])


HANDS: dict[str, Hand] = {
    "plain": Hand(),
    "slanted": Hand(slant=0.3, shake=0.004),
    "fast": Hand(step=0.16, shake=0.006),
    "huge": Hand(size=0.96, shake=0.004),
    "tiny": Hand(size=0.2, left=0.7, top=0.68, step=0.1),
    "dotted": Hand(step=0.11, dots=True, pen="Thick pen"),
    "shaky": Hand(step=0.05, shake=0.012),
    "thin": Hand(pen="Thin pen", slant=-0.12),
}
VARIANTS = ("1 with a flag", "4 closed", "7 with a bar")


class Drawing(NamedTuple):
    """A digit to be drawn: what it is, in whose hand, with which pen, and its strokes."""

    label: int
    name: str
    pen: str
    strokes: list[Points]


def drawings() -> Iterator[Drawing]:
    """Yield the 83 drawings: each digit in each hand, and three that are written in two ways."""
    random = np.random.default_rng(SEED)
    written = [(str(digit), kind) for kind in HANDS for digit in range(10)]
    written += [(name, "plain") for name in VARIANTS]
    for name, kind in written:
        hand = HANDS[kind]
        yield Drawing(int(name[0]), f"{name}, {kind}", hand.pen, hand.draw(MODELS[name], random))
