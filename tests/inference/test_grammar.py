from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadParameter
from app.inference.grammar import Check, Grammar, Mark, State, parse_pattern


def texts(grammar: Grammar, digits: str) -> set[str]:
    """What the grammar makes of these digits, without marks."""
    reached: set[tuple[str, State]] = {("", grammar.start)}
    for digit in digits:
        reached = {
            (text + written, after)
            for text, state in reached
            for written, after in grammar.after(state, int(digit))
        }
    return {text for text, state in reached if grammar.accepts(state)}


@pytest.mark.parametrize(
    ("pattern", "digits", "expected"),
    [
        ("9999", "1977", "1977"),
        ("####9", "12", "12"),
        ("9##", "12", "12"),
        ("#,##9.99", "750", "7.50"),
        ("#,##9.99", "12750", "127.50"),
        ("#,##9.99", "125000", "1,250.00"),
        ("99/99/9999", "31122024", "31/12/2024"),
        ("9999 9999", "12345678", "1234 5678"),
        ("-$#9.99", "150", "1.50"),
        ("###-####", "5551234", "555-1234"),
    ],
)
def test_a_text_is_written_as_the_pattern_has_it(pattern: str, digits: str, expected: str) -> None:
    assert texts(Grammar(pattern=pattern), digits) == {expected}


@pytest.mark.parametrize(
    ("grammar", "digits"),
    [
        (Grammar(pattern="9999"), "197"),
        (Grammar(pattern="9999"), "19777"),
        (Grammar(min_length=3), "12"),
        (Grammar(max_length=3), "1234"),
        (Grammar(), ""),
        (Grammar(check=Check.LUHN), "79927398714"),
        (Grammar(check=Check.LUHN), "0"),
        (Grammar(check=Check.MOD97), "100"),
    ],
)
def test_a_text_that_is_not_allowed(grammar: Grammar, digits: str) -> None:
    assert texts(grammar, digits) == set()


def test_check_digits_hold() -> None:
    assert texts(Grammar(check=Check.LUHN), "79927398713") == {"79927398713"}
    assert texts(Grammar(check=Check.LUHN), "4539148803436467") == {"4539148803436467"}
    assert texts(Grammar(check=Check.MOD97), "195") == {"195"}  # 2 · 97 + 1


@given(st.text("0123456789", min_size=1, max_size=12), st.integers(0, 9))
def test_luhn_allows_one_check_digit_for_a_number(number: str, other: int) -> None:
    grammar = Grammar(check=Check.LUHN)
    allowed = [digit for digit in range(10) if texts(grammar, f"{number}{digit}")]
    assert len(allowed) == 1


@given(st.text("0123456789", min_size=1, max_size=32))
def test_a_free_grammar_allows_every_number(digits: str) -> None:
    assert Grammar().is_free
    assert texts(Grammar(), digits) == {digits}


def test_a_minus_is_written_and_a_currency_sign_is_not() -> None:
    grammar = Grammar(pattern="-$#9")
    assert set(grammar.marks) == {Mark.DASH, Mark.SIGN}
    ((minus, after),) = grammar.after_mark(grammar.start, Mark.DASH)
    ((sign, last),) = grammar.after_mark(after, Mark.SIGN)
    assert (minus, sign) == ("-", "")
    assert {written for written, _ in grammar.after(last, 7)} == {"7"}


@pytest.mark.parametrize("pattern", ["", "-", "$", "9x", "9$", "9" * 65, "...", "9\n"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(BadParameter, match="pattern"):
        parse_pattern(pattern)
