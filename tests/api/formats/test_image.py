"""Encoded images as a body, in base64 and as data URIs."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.formats.image import CALL_BYTES, decode_text, is_text, parse
from app.errors import BadPixels
from tests.conftest import png, spoken

FILE = png(spoken(7))
sizes = st.integers(1, 100) | st.sampled_from([CALL_BYTES * 3 // 4 + more for more in (-1, 0, 1)])


@settings(max_examples=40, deadline=None)
@given(sizes, st.randoms(use_true_random=False))
def test_base64_is_what_the_standard_library_made(size: int, random: object) -> None:
    data = bytes(number % 251 for number in range(size))
    text = base64.b64encode(data)
    assert decode_text(text) == data
    assert decode_text(text.rstrip(b"=")) == data
    assert decode_text(base64.urlsafe_b64encode(data)) == data
    assert decode_text(base64.encodebytes(data)) == data
    assert decode_text(b"data:image/png;base64," + text) == data
    assert decode_text(b"DATA:;base64," + quote(text).encode()) == data


def test_a_data_uri_without_base64() -> None:
    assert decode_text(b"data:image/svg+xml,%3Csvg/%3E") == b"<svg/>"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"====",
        b"A",
        b"not base64!",
        b"AAAA=AAA",
        b"A" * (CALL_BYTES - 2) + b"==" + b"A" * 4,
        "ä".encode(),
    ],
    ids=["nothing", "padding", "a letter", "words", "inner padding", "padding of a part", "umlaut"],
)
def test_what_is_no_base64(text: bytes) -> None:
    with pytest.raises(BadPixels, match="Image 3 is text"):
        decode_text(text, 3)


def test_files_are_not_taken_for_text() -> None:
    assert not is_text(FILE)
    assert is_text(base64.b64encode(FILE))
    assert is_text(b"data:image/png;base64,")
    assert not is_text(b"GIF89a")


def test_a_body_is_one_image_or_none() -> None:
    assert parse(FILE, {}, 1) == [FILE]
    assert parse(base64.b64encode(FILE), {}, 1) == [FILE]
    assert parse(b"", {}, 1) == []
