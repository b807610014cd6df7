"""JSON: numbers and text, read as `json` and NumPy read them."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.api.formats import pixels
from app.errors import BadPixels, BodyTooLarge, DigitsError, MalformedBody, TooManyImages
from app.serving.predictor import RawImage
from tests.conftest import png, spoken

FILE = png(spoken(7))


def images_in(body: bytes) -> list[RawImage]:
    return pixels.parse(body, {}, 4)


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
        ('{"image": [[1]]}'.encode("utf-16"), MalformedBody),
        (b'{"image": "\xff"}', MalformedBody),
        (b'{"image": "\\ud800"}', MalformedBody),
        (b'{"image": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", MalformedBody),
        (b"null", BadPixels),
        (b"[]", BadPixels),
        (b"{}", BadPixels),
        (b'{"image": [[1]], "images": [[[1]]]}', BadPixels),
        (b'{"image": [[1]], "more": 1}', BadPixels),
        (b'{"images": [[1]], "more": 1}', BadPixels),
        (b'{"images": {"0": [[1]]}}', BadPixels),
        (b'{"image": null}', BadPixels),
        (b'{"image": 7}', BadPixels),
        (b'{"image": "7"}', BadPixels),
        (b'{"image": []}', BadPixels),
        (b'{"image": [[]]}', BadPixels),
        (b'{"image": [[], []]}', BadPixels),
        (b'{"image": [1, 2, 3]}', BadPixels),
        (b'{"image": [[1, 2], [3]]}', BadPixels),
        (b'{"image": [[1], 2]}', BadPixels),
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
        (orjson.dumps({"images": [[[1]]] * 5}), TooManyImages),
    ],
    ids=lambda value: value.decode("latin-1")[:30] if isinstance(value, bytes) else "",
)
def test_json_refused(body: bytes, error: type[DigitsError]) -> None:
    with pytest.raises(error):
        images_in(body)


def test_errors_name_the_image() -> None:
    with pytest.raises(BadPixels, match="Image 1 "):
        images_in(b'{"images": [[[1]], [[256]]]}')


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


@settings(max_examples=60)
@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(st.integers(0, 255) | st.floats(0, 255), min_size=width, max_size=width),
            min_size=1,
            max_size=5,
        )
    )
)
def test_rows_are_read_as_json_and_numpy_read_them(rows: list[list[float]]) -> None:
    body = json.dumps({"image": rows}).encode()
    expected = np.array(json.loads(body)["image"], np.float64)
    if expected.max() <= 1:
        expected = expected * 255
    assert np.array_equal(images_in(body)[0], np.rint(expected).astype(np.uint8))


SHAPES = [(784,), (1, 784), (784, 1), (28, 28, 1), (1, 28, 28), (1, 28, 28, 1), (1, 1, 784)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1, 255])
def test_784_numbers_in_any_arrangement(shape: tuple[int, ...], scale: int) -> None:
    flat = np.array(FLAT) / scale
    (image,) = images_in(orjson.dumps({"image": flat.reshape(shape).tolist()}))
    assert np.array_equal(image, np.array(FLAT).reshape(28, 28))


@pytest.mark.parametrize("axes", [3, 7, 64, 65, 66, 200, 1_000, 1_020])
@pytest.mark.parametrize("inner", ["", "1", "true", "1,2"])
def test_lists_in_lists_are_refused_at_once(axes: int, inner: str) -> None:
    with pytest.raises(BadPixels):
        images_in(('{"image":' + "[" * axes + inner + "]" * axes + "}").encode())


def test_colour_is_refused_with_what_to_send() -> None:
    with pytest.raises(BadPixels, match="looks like color"):
        images_in(orjson.dumps({"image": np.zeros((5, 6, 3)).tolist()}))


def test_text_is_an_encoded_image() -> None:
    text = base64.b64encode(FILE).decode()
    body = orjson.dumps({"images": [text, f"data:image/png;base64,{text}", [[1]]]})
    first, second, third = images_in(body)
    assert first == second == FILE
    assert np.array_equal(third, [[255]])


def test_a_byte_order_mark_is_passed_over() -> None:
    assert np.array_equal(images_in(b'\xef\xbb\xbf{"image": [[3]]}')[0], [[3]])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"image": [[%s0]]}' % (b"0," * pixels.MAX_NUMBERS * 2), "numbers"),
        (b'{"image": [%s[0]]}' % (b"[0]," * pixels.MAX_LISTS), "rows"),
        (b'{"images": [%s""]}' % (b'"",' * pixels.MAX_STRINGS), "strings"),
    ],
    ids=["numbers", "rows", "strings"],
)
def test_more_values_than_are_parsed(body: bytes, what: str) -> None:
    with pytest.raises(BodyTooLarge, match=what):
        images_in(body)


def test_256_arrays_are_within_the_limits() -> None:
    body = orjson.dumps({"images": [np.full((28, 28), 200).tolist()] * 256})
    assert len(pixels.parse(body, {}, 256)) == 256
