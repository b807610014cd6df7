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
class Judging:
    """What was learned of the figures of a whole number.

    Attributes:
        number: Of the figures: whether the row is a number at all.
        right: Of the same: whether its likeliest reading is right.
        number_score: Least number score of an accepted reading.
        confidence: Least probability of it.
    """

    number: Floats
    right: Floats
    number_score: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned of the figures of a candidate, and of whole numbers.

    Attributes:
        probability: Of the logarithm of a digit's probability.
        net: Of the candidate net's log odds.
        digit: Of the figures in `figures`, for a candidate that is a digit.
        one: Of 1, width and height, where that digit is a 1.
        noise: Of the figures in `noise_figures`, for a part that is left out.
        alone: Of the figures in `number_figures`, of readings of the lattice.
        sure: Probability of such a reading from which on the row net is not asked.
        rivals: Of the figures of rivals, where it is asked.
        both: Of the figures in `rival_figures`, where it is asked.
        row_net: SHA-256 of the row net's file that the last two were fitted for.
    """

    probability: float
    net: float
    digit: Floats
    one: Floats
    noise: Floats
    alone: Judging
    sure: float
    rivals: Floats
    both: Judging
    row_net: str


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
        alone=_judging_of(content["alone"]),
        sure=content["sure"],
        rivals=np.array(content["rivals"]),
        both=_judging_of(content["both"]),
        row_net=content["row_net"],
    )


def _judging_of(content: Mapping[str, Any]) -> Judging:
    return Judging(
        np.array(content["number"]),
        np.array(content["right"]),
        content["number_score"],
        content["confidence"],
    )
