"""The candidates of a row: what may be a digit, in MNIST's form, described by its shape.

What lies between any two cuts that are near enough is a candidate: it is brought to MNIST's form as
a single digit is, and described by its shape and the cuts around it. Which candidates are the
digits is for the reader to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .digit import SIDE, boxed
from .grayscale import GrayImage
from .ink import Plane, median
from .parts import Parts, parts_of
from .row import Matrix

WIDEST = 1.35
"""Width of a candidate, at most, in heights of the row."""
WIDEST_PIECE = 2.2
"""The same of a whole piece of ink: a digit may lie on its side, as a flat 2 does."""
WIDEST_GAP = 0.45
"""Gap inside a candidate, at most, in heights of the row."""
MAX_SPAN = 6
"""Parts of a candidate, at most."""
MAX_CANDIDATES = 160
"""Candidates of a row, at most; the rest of a row that has more is not read."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What may be a digit: the ink between two cuts, for every pair of cuts that is near enough.

    Attributes:
        spans: The cuts before and after each, counted from 0 at the row's left end, [n,2].
        digits: In MNIST's form, [n,28,28].
        boxes: Left, top, right, bottom in the picture's pixels, [n,4].
        shapes: The figures named in `SHAPE`, [n,len(SHAPE)].
    """

    spans: NDArray[np.intp]
    digits: GrayImage
    boxes: NDArray[np.float64]
    shapes: NDArray[np.float32]


SHAPE = ("width", "height", "middle", "left", "right", "inside", "gap", "mass")
"""A candidate's figures, in heights of the row's digits: width and height; its middle's distance
from the row's, upwards; the ink that the cuts to its left and right cross; the least ink that a
cut inside it crosses, 1 where there is none; the widest gap inside it, −1 where there is none; its
ink as a share of the usual."""


def no_candidates() -> Candidates:
    """Those of a row without ink."""
    return Candidates(
        np.empty((0, 2), np.intp),
        np.empty((0, SIDE, SIDE), np.uint8),
        np.empty((0, 4)),
        np.empty((0, len(SHAPE)), np.float32),
    )


def spans_of(parts: Parts, height: float) -> NDArray[np.intp]:
    """The pairs of seams [n,2] between which a digit may stand; each part alone is among them."""
    left, right = parts.boxes[:, 0].tolist(), parts.boxes[:, 2].tolist()
    spans: list[tuple[int, int]] = []
    for start in range(len(left)):
        edge = right[start]
        spans.append((start, start + 1))
        for stop in range(start + 2, min(start + MAX_SPAN, len(left)) + 1):
            if left[stop - 1] - edge > WIDEST_GAP * height:
                break
            edge = max(edge, right[stop - 1])
            if edge - min(left[start:stop]) > WIDEST * height:
                break
            spans.append((start, stop))
    for start, stop in parts.pieces(height):
        wide = max(right[start:stop]) - min(left[start:stop])
        if 1 < stop - start <= MAX_SPAN and wide <= WIDEST_PIECE * height:
            spans.append((start, stop))
    return np.array(sorted(set(spans)), np.intp)


def candidates_of(plane: Plane, place: Matrix, shape: tuple[int, ...]) -> tuple[int, Candidates]:
    """Cut a row `plane` [h,w], whose pixels `place` maps to a picture of `shape`, into candidates.

    Returns:
        The number of cuts, the row's ends included, and the candidates.
    """
    parts = parts_of(plane)
    if parts is None:
        return 0, no_candidates()
    height = parts.height
    spans = spans_of(parts, height)[:MAX_CANDIDATES]
    boxes = _unions(parts.boxes, spans)
    digits = np.stack(
        [_digit(plane, parts, *one) for one in zip(spans.tolist(), boxes.tolist(), strict=True)]
    )
    shapes = _shapes(plane, parts, spans, boxes, height)
    return len(parts.crossed), Candidates(spans, digits, _placed(boxes, place, shape), shapes)


def _digit(plane: Plane, parts: Parts, span: list[int], box: list[int]) -> GrayImage:
    """The ink between two seams, which has this box in the row, in MNIST's form."""
    left, top, right, bottom = box
    within = np.s_[top:bottom, left:right]
    between = cv2.inRange(parts.labels[within], span[0], span[1] - 1)
    digit = boxed(np.asarray(cv2.copyTo(plane[within], between), np.float32))
    return np.zeros((SIDE, SIDE), np.uint8) if digit is None else digit


def _unions(boxes: NDArray[np.intp], spans: NDArray[np.intp]) -> NDArray[np.intp]:
    """The boxes of what lies between two seams, `spans` [n,2], by those of the parts, [m,4]."""
    # Lists: of so few, NumPy takes three times as long.
    left, top, right, bottom = boxes.T.tolist()
    return np.array(
        [
            (min(left[a:b]), min(top[a:b]), max(right[a:b]), max(bottom[a:b]))
            for a, b in spans.tolist()
        ],
        np.intp,
    )


def _placed(boxes: NDArray[np.intp], place: Matrix, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Boxes [n,4] in the pixels of a picture of `shape`."""
    corners = np.stack((boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [0, 3]], boxes[:, [2, 3]]))
    moved = corners @ place[:, :2].T + place[:, 2]
    height, width = shape
    ends = np.concatenate((moved.min(axis=0), moved.max(axis=0)), axis=1)
    return np.asarray(ends.clip(0, (width, height, width, height)))


def _shapes(
    plane: Plane,
    parts: Parts,
    spans: NDArray[np.intp],
    boxes: NDArray[np.intp],
    height: float,
) -> NDArray[np.float32]:
    """The figures named in `SHAPE`, [n,8]."""
    shapes = np.empty((len(spans), len(SHAPE)), np.float32)
    size = (boxes[:, 2:] - boxes[:, :2]) / height
    middle = median((parts.boxes[:, 1] + parts.boxes[:, 3]) / 2)
    inked = np.flatnonzero(plane > 0)
    mass = np.bincount(parts.labels.ravel()[inked], plane.ravel()[inked], len(parts.boxes))
    total = np.concatenate(([0.0], np.cumsum(mass)))
    masses = total[spans[:, 1]] - total[spans[:, 0]]
    large = size[:, 1] > 0.5
    usual = median(masses[large]) if large.any() else float(masses.max())
    gaps = (parts.boxes[1:, 0] - parts.boxes[:-1, 2]) / height
    crossed = parts.crossed / height
    inside, between = crossed.tolist(), gaps.tolist()
    ends = spans.tolist()
    shapes[:, :2] = size
    shapes[:, 2] = (middle - (boxes[:, 1] + boxes[:, 3]) / 2) / height
    shapes[:, 3:5] = crossed[spans]
    shapes[:, 7] = masses / max(usual, 1.0)
    shapes[:, 5] = [min(inside[start + 1 : stop], default=1.0) for start, stop in ends]
    shapes[:, 6] = [max(between[start : stop - 1], default=-1.0) for start, stop in ends]
    return shapes
