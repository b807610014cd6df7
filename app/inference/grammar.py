"""The grammar of a number: how long it may be, how it is written, and its check digits.

    9           a digit
    #           a digit that may be missing: before a 9, leading digits; after the last 9, trailing.
                Behind / : and - begins a part of its own, with at least one digit
    , . ' : /   a separator; the picture may show it or not, the text has it
    -           first of all: a minus that may be missing; else a separator
    (space)     a gap
    $ € £ ¥     first of all, or after the minus: a currency sign, which may be missing and is not
                in the text

`####9` is a number of one to five digits, `#,##9.99` an amount, `#9/#9/9999` a date. A separator
with no digit before it is left out, as in `#,##9.99` for 7.50. In a URL, # is written %23.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ..errors import BadParameter

MAX_DIGITS = 32
"""Digits of a number, at most."""
MAX_PATTERN = 64
"""Characters of a pattern, at most."""
DIGIT, OPTIONAL = "9", "#"
CURRENCIES = "$€£¥"
PATTERN = r"^-?[$€£¥]?[,.':/ -]*[9#][9#,.':/ -]*$"
"""What a pattern is, as JSON Schema has it."""


class Mark(Enum):
    """Ink of a number that is no digit, by its shape."""

    POINT = "point"
    DASH = "dash"
    SLASH = "slash"
    SIGN = "sign"


DIVIDERS = "/:-"
"""Separators between numbers, as in a date; the others are of one number, as in an amount."""
SEPARATORS: dict[str, Mark | None] = {
    ",": Mark.POINT,
    ".": Mark.POINT,
    "'": Mark.POINT,
    ":": Mark.POINT,
    "/": Mark.SLASH,
    "-": Mark.DASH,
    " ": None,
}


class Check(Enum):
    """A rule that a number's digits obey."""

    LUHN = "luhn"
    MOD97 = "mod97"


LEAST_DIGITS: dict[Check | None, int] = {None: 1, Check.LUHN: 2, Check.MOD97: 3}
"""Digits of a number with such check digits, at least: one more than these."""


class State(NamedTuple):
    """How far a text has come.

    Attributes:
        place: Characters of the pattern that are behind it.
        length: Digits in it.
        residue: What its check digits depend on, of the digits so far.
    """

    place: int
    length: int
    residue: tuple[int, int]


class Grammar(NamedTuple):
    """Which texts are numbers here.

    Attributes:
        min_length: Digits, at least.
        max_length: Digits, at most.
        pattern: How they are written; empty where there are digits alone.
        check: The rule that they obey.
    """

    min_length: int = 1
    max_length: int = MAX_DIGITS
    pattern: str = ""
    check: Check | None = None

    @property
    def start(self) -> State:
        """The state before the first digit."""
        return State(0, 0, (0, 0))

    @property
    def is_free(self) -> bool:
        """Whether every text is allowed."""
        return self == Grammar()

    @property
    def is_possible(self) -> bool:
        """Whether there are numbers that length, pattern and check allow at once."""
        # Of every such length some numbers have the right check digits.
        least = max(self.min_length, LEAST_DIGITS[self.check])
        unchecked = self._replace(min_length=least, check=None)
        states = {self.start}
        while states:
            if any(map(unchecked.accepts, states)):
                return True
            states = {after for state in states for _, after in unchecked.after(state, 0)}
        return False

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The marks that it has."""
        found = {_mark(self.pattern, place) for place in range(len(self.pattern))}
        return tuple(mark for mark in Mark if mark in found)

    def after(self, state: State, label: int) -> Iterator[tuple[str, State]]:
        """What a digit adds to a text, and the state behind it."""
        if state.length >= self.max_length:
            return
        length, residue = state.length + 1, _residue(self.check, state.residue, label)
        if not self.pattern:
            yield str(label), State(0, length, residue)
            return
        for written, place in _ways(self.pattern, state.place, state.length > 0):
            if place < len(self.pattern) and self.pattern[place] in (DIGIT, OPTIONAL):
                yield f"{written}{label}", State(place + 1, length, residue)

    def after_mark(self, state: State, mark: Mark) -> Iterator[tuple[str, State]]:
        """What a mark adds to a text, and the state behind it."""
        for written, place in _ways(self.pattern, state.place, state.length > 0):
            if place == len(self.pattern) or _mark(self.pattern, place) is not mark:
                continue
            # A separator's ink comes behind a digit, unless the pattern begins with it.
            if state.length or not _has_digits(self.pattern[:place]):
                text = "" if mark is Mark.SIGN else self.pattern[place]
                yield written + text, state._replace(place=place + 1)

    def accepts(self, state: State) -> bool:
        """Whether a text may end in this state."""
        return (
            state.length >= max(self.min_length, LEAST_DIGITS[self.check])
            and _is_valid(self.check, state)
            and any(
                place == len(self.pattern)
                for _, place in _ways(self.pattern, state.place, state.length > 0)
            )
        )


class Continuations(NamedTuple):
    """How a text may go on from a state: what is written, and the state behind it.

    Attributes:
        digits: Of each digit.
        marks: Of each mark that the grammar has.
    """

    digits: list[tuple[tuple[str, State], ...]]
    marks: dict[Mark, tuple[tuple[str, State], ...]]


@lru_cache(maxsize=1024)
def continuations(grammar: Grammar, state: State) -> Continuations:
    """How a text may go on; 3 KB each are kept, for texts and requests have states in common."""
    return Continuations(
        [tuple(grammar.after(state, label)) for label in range(10)],
        {mark: tuple(grammar.after_mark(state, mark)) for mark in grammar.marks},
    )


@lru_cache(maxsize=4096)
def _ways(pattern: str, place: int, has_digits: bool) -> tuple[tuple[str, int], ...]:
    """Where the text may go on without ink: the separators written on the way, and the place."""
    ways = [("", place)]
    written = ""
    in_part = has_digits and not (place and _divides(pattern, place - 1))
    while place < len(pattern):
        character = pattern[place]
        if character == DIGIT:
            break
        if character == OPTIONAL:
            if in_part and DIGIT in _parts(pattern[place:])[0]:
                break
            # Trailing digits: what is missing is the rest of them.
            while place < len(pattern) and pattern[place] == OPTIONAL:
                place += 1
                if not in_part:
                    break
        else:
            is_divider = _divides(pattern, place)
            if is_divider and not in_part:  # a part without a digit
                break
            if has_digits and _mark(pattern, place) is not Mark.SIGN:
                written += character
            in_part &= not is_divider
            place += 1
        if place < len(pattern) or in_part or not has_digits:  # else the last part has no digit
            ways.append((written, place))
    return tuple(ways)


def _has_digits(part: str) -> bool:
    """Whether a part of a pattern has a digit, missing or not."""
    return DIGIT in part or OPTIONAL in part


def _divides(pattern: str, place: int) -> bool:
    """Whether the character at `place` stands between two numbers, and is no minus."""
    if pattern[place] not in DIVIDERS or not _has_digits(pattern[:place]):
        return False
    return _has_digits(re.split(f"[{DIVIDERS}]", pattern[place + 1 :], maxsplit=1)[0])


def _parts(pattern: str) -> list[str]:
    """The pattern cut behind its dividers."""
    cuts = [0, *(at + 1 for at in range(len(pattern)) if _divides(pattern, at)), len(pattern)]
    return [pattern[start:stop] for start, stop in pairwise(cuts)]


def _mark(pattern: str, place: int) -> Mark | None:
    """The ink of the character at `place`, if it is no digit and no gap."""
    character = pattern[place]
    return Mark.SIGN if character in CURRENCIES else SEPARATORS.get(character)


def _residue(check: Check | None, residue: tuple[int, int], label: int) -> tuple[int, int]:
    match check:
        case Check.LUHN:
            # Which digits are doubled is known at the end: both sums are kept, and change places.
            single, doubled = residue
            twice = 2 * label - 9 * (label > 4)
            return (doubled + label) % 10, (single + twice) % 10
        case Check.MOD97:
            return (10 * residue[0] + label) % 97, 0
        case None:
            return residue


def _is_valid(check: Check | None, state: State) -> bool:
    match check:
        case Check.LUHN:
            return state.residue[0] == 0
        case Check.MOD97:
            return state.residue[0] == 1
        case None:
            return True


def parse_pattern(pattern: str) -> str:
    """Return `pattern`, if it is one.

    Raises:
        BadParameter: It is too long, has other characters, or no digit.
    """
    if len(pattern) > MAX_PATTERN or not re.fullmatch(PATTERN, pattern):
        raise BadParameter(
            f"`pattern` has at most {MAX_PATTERN} characters: 9 for a digit, # (in a URL, %23) for "
            "one that may be missing, the separators , . ' : / - and space, and before them - for "
            "a minus and $ € £ ¥ for a currency sign."
        )
    return pattern
