from __future__ import annotations

import base64
import json
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api import formats, predict
from app.api.formats import (
    PARSERS,
    SNIFFED,
    START_BYTES,
    ParseRequest,
    cost_of,
    parse,
    parse_all,
    pixels,
    start_of,
)
from app.api.formats.multipart import MAX_PARTS
from app.errors import (
    DeadlineExceeded,
    DigitsError,
    EmptyBatch,
    MalformedBody,
    PayloadError,
    TooManyImages,
    UnsupportedContentType,
)
from app.serving.limits import Admission
from app.vision.decode import FORMATS
from tests.conftest import EXAMPLES, png, spoken

FILE = png(spoken(7))
BASE64 = base64.b64encode(FILE)
ROWS = b'{"image": [[3, 4]]}'
FORM = (
    b'--xx\r\nContent-Disposition: form-data; name="file"; filename="7.png"\r\n\r\n'
    + FILE
    + b"\r\n--xx--\r\n"
)
FORM_TYPE = b"multipart/form-data; boundary=xx"
URLENCODED = b"application/x-www-form-urlencoded"
JSON = b"application/json"
MIB = 2**20


def images_in(body: bytes, content_type: bytes, max_images: int = 4) -> list[Any]:
    """The images in a body, arrays as lists."""
    return [
        image if isinstance(image, bytes) else image.tolist()
        for image in parse(body, content_type, max_images=max_images)
    ]


@pytest.mark.parametrize(
    "content_type",
    [
        *(kind.encode() for row in FORMATS for kind in row.media_types),
        b"IMAGE/PNG",
        b"image/png; q=1",
        b"image/x-unheard-of",
        b"image/*",
    ],
)
def test_an_image_type_is_one_image(content_type: bytes) -> None:
    assert images_in(FILE, content_type) == [FILE]
    assert images_in(b"anything", content_type) == [b"anything"]


@pytest.mark.parametrize("content_type", [FORM_TYPE, b'Multipart/Form-Data; boundary="xx"'])
def test_a_form_has_its_files(content_type: bytes) -> None:
    assert images_in(FORM, content_type) == [FILE]


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"APPLICATION/JSON", b"application/json; charset=utf-8", b"text/json"],
)
def test_json_has_its_numbers(content_type: bytes) -> None:
    assert images_in(ROWS, content_type) == [[[3, 4]]]


@pytest.mark.parametrize("content_type", sorted(SNIFFED))
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(FILE, [FILE], id="file"),
        pytest.param(ROWS, [[[3, 4]]], id="JSON"),
        pytest.param(b"\xef\xbb\xbf \r\n" + ROWS, [[[3, 4]]], id="JSON with byte order mark"),
        pytest.param(BASE64, [FILE], id="base64"),
        pytest.param(b"data:image/png;base64," + BASE64, [FILE], id="data URI"),
    ],
)
def test_the_bytes_decide_where_no_type_is_set(
    body: bytes, content_type: bytes, expected: list[Any]
) -> None:
    assert images_in(body, content_type) == expected


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.[pj][np]g")), ids=lambda path: path.name)
@pytest.mark.parametrize("content_type", sorted(SNIFFED))
def test_an_example_is_told_by_its_bytes(path: Path, content_type: bytes) -> None:
    assert images_in(path.read_bytes(), content_type) == [path.read_bytes()]


def test_a_urlencoded_form_has_its_text() -> None:
    body = b"image=" + BASE64.replace(b"+", b"%2B") + b"&images%5B%5D=data:;base64,AAAA"
    assert images_in(body, URLENCODED) == [FILE, bytes(3)]


def test_a_urlencoded_form_is_none_by_another_type() -> None:
    assert images_in(b"image=x", b"text/plain") == [b"image=x"]


@pytest.mark.parametrize("content_type", sorted(SNIFFED))
def test_a_form_without_its_type_is_told_so(content_type: bytes) -> None:
    with pytest.raises(MalformedBody, match="looks like a form"):
        images_in(FORM, content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/mixed; boundary=xx",
        b"application/pdf",
        b"text/html",
        b"image",
        b"/",
        b"json",
        b"application/jsonx",
        b"application/gzip",
        b"\xff",
    ],
)
def test_other_types_are_refused(content_type: bytes) -> None:
    with pytest.raises(UnsupportedContentType) as raised:
        images_in(FILE, content_type)
    assert raised.value.detail == UnsupportedContentType.remedy


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", b"image/png"),
        (b"", b""),
        (b'{"images": []}', b"application/json"),
        (b"--xx--\r\n", FORM_TYPE),
        (FORM.replace(b'; filename="7.png"', b"").replace(b'"file"', b'"x"'), FORM_TYPE),
    ],
    ids=["image", "no type", "JSON", "form", "form with other fields"],
)
def test_no_images_are_refused(body: bytes, content_type: bytes) -> None:
    with pytest.raises(EmptyBatch) as raised:
        images_in(body, content_type)
    assert raised.value.detail == EmptyBatch.remedy


def test_more_images_than_may_be_are_refused_whatever_the_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsers = PARSERS | {b"x/two": lambda body, parameters, most: [body, body]}
    monkeypatch.setattr(formats, "PARSERS", parsers)
    assert images_in(b"x", b"x/two", 2) == [b"x", b"x"]
    with pytest.raises(TooManyImages, match="at most 1 images"):
        images_in(b"x", b"x/two", 1)


@pytest.mark.parametrize("content_type", [b"application/json", b"", b"text/plain"])
def test_json_costs_by_the_byte(content_type: bytes) -> None:
    cost = cost_of(ROWS, len(ROWS), content_type)
    assert (cost.pixels, cost.is_json) == (len(ROWS), True)
    assert cost.working_bytes == pixels.working_bytes(len(ROWS))


@pytest.mark.parametrize(
    ("body", "content_type", "share"),
    [(FILE, b"image/png", 32), (ROWS, b"image/png", 32), (FORM, FORM_TYPE, 4)],
)
def test_other_bodies_cost_less(body: bytes, content_type: bytes, share: int) -> None:
    cost = cost_of(body, len(body), content_type)
    assert (cost.pixels, cost.is_json) == (len(body) // share, False)
    assert cost.working_bytes == len(body)


@pytest.mark.parametrize("size", [1, 5, 100, START_BYTES, 1000])
def test_a_body_begins_alike_however_it_is_cut(size: int) -> None:
    body = b"file=data:image/png;base64," + b"A" * 2 * START_BYTES
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert start_of(chunks)[:START_BYTES] == body[:START_BYTES]
    assert cost_of(start_of(chunks), len(body), URLENCODED) == cost_of(body, len(body), URLENCODED)
    assert start_of([]) == b""


def test_the_cost_of_what_is_refused_is_known_too() -> None:
    assert cost_of(ROWS, len(ROWS), b"application/pdf").is_json is False


def test_requests_are_parsed_each_for_itself() -> None:
    admission = Admission(max_waiting_images=1, body_bytes=1, working_bytes=1)
    lease = admission.open_lease(time.monotonic() + 60)
    late = admission.open_lease(time.monotonic() - 1)
    requests = [
        ParseRequest([FILE], b"image/png", 4, lease),
        ParseRequest([b"{"], b"application/json", 4, lease),
        ParseRequest([b"{"], b"application/json", 4, late),
        ParseRequest([FORM[:9], FORM[9:]], FORM_TYPE, 0, lease),
        ParseRequest([FORM[:9], FORM[9:]], FORM_TYPE, 1, lease),
    ]
    outcomes = parse_all(requests)
    assert [type(outcome) for outcome in outcomes] == [
        list,
        MalformedBody,
        DeadlineExceeded,
        TooManyImages,
        list,
    ]
    assert outcomes[0] == outcomes[4] == [FILE]


def test_a_failure_of_a_parser_is_its_requests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = ZeroDivisionError()

    def fail(body: bytes, parameters: dict[bytes, bytes], most: int) -> list[Any]:
        raise failure

    monkeypatch.setattr(formats, "PARSERS", PARSERS | {b"x/bad": fail})
    admission = Admission(max_waiting_images=1, body_bytes=1, working_bytes=1)
    lease = admission.open_lease(time.monotonic() + 60)
    requests = [ParseRequest([FILE], kind, 1, lease) for kind in (b"x/bad", b"image/png")]
    assert parse_all(requests) == [failure, [FILE]]


content_types = st.sampled_from(
    [b"image/png", FORM_TYPE, b"application/json", URLENCODED, b"", b"text/plain"]
)
bodies = st.binary(max_size=200) | st.sampled_from([FILE, FORM, ROWS, BASE64])


@settings(max_examples=50)
@given(bodies, content_types, st.data())
def test_any_bytes_are_images_or_a_problem(
    body: bytes, content_type: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at:]
    assert cost_of(damaged, len(damaged), content_type).pixels >= 0
    with suppress(PayloadError):
        images = parse(damaged, content_type, max_images=4)
        assert all(isinstance(image, (bytes, np.ndarray)) for image in images)


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=1), content_types)
def test_json_is_json_wherever_the_bytes_decide(rows: list[list[int]], kind: bytes) -> None:
    body = json.dumps({"image": rows}).encode()
    if kind in SNIFFED:
        assert images_in(body, kind) == images_in(body, b"application/json")


@pytest.mark.parametrize(
    ("start", "repeated", "kind"),
    [
        pytest.param(b"data:,", b"%", b"image/png", id="percent signs"),
        pytest.param(b"data:,", b"%41", b"image/png", id="escapes"),
        pytest.param(b"data:;base64,", b"%41", b"image/png", id="escapes in base64"),
        pytest.param(b"data:;base64,", b"AAAA", b"image/png", id="base64 in a data URI"),
        pytest.param(b"AAAA" * 16, b"AAAA", b"", id="base64"),
        pytest.param(b"AAAA" * 16, b"\r\n", b"", id="white space"),
        pytest.param(b"file=AAAA", b"&", URLENCODED, id="fields without a name"),
        pytest.param(b"file=AAAA", b"&aa", URLENCODED, id="fields"),
        pytest.param(b"file=data:,", b"%", URLENCODED, id="percent signs in a form"),
        pytest.param(b"file=data:,", b"%41", URLENCODED, id="escapes in a form"),
        pytest.param(b"file=", b"AAAA", URLENCODED, id="base64 in a form"),
        pytest.param(b'{"image":"data:,', b"%", JSON, id="percent signs in JSON"),
        pytest.param(b'{"image":"data:,', b"%41", JSON, id="escapes in JSON"),
        pytest.param(b'{"image":"', b"AAAA", JSON, id="base64 in JSON"),
    ],
)
def test_text_takes_no_more_memory_than_is_charged(
    start: bytes, repeated: bytes, kind: bytes
) -> None:
    body = start + repeated * (MIB // len(repeated)) + b'"}' * (kind == JSON)
    charged = cost_of(body[:START_BYTES], len(body), kind)
    assert charged.pixels > predict.DIRECT_COST
    tracemalloc.start()
    try:
        with suppress(DigitsError):
            images_in(body, kind)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= charged.working_bytes + MIB  # of NumPy's own, whatever the body's length


def test_text_costs_more_than_a_file_of_its_size() -> None:
    text, form, file = (
        cost_of(body + bytes(START_BYTES), MIB, kind).pixels
        for body, kind in ((b"data:,", b""), (b"file=", URLENCODED), (FILE, b""))
    )
    assert min(text, form) >= MIB > 10 * file


def test_an_urlencoded_form_has_only_so_many_fields() -> None:
    body = b"image=" + base64.b64encode(FILE) + b"&x=1" * (MAX_PARTS - 1)
    assert images_in(body, URLENCODED) == [FILE]
    with pytest.raises(MalformedBody, match="at most 1,000 fields"):
        images_in(body + b"&", URLENCODED)
