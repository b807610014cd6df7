"""What a request asks for beside its images: query parameters and headers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar
from urllib.parse import parse_qsl

from starlette.types import Scope

from ..errors import BadParameter, UnsupportedEncoding
from ..inference.grammar import MAX_DIGITS, Check, Grammar, parse_pattern

AnyQuery = TypeVar("AnyQuery")

PREDICT_OPTIONS = "normalize", "include"
READ_OPTIONS = "length", "min_length", "max_length", "pattern", "check", "include"
OPTION_NAMES = frozenset((*PREDICT_OPTIONS, *READ_OPTIONS))
"""Query parameters of `POST /predict` and `POST /read`."""
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Query:
    """The query parameters of `POST /predict`."""

    normalize: bool = True
    """False takes 28×28 input as it is."""
    include_seen: bool = False
    """Whether the answer says what the model saw."""


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """The query parameters of `POST /read`."""

    grammar: Grammar = field(default_factory=Grammar)
    include_seen: bool = False
    """Whether the answer says what the model saw."""


@dataclass(frozen=True, slots=True)
class Options(Generic[AnyQuery]):
    """Query parameters and the headers that an answer depends on."""

    query: AnyQuery
    content_type: bytes
    content_length: int | None
    deadline_seconds: float
    content_encoding: bytes = b""
    """How the body is compressed, in lower case; empty where it is not."""


def parse_options(
    scope: Scope,
    parse_query: Callable[[bytes], AnyQuery],
    *,
    deadline_seconds: float,
    encodings: Collection[bytes] = (),
) -> Options[AnyQuery]:
    """The options of a request.

    Args:
        scope: The request's.
        parse_query: Parses the route's query string.
        deadline_seconds: The longest that it may ask for.
        encodings: Ways to compress a body that are taken.

    Raises:
        BadParameter: a parameter or X-Deadline-Seconds is not acceptable.
        UnsupportedEncoding: the body is compressed in another way.
    """
    content_type, content_length, content_encoding = b"", None, b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            content_length = int(value)
        elif name == b"x-deadline-seconds":
            deadline_seconds = min(deadline_seconds, _seconds(value))
        elif name == b"content-encoding" and value.lower() not in (b"", b"identity"):
            content_encoding = value.lower()
            if content_encoding not in encodings:
                raise _unsupported(encodings)
    query = parse_query(scope["query_string"])
    return Options(query, content_type, content_length, deadline_seconds, content_encoding)


def _unsupported(encodings: Collection[bytes]) -> UnsupportedEncoding:
    if not encodings:
        return UnsupportedEncoding()
    names = sorted(name.decode() for name in encodings)
    error = UnsupportedEncoding(f"Send the body as it is, or compressed by {' or '.join(names)}.")
    error.accepted = ", ".join(names)
    return error


def _unknown(options: Sequence[str]) -> BadParameter:
    *others, last = options
    names = f"{', '.join(others)} and {last}"
    return BadParameter(f"A query parameter is unknown; there are {names}.")


@lru_cache(maxsize=64)
def parse_query(query: bytes) -> Query:
    """The parameters in a query string.

    Raises:
        BadParameter: a parameter is unknown, or has a value that is not accepted.
    """
    normalize, include_seen = True, False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        match name, value.lower():
            case "normalize", text if text in BOOLEANS:
                normalize = BOOLEANS[text]
            case "include", "seen":
                include_seen = True
            case "normalize", _:
                raise BadParameter("`normalize` is true or false.")
            case "include", _:
                raise BadParameter("`include` is seen.")
            case _:
                raise _unknown(PREDICT_OPTIONS)
    return Query(normalize, include_seen)


def parse_no_query(query: bytes) -> None:
    """Nothing: the query string of a route without parameters.

    Raises:
        BadParameter: there is one.
    """
    if query:
        raise BadParameter("There are no query parameters here.")


@lru_cache(maxsize=64)
def parse_read_query(query: bytes) -> ReadQuery:
    """The parameters in a query string of `POST /read`.

    Raises:
        BadParameter: a parameter is unknown, or has a value that is not accepted.
    """
    shortest, longest, pattern, check, include_seen = 1, MAX_DIGITS, "", None, False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        match name:
            case "length":
                shortest = longest = _digits(name, value)
            case "min_length":
                shortest = _digits(name, value)
            case "max_length":
                longest = _digits(name, value)
            case "pattern":
                pattern = parse_pattern(value)
            case "check" if value in {check.value for check in Check}:
                check = Check(value)
            case "check":
                raise BadParameter("`check` is luhn or mod97.")
            case "include" if value.lower() == "seen":
                include_seen = True
            case "include":
                raise BadParameter("`include` is seen.")
            case _:
                raise _unknown(READ_OPTIONS)
    if shortest > longest:
        raise BadParameter("`min_length` is at most `max_length`.")
    grammar = Grammar(shortest, longest, pattern, check)
    if not grammar.is_possible:
        raise BadParameter("No number has these lengths, this `pattern` and `check` at once.")
    return ReadQuery(grammar, include_seen)


def _digits(name: str, value: str) -> int:
    text = value.lstrip("0")
    if not (text.isascii() and text.isdigit() and len(text) < 3 and int(text) <= MAX_DIGITS):
        raise BadParameter(f"`{name}` is a number of digits from 1 to {MAX_DIGITS}.")
    return int(text)


def _seconds(value: bytes) -> float:
    try:
        seconds = math.nan if b"_" in value else float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadParameter("X-Deadline-Seconds is a number above 0.")
    return seconds
