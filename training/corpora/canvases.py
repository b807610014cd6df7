"""Canvases: ink as a drawing, a photo or a thumbnail brings it to the service, normalized.

Digits of other hands and what is no digit go this way alike, so that how ink came tells nothing
about whether it is a digit.
"""

from __future__ import annotations

import cv2
import numpy as np

from app.vision.decode import decode
from app.vision.digit import INK_SIDE
from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from training.corpora import Rng, scenes

CANVAS: tuple[float, float] = (28, 300)
"""Pixels of a canvas' side."""
PHOTOGRAPHED = 0.3
"""Share that goes through one of the kinds of `training.corpora.scenes`."""
SCENES = (
    "photo", "photo shadow", "pencil", "ball-pen", "marker", "dry pen", "ruled", "form box",
    "thumbnail", "scan", "canvas black", "canvas transparent", "exif turned",
)  # fmt: skip
ALIKE = 0.6
"""Share of their ink that two images of the same have in common."""
UNSMOOTHED = 0.06
"""Share of canvases that ink was shrunk to without averaging: it leaves pieces of a thin pen."""
LOST = 0.12
"""Sides of the box that normalizing finds may be off by this share: beyond it ink was dropped, and
what is left may be another digit."""


def on_canvas(ink: GrayImage, rng: Rng) -> tuple[GrayImage, tuple[float, ...]]:
    """Put ink somewhere on a canvas, at any size; return the canvas and the box of the ink."""
    side = round(float(np.exp(rng.uniform(*np.log(CANVAS)))))
    least = min(1.0, 16 / side)
    longer = side * rng.uniform(least, 0.98)
    scale = longer / max(ink.shape)
    size = [max(1, round(edge * scale)) for edge in ink.shape[::-1]]
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    way = cv2.INTER_NEAREST if rng.random() < UNSMOOTHED else smooth
    small = cv2.resize(ink, size, interpolation=way)
    canvas = np.zeros((side, side), np.uint8)
    height, width = small.shape
    left, top = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
    canvas[top : top + height, left : left + width] = small
    box = (left, top, left + width, top + height)
    return (255 - canvas if rng.random() < 0.5 else canvas), box


def fitted(ink: GrayImage) -> GrayImage:
    """Bring ink into MNIST's box without any choice of what belongs to it: [h,w] → [28,28]."""
    scale = INK_SIDE / max(ink.shape)
    size = [max(1, round(edge * scale)) for edge in ink.shape[::-1]]
    small = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
    return normalize(np.pad(np.asarray(small, np.uint8), 4)).digit


def normalized(ink: GrayImage, rng: Rng) -> GrayImage:
    """Return ink [h,w] on a canvas, or photographed, and normalized [28,28].

    Where normalizing keeps only a part of the ink, it is brought into MNIST's box whole: a 5
    without its bar should not be learned as a 5. For the same reason only what is of one piece is
    photographed, and taken if it is found.
    """
    if rng.random() < PHOTOGRAPHED and is_one_piece(ink):
        kind = SCENES[rng.integers(len(SCENES))]
        found = normalize(decode(scenes.render(ink, kind, rng)).gray)
        whole = fitted(ink)
        return found.digit if are_alike(found.digit, whole) else whole
    canvas, box = on_canvas(ink, rng)
    found = normalize(canvas)
    return found.digit if found.box and covers(found.box, box) else fitted(ink)


def is_one_piece(ink: GrayImage) -> bool:
    """Tell whether all ink [h,w] is connected."""
    return bool(cv2.connectedComponents((ink > 96).astype(np.uint8))[0] == 2)


def covers(found: tuple[int, ...], box: tuple[float, ...]) -> bool:
    """Tell whether a box (left, top, right, bottom) that was found is that of the whole ink."""
    side = max(box[2] - box[0], box[3] - box[1])
    return bool(np.abs(np.subtract(found, box)).max() <= max(2.0, LOST * side))


def are_alike(one: GrayImage, other: GrayImage) -> bool:
    """Tell whether two images [28,28] show the same ink, more or less."""
    blurred = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5) for image in (one, other)]
    common, all_of_both = np.minimum(*blurred).sum(), np.maximum(*blurred).sum()
    return bool(common >= ALIKE * all_of_both)
