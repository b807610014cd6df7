"""The cascade: a fast network answers where it is confident, an accurate one elsewhere.

Source: Viola and Jones 2001; for networks, Bolukbasi et al. 2017 (arXiv 1702.07811).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .classifier import Compute, Images, Scores

SINGLE = "serving_default"
FAST, ACCURATE = "fast", "accurate"
"""Names of a version's networks: `SINGLE` alone, or the two of a cascade."""


def is_unsure(probability: Any, digit_score: Any, threshold: float) -> Any:
    """Tell for each image whether the fast network's scores call for the accurate network.

    This is the cascade's one rule. NumPy arrays and TensorFlow tensors are taken alike, so that
    `training.export` builds the SavedModel's graph with it.

    Args:
        probability: [n], the greatest probability of each image.
        digit_score: [n].
        threshold: Both must reach it for the fast network's answer to stand.

    Returns:
        [n], boolean.
    """
    return (probability < threshold) | (digit_score < threshold)


def unsure(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    """Apply `is_unsure` to the fast network's scores [n,11]."""
    rejected: NDArray[np.bool_] = is_unsure(scores[:, :10].max(axis=1), scores[:, 10], threshold)
    return rejected


def cascade(fast: Compute, accurate: Compute, threshold: float) -> Compute:
    """Return the function that asks `accurate` about the images that `fast` is unsure of."""

    def compute(images: Images) -> Scores:
        scores = fast(images)
        indices = np.flatnonzero(unsure(scores, threshold))
        if len(indices):
            scores[indices] = accurate(images[indices])
        return scores

    return compute


def compose(networks: Mapping[str, Compute], card: Mapping[str, Any]) -> Compute:
    """Return the one function that a version's networks are together.

    Args:
        networks: The networks by name: `SINGLE`, or `FAST` and `ACCURATE`.
        card: The version's card, which has a cascade's threshold.

    Raises:
        ModelError: A network is missing, or the card has no threshold.
    """
    if SINGLE in networks:
        return networks[SINGLE]
    try:
        threshold = float(card["cascade"]["threshold"])
        return cascade(networks[FAST], networks[ACCURATE], threshold)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("The card or a network of the cascade is missing.") from error
