"""Calibration: the temperature of the probabilities, and the thresholds of acceptance and cascade.

Temperature scaling after Guo, Pleiss, Sun and Weinberger 2017 (arXiv 1706.04599): divide all logits
by one number that maximizes the likelihood of held-back labels. It changes no label. Under altered
input a temperature fitted on clean digits alone is too low, so it is fitted on both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.inference.cascade import unsure
from app.inference.classifier import Compute, Scores
from training.corpora import data

Floats = NDArray[np.floating]

CASCADE_THRESHOLDS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
NEVER_CONFIDENT = 1.1
"""A cascade's threshold at which the fast network never answers: no score reaches it."""


def softmax(logits: Floats) -> Floats:
    """Return the softmax of each row: [n,k] → [n,k]."""
    exp: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    exp /= exp.sum(axis=1, keepdims=True)
    return exp


def temperature(
    logits: Floats, labels: NDArray[np.integer], weights: Floats | None = None
) -> float:
    """Return the T in 0.05–20 for which softmax(logits / T) gives `labels` the greatest likelihood.

    The likelihood is concave in 1/T, so bisecting its slope finds the only peak.

    Args:
        logits: [n,k].
        labels: [n].
        weights: [n]; lets small groups count as much as large ones.
    """
    weight = np.ones(len(labels)) if weights is None else weights
    logits = logits.astype(np.float64)
    labelled = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        expected = (softmax(logits * inverse) * logits).sum(axis=1)
        return float(weight @ (labelled - expected))

    low, high = 1 / 20, 1 / 0.05
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Accuracy in equal-width bins of confidence: [bins] each, zeros where a bin is empty."""

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """The expected calibration error in 0–1: |confidence − accuracy|, weighted by count."""
        total = max(int(self.count.sum()), 1)
        return float((self.count * np.abs(self.confidence - self.accuracy)).sum() / total)


def reliability(probabilities: Floats, labels: NDArray[np.integer], bins: int = 15) -> Reliability:
    """Return how often predictions of each confidence are right: [n,10], [n] → [bins]."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    full = np.maximum(count, 1)
    return Reliability(
        count=count.astype(np.int64),
        confidence=np.bincount(place, confidence, minlength=bins) / full,
        accuracy=np.bincount(place, correct, minlength=bins) / full,
    )


def threshold(scores: Floats, *, accepted: float) -> float:
    """Return the greatest threshold that accepts (score ≥ threshold) this share of `scores` [n]."""
    refused = int(np.floor(round(len(scores) * (1 - accepted), 6)))
    return float(np.sort(scores)[refused])


def cascade_threshold(
    fast: Compute, accurate: Compute, held_back: Iterable[data.Digits], *, least: float
) -> float:
    """Return the least sufficient threshold of a cascade.

    It is sufficient if, in each held-back set, the fast network makes no more mistakes on the
    images that it answers than the accurate network makes on the same images.

    Args:
        fast: The fast network.
        accurate: The accurate network.
        held_back: The sets, clean and altered digits.
        least: Thresholds below are not considered.

    Returns:
        One of `CASCADE_THRESHOLDS`, or `NEVER_CONFIDENT` where none is sufficient.
    """
    sets = [(fast(digits.images), accurate(digits.images), digits.labels) for digits in held_back]
    for threshold in CASCADE_THRESHOLDS:
        if threshold >= least and all(is_sufficient(*scores, threshold) for scores in sets):
            return threshold
    return NEVER_CONFIDENT


def is_sufficient(
    fast: Scores, accurate: Scores, labels: NDArray[np.uint8], threshold: float
) -> bool:
    """Tell whether the fast network is wrong no more often than the accurate one where it answers.

    Args:
        fast: The fast network's scores [n,11].
        accurate: The accurate network's scores [n,11].
        labels: [n].
        threshold: The cascade's threshold.
    """
    answered = ~unsure(fast, threshold)
    mistakes = [
        np.sum((scores[:, :10].argmax(axis=1) != labels)[answered]) for scores in (fast, accurate)
    ]
    return bool(mistakes[0] <= mistakes[1])
