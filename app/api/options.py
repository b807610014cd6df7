"""What a request asks for beside its images: query parameters and headers."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl

from starlette.types import Scope

from ..errors import BadParameter, UnsupportedEncoding

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Query:
    """The query parameters of `POST /predict`."""

    normalize: bool = True
    """False takes 28×28 input as it is."""
    include_seen: bool = False
    """Whether the answer says what the model saw."""


@dataclass(frozen=True, slots=True)
class Options:
    """Query parameters and the headers that a prediction depends on."""

    query: Query
    content_type: bytes
    content_length: int | None
    deadline_seconds: float
    content_encoding: bytes = b""
    """How the body is compressed, in lower case; empty where it is not."""


def parse_options(
    scope: Scope, *, deadline_seconds: float, encodings: Collection[bytes] = ()
) -> Options:
    """The options of a request.

    Args:
        scope: The request's.
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
                raise UnsupportedEncoding
    query = parse_query(scope["query_string"])
    return Options(query, content_type, content_length, deadline_seconds, content_encoding)


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
                raise BadParameter("A query parameter is unknown; there are normalize and include.")
    return Query(normalize, include_seen)


def _seconds(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadParameter("X-Deadline-Seconds is a number above 0.")
    return seconds
