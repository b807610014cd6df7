from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simdjson
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.api.formats.pixels import (
    MAX_LISTS,
    MAX_NUMBERS,
    MAX_STRINGS,
    MAX_WIDE_BYTES,
    SEARCHED_BYTES,
    fields_of,
    load,
    parse,
    working_bytes,
)
from app.errors import (
    BadPixels,
    BodyTooLarge,
    MalformedBody,
    PayloadError,
    TooManyImages,
)
from tests.conftest import png, spoken

FILE = png(spoken(7))
MIB = 2**20
FLAT = [*range(256), *range(256), *range(256), *range(16)]
SQUARE = np.array(FLAT).reshape(28, 28)


def images_in(document: Any, max_images: int = 4) -> list[Any]:
    """The images in a document, arrays as lists."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    images = parse(body, {}, max_images)
    for image in images:
        assert isinstance(image, bytes) or (image.dtype == np.uint8 and image.ndim == 2)
    return [image if isinstance(image, bytes) else image.tolist() for image in images]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param([[0, 7], [255, 9]], [[0, 7], [255, 9]], id="rows"),
        pytest.param([[3]], [[3]], id="one pixel"),
        pytest.param([[1, 2, 3]], [[1, 2, 3]], id="one row"),
        pytest.param([[1], [2], [3]], [[1], [2], [3]], id="one column"),
        pytest.param(FLAT, SQUARE.tolist(), id="784 numbers"),
        pytest.param([float(n) for n in FLAT], SQUARE.tolist(), id="784 numbers with a point"),
        pytest.param([FLAT], SQUARE.tolist(), id="1×784"),
        pytest.param([[n] for n in FLAT], SQUARE.tolist(), id="784×1"),
        pytest.param([[[n] for n in FLAT]], SQUARE.tolist(), id="1×784×1"),
        pytest.param([SQUARE.tolist()], SQUARE.tolist(), id="1×28×28"),
        pytest.param(SQUARE[..., None].tolist(), SQUARE.tolist(), id="28×28×1"),
        pytest.param(SQUARE[None, None, ..., None].tolist(), SQUARE.tolist(), id="1×1×28×28×1"),
        pytest.param(SQUARE[:, None].tolist(), SQUARE.tolist(), id="28×1×28"),
        pytest.param([[0, 1], [1, 0]], [[0, 255], [255, 0]], id="0 and 1"),
        pytest.param([[0, 0]], [[0, 0]], id="zeros"),
        pytest.param([[0.5, 1]], [[128, 255]], id="shares"),
        pytest.param([[0.0, 0.002, 0.998]], [[0, 1, 254]], id="shares are rounded"),
        pytest.param([[0, 0.004]], [[0, 1]], id="faint shares"),
        pytest.param([[0.4, 254.6]], [[0, 255]], id="levels are rounded"),
        pytest.param([[1, 1.001]], [[1, 1]], id="above 1 are levels"),
        pytest.param([[-0.0, 255.0]], [[0, 255]], id="minus nothing"),
    ],
)
def test_numbers_are_an_image(image: Any, expected: list[list[int]]) -> None:
    assert images_in({"image": image}) == [expected]
    assert images_in({"images": [image, [[9]], image]}) == [expected, [[9]], expected]


def test_each_image_has_a_range_of_its_own() -> None:
    assert images_in({"images": [[[0, 1]], [[0, 2]]]}) == [[[0, 255]], [[0, 2]]]


def test_images_of_8_by_8_may_have_levels_to_16() -> None:
    sixteenths = [[0, 1, 8, 16, 4, 2, 15, 0]] * 8
    levels = [[0, 16, 128, 255, 64, 32, 239, 0]] * 8
    in_full = [[0, 1, 8, 17, 4, 2, 15, 0]] * 8
    shares = [[level / 255 for level in row] for row in levels]
    points = [[float(level) for level in row] for row in sixteenths]
    images = [sixteenths, points, [sixteenths], levels, shares]
    assert images_in({"images": images}, len(images)) == [levels] * len(images)
    assert images_in({"image": in_full}) == [in_full]
    assert images_in({"image": sixteenths[1:]}) == [sixteenths[1:]]
    assert images_in({"image": [[0] * 8] * 8}) == [[[0] * 8] * 8]


def test_each_image_has_a_size_of_its_own() -> None:
    assert images_in({"images": [[[3]], [[4, 5], [6, 7]]]}) == [[[3]], [[4, 5], [6, 7]]]


def test_images_of_one_shape_are_one_array_with_the_same_levels() -> None:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (28, 28)).tolist(), rng.random((28, 28)).tolist()]
    images += [rng.integers(0, 2, (28, 28)).tolist(), (255 * rng.random((28, 28))).tolist()]
    together = parse(json.dumps({"images": images}).encode(), {}, 4)
    assert isinstance(together, np.ndarray)
    alone = [images_in({"image": image})[0] for image in images]
    assert together.tolist() == alone
    assert images_in({"images": [*images, [[9]]]}, 5) == [*alone, [[9]]]


@pytest.mark.parametrize("fault", [256, "1", None, True, -1, [3], []])
def test_the_image_at_fault_is_named_among_many_of_one_shape(fault: Any) -> None:
    images: list[Any] = np.zeros((4, 28, 28), int).tolist()
    images[2][5][7] = fault
    with pytest.raises(BadPixels, match=r"^Image 2 has "):
        images_in({"images": images}, 4)


def test_text_is_a_file() -> None:
    text = base64.b64encode(FILE).decode()
    assert images_in({"image": text}) == [FILE]
    assert images_in({"images": [f"data:image/png;base64,{text}", [[3]]]}) == [FILE, [[3]]]


def test_no_images_are_none() -> None:
    assert images_in({"images": []}) == []


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"image": [[3]]}',
        b' \r\n\t{"image": [[3]]}\n',
        b'{"\\u0069mage": [[3]]}',
    ],
    ids=["byte order mark", "white space", "escaped key"],
)
def test_json_is_json(body: bytes) -> None:
    assert images_in(body) == [[[3]]]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", 'The body is empty. The document is {"image": rows}'),
        (b" \r\n", "The body is empty."),
        (b"{", "The body is not JSON."),
        (b'{"image": [[1]]', "The body is not JSON."),
        (b'{"image": [[1,]]}', "The body is not JSON."),
        (b'{"image": [[01]]}', "The body is not JSON."),
        (b"{'image': [[1]]}", "The body is not JSON."),
        (b'{"image": [[1]]} {}', "The body is not JSON."),
        (b"image=x", "The body is not JSON."),
        (FILE, "If it is an image, send it to /predict with its own type"),
        (
            b'{"image": "\\ud800"}',
            "A string in the body has an escape that stands for no character.",
        ),
        (b'{"image": "\\x"}', "A string in the body has an escape that stands for no character."),
        (b"nothing", "The body is not JSON."),
        (b'{"image": "\xff"}', "The body is not in UTF-8"),
        ('{"image": [[1]], "ü": 1}'.encode("latin-1"), "The body is not in UTF-8"),
        ('{"image": [[1]]}'.encode("utf-16"), "The body is in UTF-16. Send JSON in UTF-8"),
    ],
)
def test_what_is_no_json_is_malformed(body: bytes, detail: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        images_in(body)
    assert detail in str(raised.value)


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (None, "It is no object."),
        (7, "It is no object."),
        (True, "It is no object."),
        ("text", "It is no object."),
        ([], "It is no object."),
        ([[0, 1]], "It is no object."),
        ({}, "It has other keys, or none of these"),
        ({"pixels": [[1]]}, "It has other keys, or none of these"),
        (b'{"image": [[4]], "image": [[3]]}', "It has a key twice."),
        ({"image": [[1]], "images": [[[1]]]}, "It has other keys, or none of these"),
        ({"image": [[1]], "normalize": False}, "options are query parameters"),
        ({"images": [[[1]]], "normalize": False}, "options are query parameters"),
        (
            {"images": {"0": [[1]]}},
            "`images` is a list of images; a single image goes into `image`.",
        ),
        ({"images": "AAAA"}, "`images` is a list of images; a single image goes into `image`."),
        ({"images": FLAT}, "a single image goes into `image`"),
        ({"images": [0.5]}, "a single image goes into `image`"),
        ({"image": None}, "Image 0 is neither rows of numbers nor text."),
        ({"image": 7}, "Image 0 is neither rows of numbers nor text."),
        ({"image": {}}, "Image 0 is neither rows of numbers nor text."),
        ({"images": [[[1]], None]}, "Image 1 is neither rows of numbers nor text."),
        ({"images": [[[1]], 7]}, "Image 1 is neither rows of numbers nor text."),
        ('{"image": "é"}'.encode(), "Image 0 is text that is neither base64"),
        ('{"image": [[1]], "größe": "ü"}'.encode(), "It has other keys"),
        ({"image": "7"}, "Image 0 is text that is neither base64"),
        ({"image": ""}, "Image 0 is text that is neither base64"),
        ({"images": [[[1]], "\0"]}, "Image 1 is text that is neither base64"),
        ({"image": []}, "Image 0 has rows of different lengths"),
        ({"image": [[]]}, "Image 0 has rows of different lengths"),
        ({"image": [[], []]}, "Image 0 has rows of different lengths"),
        ({"image": [[], {}]}, "Image 0 has rows of different lengths"),
        ({"image": [[1], {}]}, "Image 0 has rows of different lengths"),
        ({"image": [[1, 2], [3]]}, "Image 0 has rows of different lengths"),
        ({"image": [[1], 2]}, "Image 0 has rows of different lengths"),
        ({"image": [1, [2]]}, "Image 0 has 2 numbers"),
        ({"image": [[1, [2]], [3, 4]]}, "Image 0 has rows of different lengths"),
        ({"image": [[1, [[2]]], [3, 4]]}, "Image 0 has rows of different lengths"),
        ({"image": [[1, []], [3, 4]]}, "Image 0 has rows of different lengths"),
        ({"images": ["AAAA", [[5]], [*FLAT[1:], [0]]]}, "Image 2 has rows of different lengths"),
        ({"image": [[[1], [2, 3]]]}, "Image 0 has rows of different lengths"),
        ({"image": [["1"]]}, "values that are no numbers"),
        ({"image": ["11", "11"]}, "values that are no numbers"),
        ({"image": ["1"] * 784}, "values that are no numbers"),
        ({"image": [[None]]}, "values that are no numbers"),
        ({"image": [[{}]]}, "values that are no numbers"),
        ({"image": [{"a": 1}]}, "values that are no numbers"),
        ({"image": [[True]]}, "values that are no numbers"),
        ({"image": [[1, False]]}, "values that are no numbers"),
        ({"image": [True] * 784}, "values that are no numbers"),
        ({"image": [[-1]]}, "has a value that is not from 0 to 255"),
        ({"image": [[-0.1]]}, "has a value that is not from 0 to 255"),
        ({"image": [[256]]}, "has a value that is not from 0 to 255"),
        ({"image": [[255.5]]}, "has a value that is not from 0 to 255"),
        ({"image": [*FLAT[1:], 256]}, "has a value that is not from 0 to 255"),
        ({"image": [[2**63, -1]]}, "has a value that is not from 0 to 255"),
        ({"image": [[-(2**63)]]}, "has a value that is not from 0 to 255"),
        ({"image": [[2**64]]}, "A number is not finite"),
        ({"images": [[[1]], [[256]]]}, "Image 1 has a value"),
        ({"image": [[float("nan")]]}, "A number is not finite"),
        ({"image": [[float("inf")]]}, "A number is not finite"),
        ({"image": [[float("-inf")]]}, "A number is not finite"),
        (b'{"image": [[1e999]]}', "A number is not finite"),
        (b'{"image": [[%s]]}' % (b"9" * 5000), "A number is not finite"),
        ({"image": [1, 2, 3]}, "Image 0 has 3 numbers; a flat image has 784"),
        ({"image": FLAT[1:]}, "Image 0 has 783 numbers"),
        ({"image": [[[1, 2, 3]] * 2] * 2}, "Image 0 is 2×2×3, which looks like color."),
        ({"image": [[[1, 2, 3, 4]] * 2] * 2}, "Image 0 is 2×2×4, which looks like color."),
        ({"image": [[[1] * 5] * 6] * 7}, "Image 0 is 7×6×5; an image is rows of numbers."),
        ({"image": [[[[1] * 2] * 2] * 2] * 2}, "Image 0 is 2×2×2×2; an image is rows"),
    ],
)
def test_what_is_no_image_is_refused(document: Any, detail: str) -> None:
    with pytest.raises(BadPixels) as raised:
        images_in(document)
    assert detail in str(raised.value)


@pytest.mark.parametrize("text", [b"true", b"false", b"[[true]]", b'"\\u0061"'])
def test_words_elsewhere_do_not_change_how_numbers_are_read(text: bytes) -> None:
    with pytest.raises(BadPixels, match=r"no object|other keys"):
        images_in(b'{"image": [[3]], "other": %s}' % text)
    assert images_in(b'{"images": [[[3]], [[1, 0]]]}') == [[[3]], [[255, 0]]]


@pytest.mark.parametrize("number", [b"NaN", b"1e999", b"9" * 20])
@pytest.mark.parametrize("before", [0, SEARCHED_BYTES - 15, SEARCHED_BYTES, 3 * SEARCHED_BYTES + 1])
def test_what_is_no_number_is_found_wherever_it_is(number: bytes, before: int) -> None:
    with pytest.raises(BadPixels, match="not finite"):
        images_in(b'{"image": [[%s%s]]}' % (b" " * before, number))


@pytest.mark.parametrize("levels", [*range(7, 20), 100, 500, 1000, 1020])
def test_lists_in_lists_are_refused_at_once(levels: int) -> None:
    with pytest.raises(BadPixels, match="Image 0 has lists in lists, 6 deep"):
        images_in(b'{"image": %s7%s}' % (b"[" * levels, b"]" * levels))


@pytest.mark.parametrize("levels", range(1, 7))
def test_lists_in_lists_are_looked_through_where_an_image_may_be(levels: int) -> None:
    body = b'{"image": %s[3,4],[5,6]%s}' % (b"[" * levels, b"]" * levels)
    if levels < 6:
        assert images_in(body) == [[[3, 4], [5, 6]]]
    else:
        with pytest.raises(BadPixels, match="6 deep"):
            images_in(body)


@pytest.mark.parametrize("levels", [1, 2, 5, 6, 7, 1020])
def test_nothing_in_lists_in_lists_is_refused(levels: int) -> None:
    with pytest.raises(BadPixels, match="Image 0 has "):
        images_in(b'{"image": %s%s}' % (b"[" * levels, b"]" * levels))


@pytest.mark.parametrize("levels", [1025, 5000])
def test_deeper_documents_are_not_parsed(levels: int) -> None:
    with pytest.raises(MalformedBody, match="more than 1,024 deep"):
        images_in(b'{"image": %s7%s}' % (b"[" * levels, b"]" * levels))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"," * (MAX_NUMBERS + 1), f"at most {MAX_NUMBERS:,} numbers"),
        (b"[" * (MAX_LISTS + 1), f"at most {MAX_LISTS:,} rows"),
        (b"{" * (MAX_LISTS + 1), f"at most {MAX_LISTS:,} rows"),
        (b'""' * (MAX_STRINGS + 1), f"at most {MAX_STRINGS:,} strings"),
    ],
    ids=["numbers", "lists", "objects", "strings"],
)
def test_documents_of_too_many_values_are_not_parsed(
    monkeypatch: pytest.MonkeyPatch, body: bytes, detail: str
) -> None:
    monkeypatch.setattr(simdjson, "Parser", None)
    with pytest.raises(BodyTooLarge, match=detail):
        images_in(body)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ü" * (MAX_WIDE_BYTES // 2 + 1), id="many characters"),
        pytest.param("x" * MAX_WIDE_BYTES + "😀", id="one, at the end of a long string"),
        pytest.param("😀" + "x" * MAX_WIDE_BYTES, id="one, at its beginning"),
        pytest.param(f'😀{"x" * 20_000}\\"' * 4, id="a long string with quotes in it"),
        pytest.param(f'😀{"x" * 20_000}", "' * 4, id="several strings"),
    ],
)
def test_long_strings_with_characters_beside_ascii_are_not_parsed(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(simdjson, "Parser", None)
    with pytest.raises(BodyTooLarge, match="beside ASCII"):
        images_in(f'{{"images": ["{text}"]}}'.encode())


def test_characters_beside_ascii_may_stand_beside_long_strings() -> None:
    document = {"ä": "AA" * MAX_WIDE_BYTES, "id": "zähler 😀", "x" * MAX_WIDE_BYTES: "ü"}
    found, _ = load(json.dumps(document, ensure_ascii=False).encode())
    assert fields_of(found) == document


def test_documents_of_as_many_values_as_may_be_are_parsed() -> None:
    rows = [[3] * (MAX_NUMBERS // 500)] * 500
    assert images_in({"image": rows}) == [rows]
    column = [[3]] * (MAX_LISTS - 2)
    assert images_in({"image": column}) == [column]
    texts = ["AAAA"] * (MAX_STRINGS - 1)
    assert images_in({"images": texts}, MAX_STRINGS) == [bytes(3)] * len(texts)


def test_more_images_than_may_be_are_refused() -> None:
    assert len(images_in({"images": [[[3]]] * 4})) == 4
    with pytest.raises(TooManyImages, match="at most 4 images"):
        images_in({"images": [[[3]]] * 5})


@pytest.mark.parametrize(
    "image",
    [
        pytest.param([[7] * 500] * 500, id="whole numbers"),
        pytest.param([[0.25] * 500] * 500, id="shares"),
        pytest.param([[1.5] * 20] * 19_000, id="fractions"),
        pytest.param([[7]] * 19_000, id="a column"),
    ],
)
def test_a_document_takes_no_more_memory_than_said(image: Any) -> None:
    body = json.dumps({"image": image}, separators=(",", ":")).encode()
    before = reset_peak_bytes()
    parse(body, {}, 1)
    assert memory_bytes("VmHWM") - before <= working_bytes(len(body)) + MIB


def reset_peak_bytes() -> int:
    """Begin to measure the process's peak of resident memory; return what it is now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not measure a peak again")
    return memory_bytes("VmRSS")


def memory_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


# Against Python's own reader and NumPy

whole = st.integers(0, 255)
shares = st.floats(0, 1) | st.integers(0, 1)
levels = st.floats(0, 255) | whole
sides = st.integers(2, 9)


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """[h,w], or 28×28, each in one range."""
    height, width = draw(st.just((28, 28)) | st.tuples(sides, sides))
    values = draw(st.lists(draw(st.sampled_from([whole, shares, levels])), min_size=2, max_size=30))
    return np.resize(np.array(values, object), (height, width))


@st.composite
def arrangements(draw: st.DrawFn) -> NDArray[Any]:
    """An image as clients arrange it: with axes of length 1, or flat."""
    image = draw(arrays())
    if image.shape == (28, 28) and draw(st.booleans()):
        image = image.reshape(-1)
    for axis in draw(st.lists(st.integers(0, 2), max_size=3)):
        image = np.expand_dims(image, axis=min(axis, image.ndim))
    return image


@settings(max_examples=50)
@given(st.lists(arrangements(), min_size=1, max_size=3), st.sampled_from([None, 1, "\t"]))
def test_numbers_are_what_json_and_numpy_read(images: list[NDArray[Any]], indent: Any) -> None:
    text = json.dumps({"images": [image.tolist() for image in images]}, indent=indent)
    found = parse(text.encode(), {}, 3)
    for image, sent in zip(found, json.loads(text)["images"], strict=True):
        numbers = np.array(sent, np.float64).squeeze()
        scaled = numbers * 255 if numbers.max() <= 1 else numbers
        assert isinstance(image, np.ndarray)
        assert image.shape == ((28, 28) if numbers.ndim == 1 else numbers.shape)
        assert (image.ravel() == np.rint(scaled).ravel()).all()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.sampled_from(["image", "images"]), json_values)
def test_any_document_has_images_or_a_problem(key: str, value: object) -> None:
    with suppress(PayloadError):
        images_in({key: value}, 100)


@settings(max_examples=50)
@given(arrays(), st.data())
def test_a_damaged_document_has_images_or_a_problem(
    image: NDArray[Any], data: st.DataObject
) -> None:
    body = json.dumps({"image": image.tolist()}).encode()
    at = data.draw(st.integers(0, len(body)))
    odd = data.draw(st.sampled_from([b"%c" % byte for byte in b'[]{}, 0913-.e"tx\n\xff']))
    with suppress(PayloadError):
        assert images_in(body[:at] + odd + body[at + data.draw(st.integers(0, 2)) :])
