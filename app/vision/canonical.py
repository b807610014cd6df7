"""Images that are as MNIST made them, told among others and read many at once.

Programs send such ones by the thousand: 28×28, white ink on black, its longer side 20 pixels and
its mass in the middle, in numbers or as a grey PNG. The calls take longer than the pixels: those
that come together are made one array, and where a call may be for all, it is.

What is anything else, right or wrong, is left to `image.decode` and `normalize`, which would find
the same of these, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..api.payload import RawImage
from .normalize import SIDE, Normalized, begin, own_box
from .png import Square

Planes = NDArray[np.uint8]

FILE = Square(SIDE)
MOMENTS = np.array([(1, x, y) for y in range(SIDE) for x in range(SIDE)], np.float32)
"""What a pixel counts in its image's mass and first moments: whole numbers below 2**24, which
float32 has exactly."""


def digits_among(images: Sequence[RawImage]) -> list[Normalized | None]:
    """For each image what `normalize` makes of it where it is as MNIST made them; else None."""
    found: list[Normalized | None] = [None] * len(images)
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
    pixels = planes.reshape(-1, SIDE * SIDE).astype(np.float32)
    found: list[Normalized | None] = []
    for plane, (mass, x, y) in zip(planes, (pixels @ MOMENTS).tolist(), strict=True):
        box = own_box(plane)
        if box is not None:
            left, top, right, bottom = box
            across = begin((x - left * mass) / mass, right - left)
            if across != left or begin((y - top * mass) / mass, bottom - top) != top:
                box = None
        found.append(Normalized(plane, False, box, ()) if box else None)
    return found
