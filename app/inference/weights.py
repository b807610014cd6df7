"""Weights: what was learned of the figures of a candidate, and of whole numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .figures import Floats

WEIGHTS_FILE = Path(__file__).with_name("lattice.json")


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned of the figures of a candidate.

    Attributes:
        probability: Of the logarithm of a digit's probability.
        net: Of the candidate net's log odds.
        digit: Of the figures in `figures`, for a candidate that is a digit.
        one: Of 1, width and height, where that digit is a 1.
        noise: Of the figures in `noise_figures`, for a part that is left out.
        number: Of the figures in `number_figures`: whether the row is a number at all.
        right: Of the same: whether its likeliest reading is right.
        number_score: Least number score of an accepted reading.
        confidence: Least probability of it.
    """

    probability: float
    net: float
    digit: Floats
    one: Floats
    noise: Floats
    number: Floats
    right: Floats
    number_score: float
    confidence: float


@lru_cache(maxsize=1)
def shipped_weights() -> Weights:
    """The weights that `training.numbers` wrote."""
    return weights_of(json.loads(WEIGHTS_FILE.read_text("utf-8")))


def weights_of(content: Mapping[str, Any]) -> Weights:
    """The weights in the content of a file that `training.numbers` wrote."""
    return Weights(
        probability=content["probability"],
        net=content["net"],
        digit=np.array(content["digit"]),
        one=np.array(content["one"]),
        noise=np.array(content["noise"]),
        number=np.array(content["number"]),
        right=np.array(content["right"]),
        number_score=content["thresholds"]["number_score"],
        confidence=content["thresholds"]["confidence"],
    )
