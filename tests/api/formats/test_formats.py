"""Which parser a body gets, and that all of them give images or our errors."""

from __future__ import annotations

import base64
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.formats import cost_of, parse
from app.errors import DigitsError, EmptyBatch, MalformedBody, UnsupportedContentType
from app.serving.predictor import RawImage
from tests.conftest import png, spoken

JSON = "application/json"
FORM = "multipart/form-data; boundary=xx"
FILE = png(spoken(7))
DOCUMENT = b'{"image": [[0, 255]]}'
FORM_BODY = (
    b'--xx\r\ncontent-disposition: form-data; name="file"\r\n\r\n' + FILE + b"\r\n--xx--\r\n"
)
UNTYPED = ["", "application/octet-stream", "binary/octet-stream", "text/plain"]


def images_in(body: bytes, content_type: str) -> list[RawImage]:
    return parse(body, content_type.encode("latin-1"), max_images=4)


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "IMAGE/PNG", "image/x-unheard-of"])
def test_an_image_body_is_one_image(kind: str) -> None:
    assert images_in(FILE, kind) == [FILE]


@pytest.mark.parametrize("kind", [*UNTYPED, "application/x-www-form-urlencoded"])
def test_the_bytes_decide_where_a_client_sets_no_type(kind: str) -> None:
    assert images_in(FILE, kind) == [FILE]
    (levels,) = images_in(DOCUMENT, kind)
    assert np.array_equal(levels, [[0, 255]])
    (levels,) = images_in(b"\xef\xbb\xbf " + DOCUMENT, kind)
    assert np.array_equal(levels, [[0, 255]])
    assert images_in(base64.b64encode(FILE), kind) == [FILE]
    with pytest.raises(MalformedBody, match="boundary"):
        images_in(FORM_BODY, kind)


def test_an_urlencoded_form_may_carry_an_image_as_text() -> None:
    text = base64.b64encode(FILE).replace(b"+", b"%2B").replace(b"=", b"%3D")
    for name in (b"file", b"image", b"images%5B%5D"):
        body = name + b"=" + text
        assert images_in(body, "application/x-www-form-urlencoded") == [FILE]


@pytest.mark.parametrize("kind", ["multipart/mixed", "image", "/", "application/xml", "text/html"])
def test_other_content_types(kind: str) -> None:
    with pytest.raises(UnsupportedContentType):
        images_in(b"data", kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", "image/png"), (b'{"images": []}', JSON), (b"--xx--\r\n", FORM), (b"", "")],
    ids=["no bytes", "no arrays", "no parts", "nothing"],
)
def test_empty_batches(body: bytes, kind: str) -> None:
    with pytest.raises(EmptyBatch):
        images_in(body, kind)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, "image/png", *UNTYPED]))
def test_any_bytes_are_images_or_our_errors(body: bytes, kind: str) -> None:
    with suppress(DigitsError):
        assert images_in(body, kind)


def test_a_document_costs_more_than_a_file_of_its_size() -> None:
    document, file = (
        cost_of(bytes(10_000), b"application/json"),
        cost_of(bytes(10_000), b"image/png"),
    )
    assert document.is_json
    assert not file.is_json
    assert document.pixels > 10 * file.pixels
    assert document.working_bytes > file.working_bytes >= 10_000
