"""The card of a version: its figures, of how many images they are, and how sure that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

Interval = tuple[float, float]

Z = 1.959964
"""Standard deviations of an interval of 95%."""
MNIST_TEST, MNIST_HELD_BACK, USPS = 10_000, 5_000, 7_291
IMAGES = {
    "test_accuracy": MNIST_TEST,
    "test_accuracy_uploaded": MNIST_TEST,
    "test_accepted": MNIST_TEST,
    "validation_accuracy": MNIST_HELD_BACK,
    "validation_altered_accuracy": MNIST_HELD_BACK,
    "usps_scanned.accuracy": USPS,
}
"""Images that a share is of, whatever was asked for."""
OF_ALL = (".mean", ".accuracy", ".rejected")
"""Ends of the names of shares of all images of a collection."""


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of nested figures, their names joined by dots."""
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found[prefix + name] = float(value)
    return found


def images_of(figures: Mapping[str, float], name: str) -> int | None:
    """Return how many images a share is of, where that is known.

    Args:
        figures: As `flat` gives them.
        name: Of the share.
    """
    collection, dot, end = name.rpartition(".")
    beside = ".of" if dot + end == ".share" else ".images" if dot + end in OF_ALL else None
    counted = figures.get(collection + beside) if beside else None
    return IMAGES.get(name) if counted is None else int(counted)


def wilson(successes: int, trials: int) -> Interval:
    """Return the 95% interval of a share (Wilson 1927); it holds near 0 and 1, too."""
    if not trials:
        return 0.0, 1.0
    share, z2 = successes / trials, Z**2 / trials
    middle = (share + z2 / 2) / (1 + z2)
    half = Z * sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)
