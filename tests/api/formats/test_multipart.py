"""Forms: what is read of them equals what python-multipart reads."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart import parse_form

from app.api.formats.header import parse_header
from app.api.formats.multipart import MAX_PARTS, parse
from app.errors import BadPixels, EmptyBatch, MalformedBody, TooManyImages, UnknownField
from app.serving.predictor import RawImage
from tests.conftest import png, spoken

FORM = "multipart/form-data; boundary=xx"
FILE = png(spoken(7))
CONTENTS = (
    st.binary(max_size=60)
    .filter(lambda data: b"\r\n--xx" not in data)
    .map(lambda data: b"\x89" + data)
)
"""Any bytes behind one that is no text's: text may be base64."""


def files_of(body: bytes, content_type: str = FORM) -> list[RawImage]:
    return parse(body, parse_header(content_type.encode("latin-1"))[1], 4)


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart body: a disposition's parameters and the data, for each part."""
    return (
        b"".join(
            b"--xx\r\ncontent-disposition: form-data; %s\r\n\r\n%s\r\n" % (name.encode(), data)
            for name, data in parts
        )
        + b"--xx--\r\n"
    )


def by_python_multipart(body: bytes) -> list[bytes]:
    """The files named `file`, as python-multipart reads them."""
    found: list[bytes] = []

    def on_file(file: object) -> None:
        if file.field_name == b"file":  # type: ignore[attr-defined]
            file.file_object.seek(0)  # type: ignore[attr-defined]
            found.append(file.file_object.read())  # type: ignore[attr-defined]

    headers = {"Content-Type": FORM.encode()}
    parse_form(headers, io.BytesIO(body), None, on_file)
    return found


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(['name="file"; filename="a.png"', "name=file; filename=b", 'name="x"']),
            CONTENTS,
        ),
        max_size=4,
    )
)
def test_files_are_those_that_python_multipart_reads(parts: list[tuple[str, bytes]]) -> None:
    body = form(*parts)
    assert files_of(body) == by_python_multipart(body)


@given(st.lists(CONTENTS, max_size=4))
def test_multipart_gives_back_every_file_in_order(files: list[bytes]) -> None:
    body = form(("name=note", b"hello"), *(("name=file; filename=a.png", data) for data in files))
    if files:
        assert files_of(body) == files


@pytest.mark.parametrize(
    "disposition",
    [
        "name=file",
        'name="file"; filename="../../etc/passwd"',
        'filename="a;name=b.png"; name="file"',
        "name=file; filename*=UTF-8''%e2%82%ac.png",
        r'filename="a\"; name=b"; name="file"',
        "form-data;filename=;NAME = file",
        'name="file"; filename="\0"',
    ],
    ids=["plain", "path", "semicolon", "extended", "escapes", "spaces", "nul"],
)
def test_multipart_names_do_not_matter(disposition: str) -> None:
    assert files_of(form((disposition, b"\x89data"))) == [b"\x89data"]


def test_multipart_with_other_headers() -> None:
    body = (
        b"preamble\r\n--xx \t\r\nContent-Type: text/plain\r\n"
        b"CONTENT-DISPOSITION: form-data; name=file\r\nX: y\r\n\r\n\x89data\r\n--xx--\r\nepilogue"
    )
    assert files_of(body) == [b"\x89data"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(("name=file", b"\x89data")), "multipart/form-data"),
        (form(("name=file", b"\x89data")), f"multipart/form-data; boundary={'x' * 257}"),
        (form(("name=file", b"\x89data")), "multipart/form-data; boundary=yy"),
        (form(("name=file", b"\x89data"))[:-8], FORM),
        (b"", FORM),
        (b"x" * 5000 + b"\r\n" + form(("name=file", b"\x89data")), FORM),
        (b"--xx and more" + form(("name=file", b"\x89data"))[4:], FORM),
        (b"--xx\r\nno header\r\n\r\ndata\r\n--xx--\r\n", FORM),
        (b"--xx\r\n" + b"a: b\r\n" * 10_000 + b"\r\ndata\r\n--xx--\r\n", FORM),
        (b"--xx\r\na: " + b"b" * 5000 + b"\r\n\r\ndata\r\n--xx--\r\n", FORM),
        (form(*[("name=x", b"")] * (MAX_PARTS + 1)), FORM),
    ],
    ids=[
        "no boundary",
        "long boundary",
        "other boundary",
        "truncated",
        "empty",
        "long preamble",
        "longer boundary",
        "no header",
        "10,000 headers",
        "long header",
        "too many parts",
    ],
)
def test_malformed_multipart(body: bytes, kind: str) -> None:
    with pytest.raises(MalformedBody):
        files_of(body, kind)


def test_multipart_with_too_many_files() -> None:
    assert len(files_of(form(*[("name=file", b"\x89data")] * 4))) == 4
    with pytest.raises(TooManyImages):
        files_of(form(*[("name=file", b"\x89data")] * 5))


@pytest.mark.parametrize("name", ["file", "file[]", "file[0]", "file[12]"])
def test_names_of_the_field(name: str) -> None:
    assert files_of(form((f'name="{name}"; filename="a.png"', FILE))) == [FILE]


@pytest.mark.parametrize(
    ("name", "told"), [("image", "`image`"), ("upload[]", "`upload[]`"), ("my secret", "another")]
)
def test_a_file_in_another_field_is_named_if_it_is_no_secret(name: str, told: str) -> None:
    with pytest.raises(UnknownField) as raised:
        files_of(form((f'name="{name}"; filename="a.png"', FILE)))
    assert told in raised.value.detail
    assert "secret" not in raised.value.detail


def test_a_form_without_a_chosen_file_says_so() -> None:
    with pytest.raises(EmptyBatch, match="without a file chosen"):
        files_of(form(('name="file"; filename=""', b"")))


def test_a_name_in_place_of_a_file_says_so() -> None:
    with pytest.raises(EmptyBatch, match="-F file=@name"):
        files_of(form(('name="file"', b"seven.png")))


@settings(max_examples=60)
@given(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3))
def test_a_damaged_form_is_files_or_our_error(at: int, cut: int, more: bytes) -> None:
    body = form(('name="file"; filename="a.png"', FILE), ('name="x"', b"1"))
    damaged = body[:at] + more + body[at + cut :]
    with suppress(MalformedBody, EmptyBatch, UnknownField, BadPixels):
        assert all(isinstance(file, bytes) for file in files_of(damaged))
