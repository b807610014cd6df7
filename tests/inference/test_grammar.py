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
        ("#9/#9/9999", "352024", "3/5/2024"),
        ("#9-#9-9999", "12102024", "12-10-2024"),
        ("-#9:99", "730", "7:30"),
        ("9#/9", "123", "12/3"),
        ("9/##", "12", "1/2"),
        ("##9.-", "12", "12"),
        ("9::9", "12", "1::2"),
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
        (Grammar(pattern="9/##"), "1"),
        (Grammar(pattern="9/##/9"), "12"),
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


@given(st.from_regex(r"\A-?[9#,./: -]{1,8}\Z").filter(lambda text: "9" in text or "#" in text))
def test_a_pattern_alone_is_possible(pattern: str) -> None:
    assert Grammar(pattern=parse_pattern(pattern)).is_possible


def test_either_part_of_a_date_may_be_the_shorter() -> None:
    assert texts(Grammar(pattern="#9/#9/9999"), "1122024") == {"1/12/2024", "11/2/2024"}


@pytest.mark.parametrize("pattern", ["-#,##9.99", "#.##9,99", "#'##9"])
def test_what_separates_digits_comes_behind_one(pattern: str) -> None:
    grammar = Grammar(pattern=pattern)
    assert not [*grammar.after_mark(grammar.start, Mark.POINT)]
    for _, minus in grammar.after_mark(grammar.start, Mark.DASH):
        assert not [*grammar.after_mark(minus, Mark.POINT)]
    behind_one = [after for _, after in grammar.after(grammar.start, 1)]
    assert any([*grammar.after_mark(after, Mark.POINT)] for after in behind_one)


@pytest.mark.parametrize(
    ("grammar", "is_possible"),
    [
        (Grammar(), True),
        (Grammar(4, 4, "999"), False),
        (Grammar(4, 4, "###9"), True),
        (Grammar(1, 1, "#/#"), False),
        (Grammar(2, 2, "#/#"), True),
        (Grammar(pattern="9" * 33), False),
        (Grammar(2, 3, "9##9"), False),
        (Grammar(pattern="99/"), True),
        (Grammar(1, 2, check=Check.MOD97), False),
        (Grammar(1, 1, check=Check.LUHN), False),
        (Grammar(pattern="99", check=Check.LUHN), True),
    ],
)
def test_what_no_number_can_be_is_known(grammar: Grammar, is_possible: bool) -> None:
    assert grammar.is_possible is is_possible


@pytest.mark.parametrize("pattern", ["", "-", "$", "9x", "9$", "9" * 65, "...", "9\n"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(BadParameter, match="pattern"):
        parse_pattern(pattern)
