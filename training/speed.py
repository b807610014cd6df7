"""Speed: how long versions take for an image, measured beside each other."""

from collections.abc import Sequence
from time import perf_counter

from app.inference.classifier import Compute, Images
from app.inference.tflite import SIZES

ROUNDS = 7
"""Rounds in turn; the least duration counts, because other work can only add to it."""
ALONE, FULL = min(SIZES), max(SIZES)
"""Images in a call."""


def microseconds(computes: Sequence[Compute], images: Images, size: int) -> list[float]:
    """Return the microseconds an image that each of `computes` takes, `size` images at a time.

    Args:
        computes: Classifiers, warmed up.
        images: Typical images [n,28,28]: how often a cascade asks its accurate network depends on
            them.
        size: Images in a call; those above a multiple of it are left out.
    """
    calls = [images[i : i + size] for i in range(0, len(images) - size + 1, size)]
    least = [float("inf")] * len(computes)
    for _ in range(ROUNDS):
        for place, compute in enumerate(computes):
            began = perf_counter()
            for call in calls:
                compute(call)
            least[place] = min(least[place], perf_counter() - began)
    return [seconds / (len(calls) * size) * 1e6 for seconds in least]
