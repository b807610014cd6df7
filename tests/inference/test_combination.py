from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from app.inference import ctc
from app.inference.combination import LEAST_LOG, RIVAL_FIGURES, Rivals, combined, rivals_of
from app.inference.grammar import Grammar
from app.inference.judge import rival_figures
from app.inference.search import search
from tests.inference.test_lattice import chain, lattice

EQUAL = np.array([1.0, 1.0, 0.0, 0.0])


def said(text: str, *, share: float = 0.98, doubt: str = "") -> np.ndarray:
    """Columns that say a text, or with less probability another of the same length."""
    columns = np.full((2 * len(text) + 1, 11), 1e-6)
    columns[::2, ctc.NONE] = 1
    for place, digit in enumerate(text):
        columns[2 * place + 1, int(digit)] = share
        if doubt:
            columns[2 * place + 1, int(doubt[place])] += 1 - share
    return np.asarray(columns / columns.sum(axis=1, keepdims=True))


def rivals(
    labels: Sequence[dict[int, float]], columns: np.ndarray, grammar: Grammar | None = None
) -> Rivals:
    row = chain(*labels)
    shapes = np.zeros((len(row.spans), 8), np.float32)
    free = grammar or Grammar()
    return rivals_of(search(row, free), row, shapes, columns, free)


def test_what_both_say_is_read() -> None:
    readings, first = combined(rivals([{1: 0.0}, {9: 0.0, 4: -1.0}], said("19")), EQUAL)
    assert (readings.best[0].text, first) == ("19", 0)
    assert readings.best[0].probability > 0.9


def test_the_row_net_overrules_a_lattice_that_doubts() -> None:
    some = rivals([{1: 0.0}, {9: 0.0, 4: -1.0}], said("14"))
    readings, first = combined(some, EQUAL)
    assert readings.best[0].text == "14"
    assert some.readings[first].text == "14"
    lattice_alone, _ = combined(some, np.array([1.0, 0, 0, 0]))
    assert lattice_alone.best[0].text == "19"


def test_a_text_of_the_row_net_alone_is_a_rival_with_places() -> None:
    row = lattice([(0, 1), (0, 2), (1, 2)], [{1: 0.0, 7: -30.0}, {4: 8.0}, {3: 0.0}])
    free = Grammar()
    some = rivals_of(search(row, free), row, np.zeros((3, 8), np.float32), said("73"), free)
    texts = [reading.text for reading in some.readings]
    assert texts[0] == "4"
    reading = some.readings[texts.index("73")]
    assert [digit.candidate for digit in reading.digits] == [0, 2]
    assert [digit.label for digit in reading.digits] == [7, 3]
    assert 0 < reading.probability < 1e-12


def test_a_text_that_no_way_says_is_no_rival() -> None:
    some = rivals([{1: 0.0}, {9: 0.0}], said("199"))
    assert "199" not in {reading.text for reading in some.readings}


def test_rivals_are_of_the_grammar() -> None:
    some = rivals([{1: 0.0}] * 3, said("123"), Grammar(pattern="9.99"))
    assert some.readings[0].text == "1.11"
    assert all(len(one.text) == 4 and one.text[1] == "." for one in some.readings)
    assert "1.23" in {reading.text for reading in some.readings}


def test_figures_are_bounded() -> None:
    some = rivals([{1: 0.0, 2: -90.0}, {9: 0.0}], said("19", share=1.0))
    assert some.figures.shape == (len(some.readings), RIVAL_FIGURES)
    assert (some.figures >= LEAST_LOG).all()
    assert (some.figures <= 1e-9).all()
    assert math.exp(some.figures[0, 1]) == pytest.approx(1.0, abs=1e-3)


def test_a_row_is_judged_by_how_far_both_agree() -> None:
    facts = np.array([1.0, 5, 5, 5, 5, 5, 5, 2])
    agreed = rivals([{1: 0.0}, {9: 0.0, 4: -1.0}], said("19"))
    divided = rivals([{1: 0.0}, {9: 0.0, 4: -1.0}], said("14"))
    together, apart = rival_figures(facts, agreed, 0), rival_figures(facts, divided, 0)
    assert together.shape == apart.shape == (16,)
    assert (together[:8] == facts).all()
    assert (together[-1], apart[-1]) == (1.0, 0.0)
    assert np.isfinite(together).all()
    assert np.isfinite(rival_figures(facts, rivals([{1: 0.0}], said("1")), 0)).all()
