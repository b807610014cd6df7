"""A request's images as the model sees them: normalized one by one, or an array taken as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .box import Box
from .digit import SIDE
from .grayscale import GrayImage
from .normalize import FILLED, Normalized

WHOLE: Box = (0, 0, SIDE, SIDE)
"""Box of an image that is taken as it is."""


class NormalizedImages(list[Normalized]):
    """Images that were normalized one by one."""

    @property
    def blank(self) -> list[bool]:
        """Of each image, whether it is blank."""
        return [one.box is None for one in self]

    @property
    def digits(self) -> Sequence[GrayImage]:
        """The digits of those with ink."""
        return [one.digit for one in self if one.box is not None]

    @property
    def in_parts(self) -> list[int]:
        """The images whose answer is not by the digit's scores alone."""
        return [
            index
            for index, one in enumerate(self)
            if one.with_lines or one.apart or FILLED in one.warnings
        ]

    @property
    def parts(self) -> list[GrayImage]:
        """What the model is asked about beside the digits: each digit with lines, what is apart."""
        parts = ((*filter(None, (one.with_lines,)), *one.apart) for one in self)
        return [part.digit for each in parts for part in each]


class UntouchedImages(Sequence[Normalized]):
    """Images [n,28,28], white ink on black, that are taken as they are.

    Args:
        images: It is kept, and not changed.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        pixels = images.reshape(len(images), -1)
        blank = pixels.max(axis=1) == pixels.min(axis=1)
        self._images = images
        self.blank: list[bool] = blank.tolist()
        self.digits = images[~blank] if any(self.blank) else images

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Normalized: ...
    @overload
    def __getitem__(self, index: slice) -> list[Normalized]: ...

    def __getitem__(self, index: int | slice) -> Normalized | list[Normalized]:
        """An image, or some, each copied: it may be kept for longer than the others."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        box = None if self.blank[index] else WHOLE
        return Normalized(self._images[index].copy(), inverted=False, box=box, warnings=())


Batch = NormalizedImages | UntouchedImages
