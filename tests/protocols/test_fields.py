from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BodyTooLarge, MalformedBody, PayloadError
from app.protocols.fields import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, cut

LIMITS = {"max_fields": 8, "max_rest_bytes": 100}


def varint(value: int) -> bytes:
    octets = []
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def encoded(number: int, wire_type: int, content: bytes) -> bytes:
    length = varint(len(content)) if wire_type == LENGTH_DELIMITED else b""
    return varint(number << 3 | wire_type) + length + content


def fields_of(wire_type: int, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Any]:
    return st.tuples(
        st.integers(1, 2**29 - 1) | st.sampled_from([5, 7]), st.just(wire_type), contents
    )


FIELDS = (
    fields_of(VARINT, st.integers(0, 2**64 - 1).map(varint))
    | fields_of(FIXED64, st.binary(min_size=8, max_size=8))
    | fields_of(FIXED32, st.binary(min_size=4, max_size=4))
    | fields_of(LENGTH_DELIMITED, st.binary(max_size=300))
)


@given(st.lists(FIELDS, max_size=8))
def test_what_is_asked_for_is_cut_out_and_the_rest_is_as_it_was(fields: list[Any]) -> None:
    message = b"".join(encoded(*field) for field in fields)
    rest, found = cut(memoryview(message), 5, 7, max_fields=8, max_rest_bytes=len(message))
    asked = [field for field in fields if field[0] in (5, 7) and field[1] == LENGTH_DELIMITED]
    assert rest == b"".join(encoded(*field) for field in fields if field not in asked)
    assert {number: [bytes(one) for one in contents] for number, contents in found.items()} == {
        number: [content for other, _, content in asked if other == number] for number in (5, 7)
    }


@given(st.binary(max_size=60))
def test_any_bytes_are_cut_or_refused(message: bytes) -> None:
    with suppress(PayloadError):
        rest, found = cut(memoryview(message), 5, **LIMITS)
        assert len(rest) <= len(message) - sum(map(len, found[5]))


def test_limits() -> None:
    field = encoded(5, LENGTH_DELIMITED, bytes(10_000))
    assert cut(memoryview(field * 8), 5, **LIMITS).rest == b""
    with pytest.raises(BodyTooLarge, match="at most 8 fields"):
        cut(memoryview(field * 9), 5, **LIMITS)
    with pytest.raises(BodyTooLarge, match="at most 100 bytes"):
        cut(memoryview(field), 7, **LIMITS)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x2a", id="no length"),
        pytest.param(b"\x2a\x05abcd", id="a length beyond the end"),
        pytest.param(b"\x2d\x00\x00\x00", id="a number cut off"),
        pytest.param(b"\xff" * 11, id="a number without end"),
        pytest.param(b"\x2b", id="a group"),
        pytest.param(b"\x2f", id="a type that there is not"),
    ],
)
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(MalformedBody):
        cut(memoryview(message), 5, **LIMITS)
