from __future__ import annotations

import base64
import email
import re
from contextlib import suppress
from email.policy import HTTP
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.formats.image import is_text
from app.api.formats.multipart import (
    MAX_BOUNDARY_BYTES,
    MAX_PART_HEADER_BYTES,
    MAX_PARTS,
    is_urlencoded,
    parse,
    parse_urlencoded,
    raise_unless_file,
)
from app.errors import (
    BadPixels,
    EmptyBatch,
    MalformedBody,
    PayloadError,
    TooManyImages,
    UnknownField,
)
from tests.conftest import png, spoken

FILE = png(spoken(7))


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form's body: of each part the disposition's parameters and the content."""
    written = [
        b"--xx\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (name.encode(), content)
        for name, content in parts
    ]
    return b"".join(written) + b"--xx--\r\n"


def files_in(body: bytes, boundary: bytes = b"xx") -> list[Any]:
    return parse(body, {b"boundary": boundary}, 4)


@pytest.mark.parametrize(
    "disposition",
    [
        'name="file"; filename="7.png"',
        "name=file; filename=7.png",
        'name="file[]"; filename="7.png"',
        'name="file[0]"; filename="7.png"',
        'name="file[9999]"; filename="7.png"',
        'filename="7.png"; name="file"',
        'filename="a;name=b.png"; name="file"',
        r'filename="a\"; name=b"; name="file"',
        'name="file"; filename="../../etc/passwd"',
        'name="file"; filename="\0"',
        "name=file; filename*=UTF-8''%e2%82%ac.png",
        "name=file; filename=",
        "NAME = file",
        "name=file",
    ],
)
def test_a_part_named_file_is_an_image(disposition: str) -> None:
    assert files_in(form((disposition, FILE))) == [FILE]


def test_files_come_in_their_order() -> None:
    parts = [(f'name="file"; filename="{name}"', name.encode()) for name in "dacb"]
    assert files_in(form(*parts)) == [b"d", b"a", b"c", b"b"]


def test_other_fields_are_passed_over_where_they_are_no_files() -> None:
    parts = [("name=note", b"hello"), ("name=file; filename=a", FILE), ("x=y", b"")]
    assert files_in(form(*parts)) == [FILE]


@pytest.mark.parametrize("name", ["length", "include", "normalize", "pattern", "check"])
def test_an_option_in_a_field_is_not_passed_over(name: str) -> None:
    parts = [("name=file; filename=a", FILE), (f"name={name}", b"4")]
    with pytest.raises(UnknownField, match=f"`{name}` is no field of the form"):
        files_in(form(*parts))
    with pytest.raises(UnknownField, match=f"`{name}` is no field of the form"):
        parse_urlencoded(b"image=aGVsbG8&%s=4" % name.encode(), {}, 4)


def test_a_file_may_be_text_that_stands_for_an_image() -> None:
    text = base64.b64encode(FILE)
    parts = [("name=file", text), ("name=file; filename=7.txt", b"data:image/png;base64," + text)]
    assert files_in(form(*parts)) == [FILE, FILE]


def test_text_is_refused_by_the_index_of_its_image() -> None:
    text = b"data:image/png;base64,*"
    with pytest.raises(BadPixels, match="Image 1 is text"):
        files_in(form(("name=file; filename=a", FILE), ("name=file", text)))


def test_preamble_epilogue_padding_and_other_headers_are_passed_over() -> None:
    body = (
        b"preamble\r\n--xx \t\r\nContent-Type: text/plain\r\n"
        b"CONTENT-DISPOSITION: form-data; name=file\r\nX: y\r\n\r\n%s\r\n--xx--\r\nepilogue" % FILE
    )
    assert files_in(body) == [FILE]


def test_a_form_may_end_without_a_line_break() -> None:
    assert files_in(form(("name=file; filename=a", FILE)).removesuffix(b"\r\n")) == [FILE]


@pytest.mark.parametrize(
    "content",
    [b"x--xx", b"\r\n--x", b"\n--xx\r\n", b"\r\n\r\n", b"x\r\n", b"\r\n", b"\0"],
    ids=repr,
)
def test_a_file_may_hold_what_looks_like_a_form(content: bytes) -> None:
    parts = [("name=file; filename=a", content), ("name=file; filename=b", FILE)]
    assert files_in(form(*parts)) == [content, FILE]


@pytest.mark.parametrize(
    ("body", "boundary", "detail"),
    [
        pytest.param(form(), b"", "has no boundary", id="no boundary"),
        pytest.param(form(), b"x" * (MAX_BOUNDARY_BYTES + 1), "at most 256 bytes", id="long"),
        pytest.param(form(), b"yy", "does not begin with its boundary", id="another boundary"),
        pytest.param(b"", b"xx", "does not begin with its boundary", id="no bytes"),
        pytest.param(
            b"x" * MAX_PART_HEADER_BYTES + b"\r\n" + form(),
            b"xx",
            "does not begin with its boundary",
            id="long preamble",
        ),
        pytest.param(
            form(("name=file", FILE))[:-8], b"xx", "ends before its last boundary", id="cut off"
        ),
        pytest.param(b"--xx\r\n", b"xx", "ends before its last boundary", id="first alone"),
        pytest.param(b"--xx\r\n\r\n--xx--", b"xx", "no headers that end", id="no blank line"),
        pytest.param(
            b"--xx\r\nA: %s\r\n\r\nx\r\n--xx--" % (b"b" * MAX_PART_HEADER_BYTES),
            b"xx",
            "no headers that end, or too many",
            id="long header",
        ),
        pytest.param(
            b"--xx\r\n" + b"a: b\r\n" * 10_000 + b"\r\nx\r\n--xx--",
            b"xx",
            "no headers that end, or too many",
            id="10,000 headers",
        ),
        pytest.param(
            b"--xxy\r\nA: b\r\n\r\nx\r\n--xx--", b"xx", "not the multipart that", id="longer line"
        ),
        pytest.param(
            b"--xx\r\nnothing\r\n\r\nx\r\n--xx--", b"xx", "line that is no header", id="no header"
        ),
        pytest.param(
            form(*[("name=x", b"")] * (MAX_PARTS + 1)), b"xx", "at most 1,000 parts", id="parts"
        ),
    ],
)
def test_what_is_no_form_is_malformed(body: bytes, boundary: bytes, detail: str) -> None:
    with pytest.raises(MalformedBody, match=detail):
        files_in(body, boundary)


def test_as_many_parts_as_may_be() -> None:
    assert files_in(form(*[("name=x", b"")] * MAX_PARTS)) == []


def test_a_boundary_may_be_long() -> None:
    boundary = b"x" * MAX_BOUNDARY_BYTES
    body = form(("name=file; filename=a", FILE)).replace(b"--xx", b"--" + boundary)
    assert files_in(body, boundary) == [FILE]


@pytest.mark.parametrize(
    "name", ["image", "files", "photo", "upload[]", "images[3]", "Picture1", "FILE"]
)
def test_a_file_in_a_familiar_field_is_told_its_name(name: str) -> None:
    with pytest.raises(UnknownField, match=re.escape(f"in the field `{name}`. Name the field")):
        files_in(form((f'name="{name}"; filename="7.png"', FILE)))


@pytest.mark.parametrize("name", ["secret", "file\0", "file[x]", "file[99999]", "", "fil\xe9"])
def test_the_name_of_another_field_is_not_repeated(name: str) -> None:
    with pytest.raises(UnknownField) as raised:
        files_in(form((f'name="{name}"; filename="7.png"', FILE)))
    assert str(raised.value) == "A file came in a field of another name. Name the field `file`."


def test_a_file_without_a_field_is_refused() -> None:
    with pytest.raises(UnknownField):
        files_in(form(('filename="7.png"', FILE)))


def test_an_input_without_a_chosen_file_is_told_so() -> None:
    with pytest.raises(EmptyBatch, match="without a file chosen"):
        files_in(form(('name="file"; filename=""', b"")))


def test_an_input_without_a_chosen_file_beside_another_is_passed_over() -> None:
    parts = [('name="file"; filename=""', b""), ("name=file; filename=a", FILE)]
    assert files_in(form(*parts)) == [FILE]


def test_an_empty_file_with_a_name_is_a_file() -> None:
    assert files_in(form(("name=file; filename=a", b""))) == [b""]


def test_a_form_without_parts_has_no_images() -> None:
    assert files_in(form()) == []


def test_more_files_than_may_be_are_refused() -> None:
    part = ("name=file; filename=a", FILE)
    assert len(files_in(form(*[part] * 4))) == 4
    with pytest.raises(TooManyImages, match="at most 4 images"):
        files_in(form(*[part] * 5))


@pytest.mark.parametrize("text", [b"7.png", b"@7.png", b"C:/my files/7.png", b"x" * 255])
def test_a_name_in_place_of_a_file_is_told_how_to_send_the_file(text: bytes) -> None:
    with pytest.raises(EmptyBatch, match="curl") as raised:
        raise_unless_file(text.replace(b"x" * 255, b"x " * 127))
    assert text.decode() not in str(raised.value)
    with pytest.raises(EmptyBatch, match="holds text, not a file"):
        files_in(form(("name=file", b"my 7.png")))


@pytest.mark.parametrize(
    "data", [FILE, b"x " * 128, b"\0", "€".encode()], ids=["png", "long", "nul", "€"]
)
def test_what_may_be_a_file_is_not_taken_for_a_name(data: bytes) -> None:
    raise_unless_file(data)


names = st.sampled_from(["file", "file[]", "file[12]", "note"])
pieces = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"--", b"x", b"--x", b"\r\n--x", b"\0", b"\xff", b":"]
)
contents = st.lists(pieces, min_size=1, max_size=8).map(b"".join) | st.binary(
    min_size=1, max_size=40
)


def is_plain(data: bytes) -> bool:
    """Whether `data` has no boundary, and is no text that would be decoded."""
    return not (re.search(rb"(^|[\r\n])--xx", data) or is_text(data))


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A form's body as clients write them, with the boundary `xx`."""
    padding = draw(st.sampled_from([b"", b" ", b"\t "]))
    body = draw(st.sampled_from([b"", b"\r\n", b"preamble\r\n"]))
    for content in draw(st.lists(contents.filter(is_plain))):
        name = draw(names)
        file_name = "" if name == "note" else '; filename="a"'
        lines = [
            f'Content-Disposition: form-data; name="{name}"{file_name}',
            *draw(st.lists(st.sampled_from(["Content-Type: image/png", "X: y"]), unique=True)),
        ]
        head = "\r\n".join(draw(st.permutations(lines))).encode()
        body += b"--xx%s\r\n%s\r\n\r\n%s\r\n" % (padding, head, content)
    return body + b"--xx--" + draw(st.sampled_from([b"", b"\r\n", b"\r\nepilogue"]))


def by_the_standard_library(body: bytes) -> list[Any]:
    head = b"Content-Type: multipart/form-data; boundary=xx\r\n\r\n"
    message = email.message_from_bytes(head + body, policy=HTTP)
    return [
        part.get_payload(decode=True)
        for part in message.iter_parts()
        if part.get_filename() is not None
    ]


@settings(max_examples=50)
@given(forms())
def test_a_form_has_the_files_that_the_standard_library_finds(body: bytes) -> None:
    assert parse(body, {b"boundary": b"xx"}, 1000) == by_the_standard_library(body)


@settings(max_examples=50)
@given(forms(), st.data())
def test_a_damaged_form_has_files_or_a_problem(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damaged = (
        body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    )
    with suppress(PayloadError):
        assert all(isinstance(file, bytes) for file in files_in(damaged))


# Urlencoded forms


@pytest.mark.parametrize(
    ("start", "is_form"),
    [
        (b"image=iVBO", True),
        (b"images%5B%5D=iVBO", True),
        (b"images[0]=iVBO", True),
        (b"FILE=iVBO", True),
        (b"imagery=iVBO", False),
        (b"image", False),
        (b"", False),
        (b"\x89PNG", False),
    ],
)
def test_a_urlencoded_form_is_told_by_its_first_field(start: bytes, is_form: bool) -> None:
    assert is_urlencoded(start) is is_form


def test_a_urlencoded_form_has_images_as_text() -> None:
    text = base64.b64encode(FILE).decode()
    fields = [("image", text), ("note", "x"), ("images[]", "data:image/png;base64," + text)]
    assert parse_urlencoded(urlencode(fields).encode(), {}, 4) == [FILE, FILE]


def test_too_many_images_in_a_urlencoded_form_are_refused() -> None:
    with pytest.raises(TooManyImages, match="at most 4 images"):
        parse_urlencoded(b"&".join([b"image=AAAA"] * 5), {}, 4)


def test_text_of_a_urlencoded_form_is_refused_by_its_index() -> None:
    with pytest.raises(BadPixels, match="Image 1 is text"):
        parse_urlencoded(b"image=AAAA&image=*", {}, 4)
