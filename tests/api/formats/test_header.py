from __future__ import annotations

import pytest

from app.api.formats.header import parse_header


@pytest.mark.parametrize(
    ("value", "main", "parameters"),
    [
        (b"", b"", {}),
        (b"image/png", b"image/png", {}),
        (b" Image/PNG ; q=1", b"image/png", {b"q": b"1"}),
        (b"application/json;charset=UTF-8", b"application/json", {b"charset": b"UTF-8"}),
        (b'form-data; name="file"; filename="a.png"', b"form-data", {b"filename": b"a.png"}),
        (b'form-data; filename="a;name=b"; name=file', b"form-data", {b"name": b"file"}),
        (rb'form-data; filename="a\"; name=b"', b"form-data", {b"filename": b'a"; name=b'}),
        (rb'form-data; filename="a\\b"', b"form-data", {b"filename": rb"a\b"}),
        (rb'form-data; filename="C:\fake\7.png"', b"form-data", {b"filename": rb"C:\fake\7.png"}),
        (b"form-data; NAME = file", b"form-data", {b"name": b"file"}),
        (b"form-data; name=", b"form-data", {b"name": b""}),
        (b"form-data; name", b"form-data", {}),
    ],
    ids=repr,
)
def test_a_header_is_a_value_and_parameters(
    value: bytes, main: bytes, parameters: dict[bytes, bytes]
) -> None:
    found, pairs = parse_header(value)
    assert found == main
    assert pairs.items() >= parameters.items()
    assert pairs.get(b"name") == parameters.get(b"name", pairs.get(b"name"))
