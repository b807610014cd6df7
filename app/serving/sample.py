"""The sample: pictures of uncertain answers, kept without a label for people to give them one.

What the model is unsure of teaches it most. Off unless an hour's number is set; then a picture is
kept as feedback is, within its bytes and days, beside the folders of the labels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from ..inference.classifier import Rejection
from ..vision.grayscale import GrayImage
from .feedback import FeedbackFolder
from .predictions import Prediction

log = structlog.get_logger()

HOUR_SECONDS = 3600.0


class UncertainSample:
    """Keeps so many pictures an hour of answers that were rejected as uncertain.

    They are spread over the hour: one an interval, the first that comes. A thread writes to disk,
    one picture at a time; what comes meanwhile is not kept.

    Args:
        folder: Where they are kept.
        per_hour: How many.
        clock: Seconds.
    """

    def __init__(
        self,
        folder: FeedbackFolder,
        *,
        per_hour: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._interval = HOUR_SECONDS / per_hour
        self._clock = clock
        self._due = clock()
        self._writing: asyncio.Task[None] | None = None

    def offer(self, predictions: Sequence[Prediction]) -> None:
        """Keep the first uncertain one of `predictions`, if one is due."""
        if self._clock() < self._due or (self._writing and not self._writing.done()):
            return
        for each in predictions:
            if each.rejected is Rejection.UNCERTAIN:
                self._due = self._clock() + self._interval
                self._writing = asyncio.create_task(self._keep(each.normalized.digit))
                return

    async def _keep(self, picture: GrayImage) -> None:
        try:
            await asyncio.to_thread(self._folder.keep_unlabelled, picture)
        except OSError as error:
            log.warning("sample can't be kept", reason=error.strerror)
