from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference import ctc
from app.inference.grammar import Grammar

LABELS = 0, 1, 2, ctc.NONE


def columns(seed: int, count: int) -> np.ndarray:
    """Columns in which only the digits 0, 1 and 2 are likely."""
    rng = np.random.default_rng(seed)
    shares = np.full((count, 11), 1e-12)
    shares[:, LABELS] = rng.random((count, len(LABELS))) + 0.02
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def sums(shares: np.ndarray) -> dict[str, float]:
    """The probability of each text, by adding up every way to say it."""
    texts: dict[str, float] = {}
    for way in itertools.product(LABELS, repeat=len(shares)):
        weight = float(np.prod([shares[place, label] for place, label in enumerate(way)]))
        text = "".join(str(label) for label, _ in itertools.groupby(way) if label != ctc.NONE)
        texts[text] = texts.get(text, 0.0) + weight
    return texts


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_a_text_is_as_likely_as_all_ways_to_say_it(seed: int, count: int) -> None:
    shares = columns(seed, count)
    expected = sums(shares)
    found = np.exp(ctc.log_probabilities(shares, list(expected)))
    assert found == pytest.approx(list(expected.values()), abs=1e-9)


@given(st.integers(0, 10_000))
def test_the_search_finds_the_likeliest_text(seed: int) -> None:
    shares = columns(seed, 2)  # of so few columns, no text leaves the beam
    texts = {text: weight for text, weight in sums(shares).items() if text}
    found = ctc.search(shares, Grammar(), 6)
    assert found[0] == max(texts, key=texts.__getitem__)
    assert [texts[text] for text in found] == sorted(texts.values(), reverse=True)[: len(found)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=5))
def test_merged_columns_say_the_same(digits: list[tuple[int, int]]) -> None:
    rows: list[tuple[int, float]] = []
    for label, gap in digits:
        rows += [(ctc.NONE, 0.9998)] * gap + [(label, 0.9)]
    shares = np.full((len(rows) + 1, 11), 1e-5)
    shares[-1, ctc.NONE] = 1.0
    for column, (label, share) in zip(shares, rows, strict=False):
        column[label] = share
        column[ctc.NONE] = max(column[ctc.NONE], 1 - share)
    shares /= shares.sum(axis=1, keepdims=True)
    texts = ctc.search(shares, Grammar(), 3)
    merged = ctc.merged(shares)
    assert len(merged) <= 2 * len(digits) + 1
    assert ctc.search(merged, Grammar(), 1) == texts[:1]
    expected, found = (ctc.log_probabilities(columns, texts[:1]) for columns in (shares, merged))
    assert found == pytest.approx(expected, abs=0.02)


def test_equal_digits_need_a_column_between_them() -> None:
    assert ctc.log_probabilities(columns(1, 2), ["11"])[0] == -ctc.MAX_LOG
    assert ctc.log_probabilities(columns(1, 3), ["11"])[0] > -ctc.MAX_LOG


def test_no_text_is_none_in_every_column() -> None:
    shares = columns(3, 6)
    expected = np.log(shares[:, ctc.NONE]).sum()
    assert ctc.log_probabilities(shares, [""])[0] == pytest.approx(expected)


def test_a_grammar_says_which_texts_there_are() -> None:
    shares = columns(5, 9)
    for text in ctc.search(shares, Grammar(2, 2), 6):
        assert len(text) == 2
    for text in ctc.search(shares, Grammar(pattern="9.99"), 6):
        assert len(text) == 4
        assert text[1] == "."
    assert ctc.search(shares, Grammar(12, 12), 6) == []
