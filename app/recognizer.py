"""From raw images to readings: decode, normalize, classify, and what to think of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from app.batcher import Batcher, Job
from app.classifier import Classifier, Thresholds
from app.errors import BadPixels, ImageError
from app.image import decode
from app.normalize import Normalized, normalize
from app.payload import RawImage
from app.pool import Pool
from app.settings import Settings
from app.versions import Versions

DIGIT_SHAPE = (28, 28)
PIXELS_A_BYTE = 64
"""Pixels that come as numbers and count as one encoded byte: 64 times 28×28 stay on the loop."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One image's answer: `probabilities` float32 [10], and the reason not to use it, if any."""

    label: int | None
    confidence: float | np.float32
    probabilities: NDArray[np.float32]
    rejected: str | None
    seen: Normalized


class Recognizer:
    """Reads images with the live version. Little work is done where it is asked for, the rest in
    threads, so that no image holds up the event loop.
    """

    def __init__(self, versions: Versions, batcher: Batcher, settings: Settings) -> None:
        self.versions = versions
        self.batcher = batcher
        self.max_pixels = settings.max_pixels
        self.inline_image_bytes = settings.inline_image_bytes
        self._pool = Pool(threads=settings.decode_threads, max_weight=settings.decode_group_bytes)
        cv2.setNumThreads(1)  # the pool's threads are the parallelism; OpenCV's would be on top

    async def close(self) -> None:
        await self._pool.close()

    async def read(
        self, images: Sequence[RawImage], job: Job, *, as_is: bool
    ) -> tuple[Classifier, list[Reading]]:
        """A reading for each image, in order, and the classifier that gave them all.

        `job` holds their places; `as_is` takes 28×28 images without normalizing. Raises ImageError
        and BadPixels with the image's index, and what the job raises.
        """
        classifier = self.versions.live
        size = sum([_size(one, as_is) for one in images])
        if size <= self.inline_image_bytes:
            seen = self._prepare(images, job, as_is)
        else:
            seen = await self._pool.run(partial(self._prepare, images, job, as_is), size)
        if job.future.done():  # abandoned meanwhile; its future says why
            await job.future
        digits = [one.digit for one in seen if one.box is not None]
        rows = iter(await job.run(classifier, np.array(digits)) if digits else ())
        return classifier, [
            _judge(one, next(rows), classifier.thresholds) if one.box else _blank(one)
            for one in seen
        ]

    def _prepare(self, images: Sequence[RawImage], job: Job, as_is: bool) -> list[Normalized]:
        seen: list[Normalized] = []
        for index, one in enumerate(images):
            if job.future.done():  # abandoned while it waited for this thread
                return seen
            try:
                seen.append(self._see(one, as_is))
            except ImageError as error:
                error.index = index
                raise
            except BadPixels as error:
                raise BadPixels(f"Image {index}: {error}") from error
        return seen

    def _see(self, one: RawImage, as_is: bool) -> Normalized:
        scale = 1.0
        if isinstance(one, bytes):
            picture = decode(one, max_pixels=self.max_pixels)
            one, scale = picture.grey, picture.scale
        if as_is:
            return _as_it_is(one)
        seen = normalize(one)
        if scale == 1 or seen.box is None:
            return seen
        left, top, right, bottom = (round(edge * scale) for edge in seen.box)
        return seen._replace(box=(left, top, right, bottom))


def _size(one: RawImage, as_is: bool) -> int:
    """The encoded bytes that are to be worked on. A pixel that comes as a number has the worst of
    it behind it, and of an array that is taken as it is nothing is left to do.
    """
    if isinstance(one, bytes):
        return len(one)
    return 0 if as_is else one.size // PIXELS_A_BYTE


def _as_it_is(grey: NDArray[np.uint8]) -> Normalized:
    if grey.shape != DIGIT_SHAPE:
        height, width = grey.shape
        raise BadPixels(f"with normalize=false an image is 28×28, not {width}×{height}.")
    box = None if grey.min() == grey.max() else (0, 0, *DIGIT_SHAPE)
    return Normalized(grey, inverted=False, box=box, warnings=())


def _blank(seen: Normalized) -> Reading:
    return Reading(None, 0.1, np.full(10, 0.1, np.float32), "blank", seen)


def _judge(seen: Normalized, row: NDArray[np.float32], thresholds: Thresholds) -> Reading:
    probabilities, digit_score = row[:10], row[10]
    levels = probabilities.tolist()  # NumPy's argmax would hand the interpreter to another thread
    label = levels.index(max(levels))
    confidence = probabilities[label]
    rejected = None
    if digit_score < thresholds.digit_score:
        rejected = "not_a_digit"
    elif confidence < thresholds.confidence:
        rejected = "uncertain"
    return Reading(label, confidence, probabilities, rejected, seen)
