from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.types import Message

from app.api.payload import (
    JSON_AT_ONCE_BYTES,
    MAX_JSON_LISTS,
    MAX_PARTS,
    Intake,
    RawImage,
    _regular,
    parse,
    read,
)
from app.errors import (
    BadPixels,
    BodyTooLarge,
    ClientGone,
    DigitsError,
    EmptyBatch,
    ImageTooLarge,
    MalformedBody,
    QueueFull,
    TooManyImages,
    UnsupportedContentType,
    UnsupportedEncoding,
)

JSON = "application/json"
FORM = "multipart/form-data; boundary=xx"


def images_in(body: bytes, content_type: str = JSON) -> list[RawImage]:
    return parse(body, content_type.encode("latin-1"), max_images=4, max_pixels=1000)


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart body: a disposition's parameters and the data, for each part."""
    return (
        b"".join(
            b"--xx\r\ncontent-disposition: form-data; %s\r\n\r\n%s\r\n" % (name.encode(), data)
            for name, data in parts
        )
        + b"--xx--\r\n"
    )


def read_chunks(
    chunks: Sequence[bytes | None],
    headers: dict[str, str] | None = None,
    *,
    intake: Intake | None = None,
) -> bytes:
    """`read` from a client that sends these chunks; None is where it goes away."""
    messages: list[Message] = [
        {"type": "http.disconnect"}
        if chunk is None
        else {"type": "http.request", "body": chunk, "more_body": True}
        for chunk in chunks
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request({"type": "http", "method": "POST", "headers": raw}, receive)
    with (intake or Intake(1000)).open() as hold:
        return asyncio.run(read(request, hold, max_body_bytes=10))


@pytest.mark.parametrize("chunks", [[], [b"abc"], [b"abc", b"", b"defg"], [b"0123456789"]], ids=str)
def test_read_joins_what_arrives(chunks: list[bytes]) -> None:
    assert read_chunks(chunks) == b"".join(chunks)


@pytest.mark.parametrize(
    ("chunks", "headers", "error"),
    [
        ([b"0123456789a"], {}, BodyTooLarge),
        ([b"01234567", b"89", b"a"], {}, BodyTooLarge),
        ([], {"content-length": "11"}, BodyTooLarge),
        ([], {"content-encoding": "gzip"}, UnsupportedEncoding),
        ([], {"content-encoding": "identity, br"}, UnsupportedEncoding),
        ([b"abc", None], {}, ClientGone),
    ],
    ids=["one too many", "in chunks", "declared", "gzip", "two encodings", "gone"],
)
def test_read_refuses(
    chunks: list[bytes | None], headers: dict[str, str], error: type[DigitsError]
) -> None:
    with pytest.raises(error):
        read_chunks(chunks, headers)


def test_read_takes_identity_for_what_it_is() -> None:
    assert read_chunks([b"abc"], {"content-encoding": "Identity"}) == b"abc"


def test_the_intake_is_shared_and_given_back() -> None:
    intake = Intake(8)
    with intake.open() as other:
        other.grow(3)
        assert read_chunks([b"abc", b"de"], intake=intake) == b"abcde"
        assert intake.held_bytes == 3
        with pytest.raises(QueueFull):
            read_chunks([b"abc", b"def"], intake=intake)
        assert intake.held_bytes == 3
    assert intake.held_bytes == 0


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "IMAGE/PNG", "image/x-unheard-of"])
def test_an_image_body_is_one_image(kind: str) -> None:
    assert images_in(b"\x89PNG", kind) == [b"\x89PNG"]


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed", "image", "/"]
)
def test_other_content_types(kind: str) -> None:
    with pytest.raises(UnsupportedContentType):
        images_in(b"data", kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", "image/png"), (b'{"images": []}', JSON), (form(), FORM), (form(("name=x", b"1")), FORM)],
    ids=["no bytes", "no arrays", "no parts", "no file"],
)
def test_empty_batches(body: bytes, kind: str) -> None:
    with pytest.raises(EmptyBatch):
        images_in(body, kind)


@given(st.lists(st.binary(max_size=60).filter(lambda data: b"\r\n--xx" not in data), max_size=4))
def test_multipart_gives_back_every_file_in_order(files: list[bytes]) -> None:
    body = form(("name=note", b"hello"), *(("name=file; filename=a.png", data) for data in files))
    if files:
        assert images_in(body, FORM) == files


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
    assert images_in(form((disposition, b"data")), FORM) == [b"data"]


def test_multipart_with_other_headers() -> None:
    body = (
        b"preamble\r\n--xx \t\r\nContent-Type: text/plain\r\n"
        b"CONTENT-DISPOSITION: form-data; name=file\r\nX: y\r\n\r\ndata\r\n--xx--\r\nepilogue"
    )
    assert images_in(body, FORM) == [b"data"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(("name=file", b"data")), "multipart/form-data"),
        (form(("name=file", b"data")), f"multipart/form-data; boundary={'x' * 257}"),
        (form(("name=file", b"data")), "multipart/form-data; boundary=yy"),
        (form(("name=file", b"data"))[:-8], FORM),
        (b"", FORM),
        (b"x" * 5000 + b"\r\n" + form(("name=file", b"data")), FORM),
        (b"--xx and more" + form(("name=file", b"data"))[4:], FORM),
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
        images_in(body, kind)


def test_multipart_with_too_many_files() -> None:
    assert len(images_in(form(*[("name=file", b"data")] * 4), FORM)) == 4
    with pytest.raises(TooManyImages):
        images_in(form(*[("name=file", b"data")] * 5), FORM)


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda shape: st.lists(
            st.lists(st.integers(0, 255), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    ),
    st.booleans(),
)
def test_json_rows_are_their_levels(rows: list[list[int]], as_floats: bool) -> None:
    levels = np.array(rows)
    sent = levels.astype(float).tolist() if as_floats else rows
    (image,) = images_in(orjson.dumps({"image": sent}))
    assert isinstance(image, np.ndarray)
    assert image.dtype == np.uint8
    assert (image == (levels * 255 if levels.max() <= 1 else levels)).all()


@given(st.integers(0, 255), st.integers(1, 9))
def test_shares_are_the_levels_they_are_shares_of(level: int, size: int) -> None:
    (image,) = images_in(orjson.dumps({"image": [[level / 255, 1.0]] * size}))
    assert isinstance(image, np.ndarray)
    assert image.tolist() == [[level, 255]] * size


FLAT = [*range(256), *range(256), *range(256), *range(16)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"image": FLAT}, [np.array(FLAT).reshape(28, 28)]),
        ({"image": [[0.5, 1]]}, [[[128, 255]]]),
        ({"image": [[0.4, 254.6]]}, [[[0, 255]]]),
        ({"image": [[0]]}, [[[0]]]),
        ({"images": [[[0, 1]], [[0, 2]]]}, [[[0, 255]], [[0, 2]]]),
        ({"images": [[[3]], [[4, 5], [6, 7]]]}, [[[3]], [[4, 5], [6, 7]]]),
    ],
    ids=["flat", "shares", "rounded", "one pixel", "range of each", "sizes of each"],
)
def test_json(document: object, expected: list[NDArray[np.uint8]]) -> None:
    images = images_in(orjson.dumps(document))
    assert [np.asarray(image).tolist() for image in images] == [
        np.asarray(image).tolist() for image in expected
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedBody),
        (b"{", MalformedBody),
        (b"\x89PNG\r\n\x1a\n", MalformedBody),
        (b'{"image": [[1]]', MalformedBody),
        (b'\xef\xbb\xbf{"image": [[1]]}', MalformedBody),
        ('{"image": [[1]]}'.encode("utf-16"), MalformedBody),
        (b'{"image": "\xff"}', MalformedBody),
        (b'{"image": "\\ud800"}', MalformedBody),
        (b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", MalformedBody),
        (b"null", BadPixels),
        (b"[]", BadPixels),
        (b"{}", BadPixels),
        (b'{"image": [[1]], "images": [[[1]]]}', BadPixels),
        (b'{"image": [[1]], "more": 1}', BadPixels),
        (b'{"images": [[1]], "more": 1}', BadPixels),
        (b'{"images": {"0": [[1]]}}', BadPixels),
        (b'{"image": [[3]], "image": [[4]]}', BadPixels),
        (b'{"image": null}', BadPixels),
        (b'{"image": 7}', BadPixels),
        (b'{"image": "7"}', BadPixels),
        (b'{"image": []}', BadPixels),
        (b'{"image": [[]]}', BadPixels),
        (b'{"image": [[], []]}', BadPixels),
        (b'{"image": [1, 2, 3]}', BadPixels),
        (b'{"image": [[1, 2], [3]]}', BadPixels),
        (b'{"image": [[1], 2]}', BadPixels),
        (b'{"image": [[[1]]]}', BadPixels),
        (b'{"image": [[[1], [2, 3]]]}', BadPixels),
        (b'{"image": [["1"]]}', BadPixels),
        (b'{"image": [[null]]}', BadPixels),
        (b'{"image": [[{}]]}', BadPixels),
        (b'{"image": [[true]]}', BadPixels),
        (b'{"image": [[1, false]]}', BadPixels),
        (b'{"image": [[-1]]}', BadPixels),
        (b'{"image": [[-0.1]]}', BadPixels),
        (b'{"image": [[256]]}', BadPixels),
        (b'{"image": [[255.5]]}', BadPixels),
        (b'{"image": [[NaN]]}', BadPixels),
        (b'{"image": [[-Infinity]]}', BadPixels),
        (b'{"image": [[1e999]]}', BadPixels),
        (b'{"image": [[%s]]}' % (b"9" * 5000), BadPixels),
        (b'{"image": [[%d]]}' % 2**64, BadPixels),
        (b'{"image": [[-%d]]}' % 2**63, BadPixels),
        (b'{"image": [[%d, -1]]}' % 2**63, BadPixels),
        (orjson.dumps({"image": ["x"] * 784}), BadPixels),
        (orjson.dumps({"image": [[0] * 1001]}), ImageTooLarge),
        (orjson.dumps({"images": [[[1]]] * 5}), TooManyImages),
    ],
    ids=lambda value: value.decode("latin-1")[:30] if isinstance(value, bytes) else "",
)
def test_json_refused(body: bytes, error: type[DigitsError]) -> None:
    with pytest.raises(error):
        images_in(body)


LARGE = np.random.default_rng(1).integers(0, 256, (500, 500))
SPACE = b" " * JSON_AT_ONCE_BYTES


@pytest.mark.parametrize("pad", [b"", SPACE], ids=["at once", "row by row"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (orjson.dumps({"image": LARGE.tolist()}), [LARGE]),
        (orjson.dumps({"images": [LARGE.tolist(), [[3]]]}), [LARGE, [[3]]]),
        (orjson.dumps({"images": [FLAT, [[0.5, 1]]]}), [np.reshape(FLAT, (28, 28)), [[128, 255]]]),
    ],
    ids=["one", "several", "flat"],
)
def test_large_documents_are_read_as_small_ones(
    body: bytes, expected: list[Any], pad: bytes
) -> None:
    images = parse(body + pad, JSON.encode(), max_images=4, max_pixels=10**6)
    assert [np.asarray(image).tolist() for image in images] == [
        np.asarray(image).tolist() for image in expected
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[[1], [2]]", BadPixels),
        (b'{"other": [[1]]}', BadPixels),
        (b'{"image": 7}', BadPixels),
        (b'{"images": 7}', BadPixels),
        (b'{"images": [7]}', BadPixels),
        (b'{"image": [[1, 2], [3]]}', BadPixels),
        (b'{"image": [[1], 2]}', BadPixels),
        (b'{"image": [[[1]]]}', BadPixels),
        (b'{"image": []}', BadPixels),
        (b'{"image": [[]]}', BadPixels),
        (b'{"image": [[256]]}', BadPixels),
        (b'{"image": [[NaN]]}', BadPixels),
        (b'{"image": [["1"]]}', BadPixels),
        (b'{"image": [[1], ""]}', BadPixels),
        (b'{"[1]": [[1]]}', MalformedBody),
        (b'{"image": [[1,]]}', MalformedBody),
        (b'{"image": [[1]}', MalformedBody),
    ],
    ids=str,
)
def test_large_documents_are_refused_as_small_ones(body: bytes, error: type[DigitsError]) -> None:
    with pytest.raises(error):
        images_in(body + SPACE)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(b"[" + b"1," * (JSON_AT_ONCE_BYTES // 2) + b"1]", id="long"),
        pytest.param(b"[1]," * MAX_JSON_LISTS + b"[1]", id="many"),
        pytest.param(b"[" * (MAX_JSON_LISTS + 1) + SPACE, id="never closed"),
    ],
)
def test_rows_that_would_hold_up_the_others_are_refused(rows: bytes) -> None:
    with pytest.raises(ImageTooLarge):
        images_in(b'{"image": [' + rows + b"]}" + SPACE)


@pytest.mark.parametrize("body", [b"[[1]]", b'{"image": [[1]], "image": [[1]]}', b'{"image"": [['])
def test_very_large_documents_without_the_one_name_are_not_parsed(body: bytes) -> None:
    with pytest.raises(BadPixels):
        images_in(body + 4 * SPACE)


def test_errors_name_the_image() -> None:
    with pytest.raises(BadPixels, match="Image 1 "):
        images_in(b'{"images": [[[1]], [[256]]]}')


@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, "image/png"]))
def test_any_bytes_are_images_or_our_errors(body: bytes, kind: str) -> None:
    with suppress(DigitsError):
        assert images_in(body, kind)


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(st.sampled_from(["image", "images"]), json_like)
def test_any_document_is_images_or_our_errors(key: str, value: object) -> None:
    with suppress(DigitsError, orjson.JSONEncodeError):
        for image in images_in(orjson.dumps({key: value})):
            assert isinstance(image, np.ndarray)
            assert image.ndim == 2
            assert image.dtype == np.uint8


@st.composite
def regular_batches(draw: st.DrawFn) -> bytes:
    """`{"images": […]}` of one size, with some white space, and now and then something odd."""
    count, height, width = (draw(st.integers(1, most)) for most in (3, 4, 4))
    values = st.sampled_from([0, 1, 2, 255])
    rows = st.lists(values, min_size=width, max_size=width)
    image = st.lists(rows, min_size=height, max_size=height)
    images = draw(st.lists(image, min_size=count, max_size=count))
    body = orjson.dumps({"images": images}, option=draw(st.sampled_from([0, orjson.OPT_INDENT_2])))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        odd = draw(st.sampled_from([b"", *(b"%c" % byte for byte in b'[], 0913-.e"tx{}\n')]))
        body = body[:at] + odd + body[at + draw(st.integers(0, 2)) :]
    return body


@given(regular_batches())
def test_a_regular_batch_is_read_as_any_other(body: bytes) -> None:
    def outcome(body: bytes) -> object:
        try:
            return [np.asarray(image).tolist() for image in images_in(body)]
        except DigitsError as error:
            return type(error), str(error)

    # A large one is read row by row.
    assert outcome(body) == outcome(body + SPACE)


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        (b"[0,7,10,99,100,255]", [0, 7, 10, 99, 100, 255]),
        (b"[ 0 ,\t12,\r\n255 ]", [0, 12, 255]),
        (b"[200]", [200]),
        *((row, None) for row in (b"[256]", b"[999]", b"[1000]", b"[12345]", b"[2555,1]")),
        *((row, None) for row in (b"[00]", b"[01]", b"[012]", b"[007,1]", b"[1,00]")),
        *((row, None) for row in (b"[1 2]", b"[1 2,]", b"[,1 2]", b"[25 5]", b"[1\n0,1]")),
        *((row, None) for row in (b"[]", b"[1,]", b"[,1]", b"[1,,2]", b"[,]")),
        *((row, None) for row in (b"[-1]", b"[1.0]", b"[1e1]", b"[true]", b'["1"]')),
    ],
)
def test_numbers_of_a_regular_batch(row: bytes, numbers: list[int] | None) -> None:
    found = _regular(b'{"images":[[%b]]}' % row)
    assert (found is None) == (numbers is None)
    if found is not None:
        assert found.tolist() == [[numbers]]


def test_what_is_regular_is_read_as_one_list() -> None:
    body = orjson.dumps({"images": np.stack([LARGE[:28, :28]] * 3).tolist()})
    assert np.array_equal(np.array(_regular(body)), np.stack([LARGE[:28, :28]] * 3))
    assert _regular(body.replace(b"]]]", b"]]],[[1]]")) is None
