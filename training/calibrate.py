"""Probabilities that can be believed, and from where on an answer should not be used.

Temperature scaling after Guo, Pleiss, Sun and Weinberger 2017 (arXiv 1706.04599): divide
all logits by one number, chosen so that held-back labels are least surprising. It changes
no answer. Under altered input a temperature fitted on clean digits alone is too low, so fit
it on both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def softmax(logits: Floats) -> Floats:
    """[n,k] → [n,k], rows summing to 1."""
    exp: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    exp /= exp.sum(axis=1, keepdims=True)
    return exp


def temperature(
    logits: Floats, labels: NDArray[np.integer], weights: Floats | None = None
) -> float:
    """The T for which softmax(logits / T) gives `labels` the greatest likelihood.

    logits [n,k], labels [n] → T in 0.05–20. `weights` [n] lets small groups count as much as
    large ones. The likelihood is concave in 1/T, so bisecting its slope finds the only peak.
    """
    weight = np.ones(len(labels)) if weights is None else weights
    logits = logits.astype(np.float64)
    said = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        expected = (softmax(logits * inverse) * logits).sum(axis=1)
        return float(weight @ (said - expected))

    low, high = 1 / 20, 1 / 0.05
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Equal-width bins of confidence: [bins] each; empty bins have count 0 and zeros."""

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error in 0–1: |confidence − accuracy|, weighted by count."""
        total = max(int(self.count.sum()), 1)
        return float((self.count * np.abs(self.confidence - self.accuracy)).sum() / total)


def reliability(probabilities: Floats, labels: NDArray[np.integer], bins: int = 15) -> Reliability:
    """How often answers given with each confidence are right: [n,10], [n] → [bins]."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    full = np.maximum(count, 1)
    return Reliability(
        count=count.astype(np.int64),
        confidence=np.bincount(place, confidence, minlength=bins) / full,
        accuracy=np.bincount(place, right, minlength=bins) / full,
    )


def threshold(scores: Floats, *, accepted: float) -> float:
    """The greatest threshold that still accepts (score ≥ threshold) this share of `scores`."""
    refused = int(np.floor(round(len(scores) * (1 - accepted), 6)))
    return float(np.sort(scores)[refused])
