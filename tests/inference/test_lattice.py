from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.inference.candidatenet import Evidence
from app.inference.grammar import Check, Grammar, Mark
from app.inference.judge import judge, number_figures
from app.inference.lattice import Lattice, label_weights, lattice_of, mark_weights
from app.inference.search import (
    BEAM,
    LEAST_BEAM,
    MAX_BEAM,
    UNLIKELY,
    Readings,
    _reach,
    digit_probabilities,
    max_steps,
    search,
)
from app.inference.weights import Weights, shipped_weights
from app.vision.normalize import normalize
from tests.vision.test_normalize import ink

OUT = -math.inf
NO_MARKS = {mark: np.full(12, OUT) for mark in Mark}


def lattice(spans: list[tuple[int, int]], labels: list[dict[int, float]]) -> Lattice:
    """A lattice whose candidates have these digits with these weights, and no others."""
    weights = np.full((len(spans), 10), -100.0)
    for row, some in zip(weights, labels, strict=True):
        for label, weight in some.items():
            row[label] = weight
    cuts = max(stop for _, stop in spans) + 1
    return Lattice(cuts, np.array(spans), weights, np.full(len(spans), OUT), NO_MARKS)


def chain(*digits: dict[int, float]) -> Lattice:
    """Digits that stand apart."""
    return lattice([(place, place + 1) for place in range(len(digits))], list(digits))


def test_the_likeliest_digits_are_read() -> None:
    readings = search(chain({1: 0.0}, {9: 0.0, 4: -2.0}, {7: 0.0}), Grammar())
    assert [reading.text for reading in readings.best] == ["197", "147"]
    assert readings.best[0].probability == pytest.approx(1 / (1 + math.exp(-2)))
    assert [digit.label for digit in readings.best[0].digits] == [1, 9, 7]
    assert readings.allowed == pytest.approx(1)


def test_ways_that_say_the_same_add_up() -> None:
    touching = lattice(
        [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)], [{1: 0}, {1: 0}, {}, {2: 0}, {2: 0}]
    )
    readings = search(touching, Grammar())
    assert readings.best[0].text == "12"
    assert readings.best[0].probability == pytest.approx(1)


def test_a_length_steers_the_search() -> None:
    either = lattice([(0, 1), (0, 2), (1, 2)], [{1: 0.0}, {8: 3.0}, {3: 0.0}])
    assert search(either, Grammar()).best[0].text == "8"
    readings = search(either, Grammar(min_length=2, max_length=2))
    assert readings.best[0].text == "13"
    assert readings.best[0].probability == pytest.approx(1)
    assert readings.allowed < 0.1
    assert search(either, Grammar(min_length=3)).best == []


def test_check_digits_find_what_the_beam_would_lose() -> None:
    number = "79927398713"
    wrong = [{(int(digit) + 1) % 10: 3.0, int(digit): 0.0} for digit in number]
    readings = search(chain(*wrong), Grammar(check=Check.LUHN))
    assert readings.best
    for reading in readings.best:
        digits = [int(digit) for digit in reading.text[::-1]]
        total = sum(digits[::2]) + sum(2 * d - 9 * (d > 4) for d in digits[1::2])
        assert total % 10 == 0


def test_a_part_may_be_left_out() -> None:
    dusty = chain({1: 0.0}, {2: -9.0}, {3: 0.0})._replace(noise=np.array([OUT, 0.0, OUT]))
    assert search(dusty, Grammar()).best[0].text == "13"


def test_a_row_whose_end_is_not_reached_is_no_number() -> None:
    broken = lattice([(0, 1), (2, 3)], [{1: 0.0}, {2: 0.0}])
    assert search(broken, Grammar()) == Readings([], 0.0)


@given(
    st.lists(
        st.dictionaries(st.integers(0, 9), st.floats(-6, 0), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    )
)
def test_probabilities_are_shares_of_all_readings(digits: list[dict[int, float]]) -> None:
    readings = search(chain(*digits), Grammar())
    found = {reading.text: reading.probability for reading in readings.best}
    assert sum(found.values()) == pytest.approx(1, abs=3e-3)  # those without a chance are missing
    for place in range(len(digits)):
        assert digit_probabilities(readings, place).sum() == pytest.approx(1)
    best = max(readings.best, key=lambda reading: reading.probability)
    assert readings.best[0] == best


@given(st.sampled_from(["9999", "##9.99", "99/99", "9-9-9"]), st.integers(2, 6))
def test_a_pattern_is_respected(pattern: str, count: int) -> None:
    readings = search(chain(*[{3: 0.0, 8: -1.0}] * count), Grammar(pattern=pattern))
    fewest, most = pattern.count("9"), pattern.count("9") + pattern.count("#")
    assert bool(readings.best) is (fewest <= count <= most)
    for reading in readings.best:
        assert len(reading.digits) == count
        assert set(reading.text) <= {"3", "8", *pattern} - {"9", "#"}


@pytest.mark.parametrize(("height", "is_likelier"), [(1.0, False), (1.1, False), (1.3, True)])
def test_a_sign_that_stands_out_of_the_row_is_rather_one_than_a_digit(
    height: float, is_likelier: bool
) -> None:
    spans = np.array([(0, 1), (1, 2), (2, 3)], np.intp)
    shapes = np.zeros((3, 8), np.float32)
    shapes[:, 0], shapes[:, 1] = 0.6, (height, 1.0, 1.0)
    labels = np.full((3, 10), -9.0)
    labels[:, 5] = 4.0
    sign = mark_weights(spans, shapes, labels, np.zeros(3))[Mark.SIGN]
    assert (sign[0] > labels[0].max()) == is_likelier


def test_the_beam_is_bounded() -> None:
    anything = dict.fromkeys(range(10), 0.0)
    readings = search(chain(*[anything] * 12), Grammar(check=Check.MOD97))
    assert 0 < len(readings.best) <= 10 * MAX_BEAM


@given(st.integers(4, 64), st.sampled_from([Grammar(), Grammar(check=Check.MOD97)]))
@hypothesis_settings(max_examples=15)
def test_a_search_takes_a_bounded_number_of_steps(cuts: int, grammar: Grammar) -> None:
    spans = [(start, start + 1 + at) for start in range(cuts - 1) for at in range(6)]
    spans = [span for span in spans if span[1] < cuts]
    scribble = lattice(spans, [dict.fromkeys(range(10), 0.0)] * len(spans))
    with patch("app.inference.search._reach", wraps=_reach) as steps:
        readings = search(scribble, grammar)
    assert readings.best or grammar.check
    assert steps.call_count <= max_steps(grammar) + LEAST_BEAM * 10 * len(spans)


def test_a_text_without_a_chance_is_not_followed() -> None:
    either = {4: 0.0, 9: -UNLIKELY / 2}
    found = [reading.text for reading in search(chain(*[either] * 3), Grammar()).best]
    assert sorted(found) == ["444", "449", "494", "499", "944", "949", "994"]
    whole = search(chain(*[either] * 3), Grammar(min_length=3, max_length=3))
    assert "999" in {reading.text for reading in whole.best}


def test_an_easy_row_is_searched_in_full() -> None:
    some = [{label: -0.1 * label for label in range(3)}] * 4
    assert len(search(chain(*some), Grammar()).best) == 3 * BEAM


def test_a_clear_row_looks_like_a_number_and_a_strange_one_does_not() -> None:
    shapes = np.array([[0.7, 1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 1.0]] * 2, np.float32)
    spans = np.array([(0, 1), (1, 2)])
    digits = np.stack([normalize(ink(7, 60)).digit] * 2)
    weights = shipped_weights()
    found = []
    for digit_score, share in ((0.99999, 0.999999), (0.01, 0.4)):
        scores = np.full((2, 11), (1 - share) / 9, np.float32)
        scores[:, 7], scores[:, 10] = share, digit_score
        row = lattice_of(3, Evidence(spans, digits, shapes, scores), weights)
        readings = search(row, Grammar())
        assert readings.best[0].text == "77"
        judged = judge(readings, number_figures(readings, row, scores), weights.alone)
        found.append(judged.rejection(several_lines=False))
        assert judged.rejection(several_lines=True) in {"several_lines", "not_a_number"}
    assert found == [None, "not_a_number"]


def test_weights_are_finite() -> None:
    weights = shipped_weights()
    assert isinstance(weights, Weights)
    nothing = Evidence(
        np.array([(0, 1)]),
        np.zeros((1, 28, 28), np.uint8),
        np.zeros((1, 8), np.float32),
        np.zeros((1, 11), np.float32),
    )
    assert np.isfinite(label_weights(nothing, weights)).all()
