"""The candidate net: which digit a candidate of a row is, or none, by its ink, shape and scores.

The classifier has learned from whole digits, each alone. What a cut leaves of digits that touch
looks otherwise, and so do two digits, or half of one, in a digit's place. This small network has
learned from those (`training.candidatenet`). Its 24,000 weights are applied in NumPy.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .classifier import Scores
from .figures import Floats, Spans, figures

NET_FILE = Path(__file__).with_name("candidatenet.npz")
NONE = 10
"""Class of a candidate that is no digit of its row."""
POOLED = 14
"""Side of the picture that the net sees of a candidate, in pixels."""
LEAST_SCORE = 1e-4
"""Least probability whose logarithm the net is given."""


class Evidence(NamedTuple):
    """What is known of a row's candidates.

    Attributes:
        spans: The cuts before and after each, [n,2].
        digits: In MNIST's form, [n,28,28].
        shapes: [n,8], as `vision.candidates.SHAPE` has them.
        scores: [n,11], the classifier's.
    """

    spans: Spans
    digits: NDArray[np.uint8]
    shapes: NDArray[np.float32]
    scores: Scores

    def inputs(self) -> NDArray[np.float32]:
        """What the net is given, [n,239]; the candidates' `figures` come first."""
        halves = self.digits[:, ::2].astype(np.uint16) + self.digits[:, 1::2]
        pooled = (halves[:, :, ::2] + halves[:, :, 1::2]) / np.float32(4)
        likely = np.log(np.maximum(self.scores[:, :10], LEAST_SCORE))
        parts = (
            figures(self.spans, self.shapes, self.scores),
            likely / 4,
            self.shapes,
            pooled.reshape(-1, POOLED * POOLED) / 255,
        )
        return np.concatenate(parts, axis=1, dtype=np.float32)


class CandidateNet(NamedTuple):
    """A network with one hidden layer.

    Attributes:
        mean: Of each input, [k].
        scale: Its standard deviation, [k].
        hidden: Weights [k,h], and the same layer's biases [h].
        hidden_bias: See `hidden`.
        output: Weights [h,11], and the same layer's biases [11].
        output_bias: See `output`.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def log_odds(self, inputs: NDArray[np.float32]) -> Floats:
        """log(p(digit) / p(none)) of each digit for each candidate, [n,10]."""
        standard = (inputs - self.mean) / self.scale
        hidden = np.maximum(standard @ self.hidden + self.hidden_bias, 0)
        logits = hidden @ self.output + self.output_bias
        return np.asarray(logits[:, :NONE] - logits[:, NONE:], np.float64)


@lru_cache(maxsize=1)
def shipped_net() -> CandidateNet:
    """The net that `training.numbers` wrote."""
    with np.load(NET_FILE, allow_pickle=False) as arrays:
        return CandidateNet(*(arrays[name].astype(np.float32) for name in CandidateNet._fields))
