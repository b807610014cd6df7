"""Images that are as MNIST made them, told among others and read many at once.

Programs send such ones by the thousand: 28×28, white ink on black, its longer side 20 pixels and
its mass in the middle, in numbers or as a grey PNG. For one of them the calls take longer than the
pixels; those that come together are made one array, and looked at in a few calls for all.

What is anything else, right or wrong, is left to `image.decode` and `normalize`, which would find
the same of these, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.normalize import INK_SIDE, MIDDLE, SIDE, Normalized
from app.payload import RawImage
from app.png import Square

Planes = NDArray[np.uint8]

FEW = 4
"""Fewer are read sooner one by one."""
FILE = Square(SIDE)
PLACES = np.arange(SIDE, dtype=np.float64)


def digits_among(images: Sequence[RawImage]) -> list[Normalized | None]:
    """For each image what `normalize` makes of it where it is as MNIST made them; else None."""
    found: list[Normalized | None] = [None] * len(images)
    if len(images) >= FEW:
        for indices, planes in _alike(images):
            for index, digit in zip(indices, _normalized(planes), strict=True):
                found[index] = digit
    return found


def _alike(images: Sequence[RawImage]) -> Iterator[tuple[list[int], Planes]]:
    """The images of 28×28 in arrays [n,28,28], by how they came, and their indices."""
    arrays: dict[int, Planes] = {}
    files: dict[int, dict[int, bytearray]] = defaultdict(dict)
    for index, image in enumerate(images):
        if not isinstance(image, bytes):
            if image.shape == (SIDE, SIDE):
                arrays[index] = image
        elif (rows := FILE.rows_of(image)) is not None:
            files[rows[0]][index] = rows
    if arrays:
        yield [*arrays], np.array([*arrays.values()])
    for filtered in files.values():
        yield [*filtered], FILE.planes_of([*filtered.values()])


def _normalized(planes: Planes) -> list[Normalized | None]:
    """Of [n,28,28] those whose ink is 20 pixels long, and lies where `normalize.centre` puts it."""
    above = np.asarray(cv2.integral(planes.reshape(-1, SIDE)))  # [28n+1,29]: all ink above and left
    rows, images = above[:, -1], above[::SIDE]
    columns = images[1:] - images[:-1]  # [n,29]: of each image, the ink to the left
    sums = np.empty((len(planes), 2, SIDE))  # of each column, of each row
    sums[:, 0] = columns[:, 1:] - columns[:, :-1]
    sums[:, 1] = (rows[1:] - rows[:-1]).reshape(-1, SIDE)
    inked = sums > 0
    first = inked.argmax(axis=2)
    last = SIDE - inked[..., ::-1].argmax(axis=2)
    extent = last - first  # of a blank one 28
    middle = sums @ PLACES / np.maximum(columns[:, -1:], 1) - first
    place = (MIDDLE - middle).astype(int).clip(0, SIDE - extent)
    is_made = (extent.max(axis=1) == INK_SIDE) & (place == first).all(axis=1)
    boxes = np.concatenate((first, last), axis=1).tolist()
    return [
        Normalized(plane, False, tuple(box), ()) if made else None
        for plane, box, made in zip(planes, boxes, is_made.tolist(), strict=True)
    ]
