from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.inference.alignment import alignments
from app.inference.grammar import Grammar
from app.inference.lattice import Lattice
from app.inference.search import search

OUT = -math.inf


def lattice(seed: int, cuts: int, *, noisy: bool) -> Lattice:
    """A lattice whose candidates span one or two parts."""
    rng = np.random.default_rng(seed)
    spans = [(start, stop) for start in range(cuts - 1) for stop in (start + 1, start + 2)]
    spans = [span for span in spans if span[1] < cuts]
    labels = np.where(rng.random((len(spans), 10)) < 0.3, rng.normal(0, 1, (len(spans), 10)), -60)
    noise = np.where(rng.random(len(spans)) < 0.3 * noisy, -2.0, OUT)
    return Lattice(cuts, np.array(spans), labels, noise, {})


@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans())
def test_the_weight_is_that_of_the_search(seed: int, cuts: int, noisy: bool) -> None:
    some = lattice(seed, cuts, noisy=noisy)
    readings = search(some, Grammar())
    texts = [reading.text for reading in readings.best]
    for reading, found in zip(readings.best, alignments(some, texts), strict=True):
        assert found is not None
        share = math.exp(found.weight - readings.log_total)
        # The search leaves out what is unlikely.
        assert share >= reading.probability - 1e-9
        assert "".join(str(digit.label) for digit in found.digits) == reading.text
    assume(readings.best)  # else all ways are unlikely
    best = readings.best[0]
    (found,) = alignments(some, [best.text])
    assert found is not None
    assert math.exp(found.weight - readings.log_total) == pytest.approx(best.probability, abs=2e-3)


def test_a_text_that_no_way_says() -> None:
    some = lattice(1, 4, noisy=False)
    found = alignments(some, ["1234", "1", "12"])
    assert [one is None for one in found] == [True, True, False]
    assert alignments(some, []) == []


def test_a_way_is_over_candidates_that_follow_each_other() -> None:
    some = lattice(2, 6, noisy=True)
    for found in alignments(some, ["123", "9876"]):
        assert found is not None
        spans = some.spans[[digit.candidate for digit in found.digits]]
        assert (spans[:-1, 1] <= spans[1:, 0]).all()
