"""From raw images to readings: decode, normalize, classify, and what to think of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..api.payload import RawImage
from ..errors import BadPixels, ImageError
from ..inference.loading import Classifier, Thresholds
from ..inference.registry import Versions
from ..settings import Settings
from ..vision.canonical import digits_among
from ..vision.decode import Picture, decode
from ..vision.normalize import Normalized, normalize
from .batcher import Batcher, Job
from .workers import Pool

T = TypeVar("T")
U = TypeVar("U")
MaybeDigits = list[Normalized | None]
Row = tuple[NDArray[np.float32], list[float]]
"""An image's probabilities, and these and the digit score as numbers: for so few, NumPy takes
longer than all the rest of judging them."""

DIGIT_SHAPE = (28, 28)
NOTHING = np.empty((0, 11), np.float32)
PIXELS_A_BYTE = 64
"""Pixels that come as numbers and count as one encoded byte: 64 times 28×28 stay on the loop."""


class Reading(NamedTuple):
    """One image's answer: `probabilities` float32 [10], and the reason not to use it, if any."""

    label: int | None
    confidence: float | np.float32
    probabilities: NDArray[np.float32]
    rejected: str | None
    seen: Normalized


class Asked(NamedTuple):
    """A request's images, and whether they are 28×28 and to be taken as they are."""

    images: Sequence[RawImage]
    as_is: bool


class Recognizer:
    """Reads images with the live version. Little work is done where it is asked for, the rest in
    threads, so that no image holds up the event loop.
    """

    def __init__(self, versions: Versions, batcher: Batcher, settings: Settings) -> None:
        self.versions = versions
        self.batcher = batcher
        self.max_pixels = settings.max_pixels
        self.inline_image_bytes = settings.inline_image_bytes
        self.inline_call_seconds = settings.inline_call_seconds
        self._pool = Pool(threads=settings.decode_threads, max_weight=settings.decode_group_bytes)
        cv2.setNumThreads(1)  # the pool's threads are the parallelism; OpenCV's would be on top

    async def close(self) -> None:
        await self._pool.close()

    def is_little(self, asked: Asked) -> bool:
        """Would handing it to threads take longer than to read it?"""
        seconds = len(asked.images) * self.versions.live.lone_seconds
        return seconds <= self.inline_call_seconds and _size(asked) <= self.inline_image_bytes

    def read_together(
        self, requests: Sequence[Asked]
    ) -> tuple[Classifier, list[list[Reading] | Exception]]:
        """For each request what `read` would give, or raise, and the classifier that gave them all:
        at once, on the event loop. Each step is done for all of them before the next.
        """
        classifier = self.versions.live
        seen = self._see_together(requests)
        digits = _digits(one for some in seen if isinstance(some, list) for one in some)
        try:
            rows = _rows(self.batcher.call(classifier, np.array(digits)) if digits else NOTHING)
        except Exception as error:  # noqa: BLE001 -- the askers' to raise
            return classifier, [error] * len(requests)
        return classifier, _each(lambda some: _judged(some, rows, classifier.thresholds), seen)

    async def read(self, asked: Asked, job: Job) -> tuple[Classifier, list[Reading]]:
        """A reading for each image, in order, and the classifier that gave them all.

        `job` holds their places. Raises ImageError and BadPixels with the image's index, and what
        the job raises.
        """
        classifier = self.versions.live
        size = _size(asked)
        if size <= self.inline_image_bytes:
            seen = self._prepare(asked, job)
        else:
            seen = await self._pool.run(partial(self._prepare, asked, job), size)
        if job.future.done():  # abandoned meanwhile; its future says why
            await job.future
        digits = _digits(seen)
        rows = _rows(await job.run(classifier, np.array(digits)) if digits else NOTHING)
        return classifier, _judged(seen, rows, classifier.thresholds)

    def _prepare(self, asked: Asked, job: Job) -> list[Normalized]:
        seen: list[Normalized] = []
        if job.future.done():  # abandoned while it waited for this thread
            return seen
        (told,) = _told([asked])
        for index, (image, digit) in enumerate(zip(asked.images, told, strict=True)):
            if job.future.done():
                return seen
            seen.append(digit or _see(index, self._picture(index, image), asked.as_is))
        return seen

    def _see_together(self, requests: Sequence[Asked]) -> list[list[Normalized] | Exception]:
        told = _told(requests)
        seen: list[Any] = [*told]
        rest = [place for place, digits in enumerate(told) if None in digits]
        pictures = _each(self._decode, [(requests[place], told[place]) for place in rest])
        for place, outcome in zip(rest, _each(_normalize, pictures), strict=True):
            seen[place] = outcome
        return seen

    def _decode(self, both: tuple[Asked, MaybeDigits]) -> tuple[list[Picture | Normalized], bool]:
        asked, told = both
        pairs = enumerate(zip(asked.images, told, strict=True))
        return [digit or self._picture(index, one) for index, (one, digit) in pairs], asked.as_is

    def _picture(self, index: int, image: RawImage) -> Picture:
        if not isinstance(image, bytes):
            return Picture(image, 1.0)
        try:
            return decode(image, max_pixels=self.max_pixels)
        except ImageError as error:
            error.index = index
            raise


def _each(step: Callable[[T], U], of: Iterable[T | Exception]) -> list[U | Exception]:
    """The step's result for each; where there was an exception, or it raises one, that."""

    def outcome(one: T | Exception) -> U | Exception:
        if isinstance(one, Exception):
            return one
        try:
            return step(one)
        except Exception as error:  # noqa: BLE001 -- its asker's to raise
            return error

    return [outcome(one) for one in of]


def _told(requests: Sequence[Asked]) -> list[MaybeDigits]:
    """Of each request, the images that are as MNIST made them."""
    images = [image for asked in requests if not asked.as_is for image in asked.images]
    found = iter(digits_among(images))
    return [[None if asked.as_is else next(found) for _ in asked.images] for asked in requests]


def _normalize(decoded: tuple[list[Picture | Normalized], bool]) -> list[Normalized]:
    pictures, as_is = decoded
    return [
        one if isinstance(one, Normalized) else _see(index, one, as_is)
        for index, one in enumerate(pictures)
    ]


def _see(index: int, picture: Picture, as_is: bool) -> Normalized:
    if as_is:
        return _as_it_is(index, picture.grey)
    seen = normalize(picture.grey)
    if picture.scale == 1 or seen.box is None:
        return seen
    left, top, right, bottom = (round(edge * picture.scale) for edge in seen.box)
    return seen._replace(box=(left, top, right, bottom))


def _size(asked: Asked) -> int:
    """The encoded bytes that are to be worked on. A pixel that comes as a number has the worst of
    it behind it, and of an array that is taken as it is nothing is left to do.
    """
    size = 0
    for one in asked.images:
        if isinstance(one, bytes):
            size += len(one)
        elif not asked.as_is:
            size += one.size // PIXELS_A_BYTE
    return size


def _digits(seen: Iterable[Normalized]) -> list[NDArray[np.uint8]]:
    return [one.digit for one in seen if one.box is not None]


def _rows(figures: NDArray[np.float32]) -> Iterator[Row]:
    return zip(figures[:, :10], figures.tolist(), strict=True)


def _judged(
    seen: Iterable[Normalized], rows: Iterator[Row], thresholds: Thresholds
) -> list[Reading]:
    """`rows` has one for each that is not blank."""
    return [_judge(one, next(rows), thresholds) if one.box else _blank(one) for one in seen]


def _as_it_is(index: int, grey: NDArray[np.uint8]) -> Normalized:
    if grey.shape != DIGIT_SHAPE:
        height, width = grey.shape
        raise BadPixels(
            f"Image {index}: with normalize=false an image is 28×28, not {width}×{height}."
        )
    box = None if grey.min() == grey.max() else (0, 0, *DIGIT_SHAPE)
    return Normalized(grey, inverted=False, box=box, warnings=())


def _blank(seen: Normalized) -> Reading:
    return Reading(None, 0.1, np.full(10, 0.1, np.float32), "blank", seen)


def _judge(seen: Normalized, row: Row, thresholds: Thresholds) -> Reading:
    probabilities, levels = row
    digit_score = levels.pop()
    confidence = max(levels)
    label = levels.index(confidence)
    rejected = None
    if digit_score < thresholds.digit_score:
        rejected = "not_a_digit"
    elif confidence < thresholds.confidence:
        rejected = "uncertain"
    return Reading(label, probabilities[label], probabilities, rejected, seen)
