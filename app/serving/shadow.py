"""The shadow: another version reads what was answered, and how often it differs is counted.

It answers nothing. Its thread has the least priority of all, takes images after their answer, and
what does not fit into its queue is dropped and counted: no answer waits for it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import structlog

from ..inference.classifier import Classifier
from .predictor import Prediction
from .workers import give_way

log = structlog.get_logger()

MAX_WAITING_IMAGES = 512
BATCH_IMAGES = 16
LOWEST_PRIORITY = 19
SAME, LABEL, ACCEPTANCE, DROPPED, FAILED = OUTCOMES = (
    "same",
    "other_label",
    "other_acceptance",
    "dropped",
    "failed",
)
"""The shadow's answer beside the live one; of two with the same label, one may be rejected."""


class Shadow:
    """Has a second version classify what the live one has answered.

    Args:
        classifier: The second version.
        on_outcomes: Told how many images had which of `OUTCOMES`; from any thread.
    """

    def __init__(
        self, classifier: Classifier, on_outcomes: Callable[[Mapping[str, int]], None]
    ) -> None:
        self.version = classifier.version
        self._classifier = classifier
        self._on_outcomes = on_outcomes
        self._waiting: deque[Prediction] = deque()
        self._changed = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, predictions: Sequence[Prediction]) -> None:
        """Take what the live version has answered, as far as there is room."""
        shown = [each for each in predictions if each.label is not None]
        room = max(0, MAX_WAITING_IMAGES - len(self._waiting))
        self._waiting.extend(shown[:room])
        self._changed.set()
        if len(shown) > room:
            self._on_outcomes({DROPPED: len(shown) - room})

    def close(self) -> None:
        """End the thread after the batch that it works on."""
        self._closed = True
        self._changed.set()

    def _work(self) -> None:
        give_way(LOWEST_PRIORITY)
        while not self._closed:
            self._changed.wait()
            self._changed.clear()
            while self._waiting and not self._closed:
                count = min(BATCH_IMAGES, len(self._waiting))
                self._on_outcomes(self._compare([self._waiting.popleft() for _ in range(count)]))

    def _compare(self, answered: Sequence[Prediction]) -> Mapping[str, int]:
        try:
            scores = self._classifier(np.array([each.normalized.digit for each in answered]))
        except Exception as error:  # noqa: BLE001 -- a model raises anything, and this one may
            log.warning("the shadow failed", version=self.version, reason=str(error))
            return {FAILED: len(answered)}
        outcomes: Counter[str] = Counter()
        for prediction, row in zip(answered, scores.tolist(), strict=True):
            confidence = max(row[:10])
            rejected = self._classifier.thresholds.rejection(confidence, row[10])
            if row.index(confidence) != prediction.label:
                outcomes[LABEL] += 1
            elif (rejected is None) != (prediction.rejected is None):
                outcomes[ACCEPTANCE] += 1
            else:
                outcomes[SAME] += 1
        return outcomes
