from __future__ import annotations

import base64
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.formats import image
from app.api.formats.image import CALL_LENGTH, decode_text, is_text, parse, unquote
from app.errors import BadPixels, BrokenImage
from app.vision.decode import FORMATS
from tests.conftest import EXAMPLES, png, spoken

FILE = png(spoken(7))
BASE64 = base64.b64encode(FILE)


def test_a_file_is_an_image_as_it_is() -> None:
    assert parse(FILE, {}, 1) == [FILE]


@pytest.mark.parametrize("name", ["three.png", "seven.jpg"])
def test_what_curl_leaves_out_is_said(name: str) -> None:
    file = (EXAMPLES / name).read_bytes()
    assert parse(file, {}, 1) == [file]
    with pytest.raises(BrokenImage, match="--data-binary"):
        parse(file.translate(None, b"\0\r\n"), {}, 1)


def test_no_bytes_are_no_image() -> None:
    assert parse(b"", {}, 1) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BASE64, id="base64"),
        pytest.param(BASE64.rstrip(b"="), id="no padding"),
        pytest.param(base64.urlsafe_b64encode(FILE), id="URL-safe"),
        pytest.param(base64.encodebytes(FILE), id="in lines"),
        pytest.param(base64.encodebytes(FILE).replace(b"\n", b"\r\n"), id="in lines with CRLF"),
        pytest.param(b"data:image/png;base64," + BASE64, id="data URI"),
        pytest.param(b"DATA:image/png;BASE64," + BASE64, id="data URI in capitals"),
        pytest.param(b"data:;base64," + BASE64, id="data URI without type"),
        pytest.param(b"data:image/png;charset=x;base64," + BASE64, id="data URI with parameters"),
        pytest.param(
            b"data:image/png;base64," + quote_from_bytes(BASE64).encode(), id="escaped base64"
        ),
        pytest.param(
            b"data:image/png," + quote_from_bytes(FILE).encode(), id="data URI without base64"
        ),
    ],
)
def test_text_is_decoded(text: bytes) -> None:
    assert decode_text(text) == decode_text(text.decode()) == FILE
    assert is_text(text)
    assert parse(text, {}, 1) == [FILE]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"=", id="padding alone"),
        pytest.param(b" \r\n", id="white space"),
        pytest.param(b"7.png", id="a name"),
        pytest.param(b"AAAAA", id="one letter too many"),
        pytest.param(b"AA=A", id="padding inside"),
        pytest.param(b"AAAA\xff", id="not ASCII"),
        pytest.param(b"data:image/png;base64,", id="data URI of nothing"),
        pytest.param(b"data:image/png;base64,*", id="data URI that is not base64"),
        pytest.param(b"A" * CALL_LENGTH + b"*", id="long"),
    ],
)
def test_other_text_is_refused_by_the_index_of_its_image(text: bytes) -> None:
    with pytest.raises(BadPixels, match="Image 5 is text that is neither"):
        decode_text(text, 5)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 2))
def test_base64_is_what_the_standard_library_writes(data: bytes, way: int) -> None:
    write = (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes)[way]
    assert decode_text(write(data)) == data


@pytest.mark.parametrize("size", [CALL_LENGTH * 3 // 4, CALL_LENGTH, 3 * CALL_LENGTH + 1])
def test_long_base64_is_decoded_as_short(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    assert decode_text(base64.b64encode(data)) == data


@pytest.mark.parametrize("magic", [magic for row in FORMATS for magic in row.magic])
def test_no_file_is_taken_for_text(magic: bytes) -> None:
    assert not is_text(magic.ljust(64, b"\0"))


@pytest.mark.parametrize("name", ["five.png", "seven.jpg", "three.png"])
def test_no_example_is_taken_for_text(name: str) -> None:
    assert not is_text((EXAMPLES / name).read_bytes())


@given(
    st.lists(st.sampled_from([b"%", b"4", b"a", b"F", b"g", b"%2B", b"\xff"])), st.integers(3, 9)
)
def test_escapes_are_what_the_standard_library_finds(marks: list[bytes], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "ESCAPE_CALL_BYTES", piece)
        assert unquote(b"".join(marks)) == unquote_to_bytes(b"".join(marks))


@given(st.binary(min_size=1, max_size=60), st.integers(1, 9), st.sampled_from([b"", b" ", b"\r\n"]))
def test_base64_is_the_same_in_pieces(data: bytes, piece: int, space: bytes) -> None:
    text = base64.b64encode(data)
    spaced = space.join(text[at : at + 5] for at in range(0, len(text), 5)) + space
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "CALL_LENGTH", piece)
        assert decode_text(spaced) == data
        assert decode_text(spaced.decode()) == data


@pytest.mark.parametrize("piece", range(1, 9))
def test_nothing_follows_the_padding_of_base64(piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "CALL_LENGTH", piece)
        with pytest.raises(BadPixels):
            decode_text(b"AAA=BBBB")
