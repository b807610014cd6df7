"""The lattice: which of a row's candidates are its digits, and how sure that is.

A row is divided by cuts; a candidate is the ink between two of them. A reading is a way from the
first cut to the last over candidates that follow each other, with a digit for each. Its weight is
the product of theirs, and its probability its share of the weights of all readings: a conditional
random field over segmentations (Sarawagi and Cohen 2004), whose weights `training.numbers` fits, so
that the probabilities are calibrated for whole numbers. What a text's probability is made of may
be several ways, which divide its ink differently.

A grammar says which digits may follow which. It steers the search: a reading that it does not allow
takes no place among those that it does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .candidatenet import Evidence, shipped_net
from .figures import (
    LEAST,
    SMALL,
    Floats,
    Spans,
    is_dash,
    may_be_noise,
    noise_figures,
    one_figures,
    stands_out,
)
from .grammar import Mark
from .weights import Weights

MARK, SLASH, TALL_SLASH, SIGN_COST, TALL_SIGN = 4.0, 1.5, 5.0, 4.0, 3.0
"""What a mark's shape counts where the grammar has it, in logarithms of weights. They are set, not
fitted: a pattern leaves little else that a mark could be. Tall is a slash or a currency sign that
stands out of the row, as the bar of a dollar sign does: otherwise they are often a clear 1 or 5."""


class Lattice(NamedTuple):
    """A row's candidates and the logarithms of their weights.

    Attributes:
        cuts: Number of cuts.
        spans: The cuts before and after each candidate, [n,2].
        labels: Of each digit, [n,10].
        noise: Of leaving it out, [n]; minus infinity where it may not be.
        marks: Of each mark that it may be; none where no mark was asked for.
    """

    cuts: int
    spans: Spans
    labels: Floats
    noise: Floats
    marks: dict[Mark, Floats]


def lattice_of(cuts: int, evidence: Evidence, weights: Weights, *, marks: bool = False) -> Lattice:
    """Weigh the candidates of a row with this number of cuts as digits, dust, and `marks` if so."""
    spans, _, shapes, scores = evidence
    labels = label_weights(evidence, weights)
    left_out = noise_figures(shapes, scores) @ weights.noise
    noise = np.where(may_be_noise(spans, shapes), left_out, -np.inf)
    weighed = mark_weights(spans, shapes, labels, left_out) if marks else {}
    return Lattice(cuts, spans, labels, noise, weighed)


def label_weights(evidence: Evidence, weights: Weights) -> Floats:
    """The logarithm of the weight of each digit for each candidate, [n,10]."""
    likely = np.log(np.maximum(evidence.scores[:, :10].astype(np.float64), LEAST))
    inputs = evidence.inputs()
    logs: Floats = weights.probability * likely + weights.net * shipped_net().log_odds(inputs)
    logs += (inputs[:, : len(weights.digit)] @ weights.digit)[:, None]
    logs[:, 1] += one_figures(evidence.shapes) @ weights.one
    return logs


def mark_weights(
    spans: Spans, shapes: NDArray[np.float32], labels: Floats, left_out: Floats
) -> dict[Mark, Floats]:
    """The logarithm of the weight of each mark for each candidate, by its shape alone.

    Where a grammar has a mark, a part of its shape is that mark rather than a digit or dust.
    """
    width, height = np.asarray(shapes[:, :2], np.float64).T
    single = spans[:, 1] - spans[:, 0] == 1
    small = single & (width < SMALL) & (height < SMALL)
    tall = (height > 0.7) & (width < 0.9)
    digit = labels.max(axis=1)
    clear, out = np.maximum(digit, np.median(digit)), stands_out(shapes)
    shape = {
        Mark.POINT: (small, left_out + MARK),
        Mark.DASH: (is_dash(spans, shapes), left_out + MARK),
        Mark.SLASH: (tall, clear + np.where(out, TALL_SLASH, SLASH)),
        Mark.SIGN: (
            height > SMALL,
            np.where(out, clear + TALL_SIGN, np.median(digit) - SIGN_COST),
        ),
    }
    return {mark: np.where(holds, weight, -np.inf) for mark, (holds, weight) in shape.items()}
