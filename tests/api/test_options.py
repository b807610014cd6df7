from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from app.api.options import (
    Options,
    Query,
    ReadQuery,
    parse_options,
    parse_query,
    parse_read_query,
)
from app.errors import BadParameter, UnsupportedEncoding
from app.inference.grammar import Check, Grammar


def options_of(query: bytes = b"", **headers: str) -> Options[Query]:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope: Scope = {"type": "http", "query_string": query, "headers": raw}
    return parse_options(scope, parse_query, deadline_seconds=30)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", Query(normalize=True, include_seen=False)),
        (b"normalize=true", Query(normalize=True)),
        (b"normalize=TRUE", Query(normalize=True)),
        (b"normalize=1", Query(normalize=True)),
        (b"normalize=false", Query(normalize=False)),
        (b"normalize=False", Query(normalize=False)),
        (b"normalize=0", Query(normalize=False)),
        (b"normalize=1&normalize=0", Query(normalize=False)),
        (b"include=seen", Query(include_seen=True)),
        (b"include=Seen&include=seen", Query(include_seen=True)),
        (b"include=%73een&normalize=fals%65", Query(normalize=False, include_seen=True)),
        (b"&&normalize=0&", Query(normalize=False)),
    ],
)
def test_a_query_is_parsed(query: bytes, expected: Query) -> None:
    assert parse_query(query) == expected


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        (b"normalize=perhaps", "`normalize` is true or false."),
        (b"normalize=", "`normalize` is true or false."),
        (b"normalize", "`normalize` is true or false."),
        (b"normalize=2", "`normalize` is true or false."),
        (b"normalize=false&normalize=x", "`normalize` is true or false."),
        (b"include=everything", "`include` is seen."),
        (b"include=seen,seen", "`include` is seen."),
        (b"include=seen&include=x", "`include` is seen."),
        (b"include=", "`include` is seen."),
        (b"secret=1", "A query parameter is unknown; there are normalize and include."),
        (b"Normalize=false", "A query parameter is unknown; there are normalize and include."),
        (b"secret", "A query parameter is unknown; there are normalize and include."),
        (b"=", "A query parameter is unknown; there are normalize and include."),
        (b"\xff=\xff", "A query parameter is unknown; there are normalize and include."),
    ],
)
def test_other_parameters_are_named_if_known_and_never_repeated(query: bytes, detail: str) -> None:
    with pytest.raises(BadParameter) as raised:
        parse_query(query)
    assert raised.value.detail == detail


def test_a_request_needs_no_options() -> None:
    assert options_of() == Options(Query(), b"", None, 30)


def test_headers_are_read() -> None:
    options = options_of(b"include=seen", content_type="image/png", content_length="17", other="x")
    assert options == Options(Query(include_seen=True), b"image/png", 17, 30)


@pytest.mark.parametrize(("text", "seconds"), [("2", 2), ("0.5", 0.5), ("1e-3", 0.001), ("99", 30)])
def test_a_deadline_may_be_earlier_and_not_later(text: str, seconds: float) -> None:
    assert options_of(x_deadline_seconds=text).deadline_seconds == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "-0", "-1", "soon", "nan", "inf", "-inf", "1e999", "1,5", "1_0"]
)
def test_another_deadline_is_refused(text: str) -> None:
    with pytest.raises(BadParameter) as raised:
        options_of(x_deadline_seconds=text)
    assert raised.value.detail == "X-Deadline-Seconds is a number above 0."


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_body_as_it_is_is_taken(encoding: str) -> None:
    assert options_of(content_encoding=encoding) == options_of()


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "unheard-of"])
def test_a_compressed_body_is_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding):
        options_of(content_encoding=encoding)


@pytest.mark.parametrize("encoding", ["gzip", "GZip"])
def test_a_way_to_compress_that_a_protocol_takes(encoding: str) -> None:
    scope: Scope = {"query_string": b"", "headers": [(b"content-encoding", encoding.encode())]}
    options = parse_options(scope, parse_query, deadline_seconds=30, encodings={b"gzip"})
    assert options.content_encoding == b"gzip"
    with pytest.raises(UnsupportedEncoding, match="compressed by deflate"):
        parse_options(scope, parse_query, deadline_seconds=30, encodings={b"deflate"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", ReadQuery()),
        (b"length=4", ReadQuery(Grammar(4, 4))),
        (b"length=" + b"0" * 5000 + b"32", ReadQuery(Grammar(32, 32))),
        (b"min_length=2&max_length=6", ReadQuery(Grammar(2, 6))),
        (b"pattern=%23,%23%239.99", ReadQuery(Grammar(pattern="#,##9.99"))),
        (b"pattern=%E2%82%AC9", ReadQuery(Grammar(pattern="€9"))),
        (b"check=luhn&include=seen", ReadQuery(Grammar(check=Check.LUHN), include_seen=True)),
    ],
)
def test_a_query_of_reading_is_parsed(query: bytes, expected: ReadQuery) -> None:
    assert parse_read_query(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        *(b"length=0", b"length=33", b"length=x", b"length=", b"length=-1", b"length=4.0"),
        *(b"min_length=5&max_length=4", b"max_length=99999999999999999999"),
        *(b"length=00019999", b"length=1" + b"0" * 5000, b"length=" + b"0" * 5000),
        *(b"pattern=", b"pattern=abc", b"pattern=9$", b"pattern=-", b"pattern=" + b"9" * 65),
        *(b"pattern=999&length=4", b"check=mod97&max_length=2", b"pattern=" + b"9" * 33),
        *(b"check=", b"check=crc", b"include=all", b"normalize=true", b"secret=1"),
    ],
)
def test_a_query_of_reading_that_is_not_accepted(query: bytes) -> None:
    with pytest.raises(BadParameter, match=r"`|unknown"):
        parse_read_query(query)


@given(name=st.sampled_from(["length", "min_length", "max_length"]), value=st.text("0123456789"))
def test_lengths_are_numbers_from_1_to_32(name: str, value: str) -> None:
    try:
        grammar = parse_read_query(f"{name}={value}".encode()).grammar
    except BadParameter:
        assert not value or not 1 <= int(value) <= 32
    else:
        assert int(value) in (grammar.min_length, grammar.max_length)
