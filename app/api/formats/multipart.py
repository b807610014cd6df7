"""Forms: multipart/form-data (RFC 7578), and the urlencoded forms that carry an image as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ...errors import EmptyBatch, MalformedBody, TooManyImages, UnknownField
from ...serving.predictor import RawImage
from ..options import OPTION_NAMES
from . import image
from .header import parse_header

MAX_PARTS = 1000
MAX_PART_HEADER_BYTES = 4096
MAX_BOUNDARY_BYTES = 256

FILE_FIELD = re.compile(rb"file(\[\d{0,4}\])?")
"""`file`, and what axios (`file[]`) and PHP (`file[0]`) make of it."""
FAMILIAR_FIELD = re.compile(
    rb"(files?|images?|img|uploads?|pictures?|photos?|data|digits?|input|media|attachments?)\d?"
    rb"(\[\d{0,4}\])?",
    re.IGNORECASE,
)
"""Names that are repeated in a problem's text; others are the client's content."""
TEXT_FIELD = re.compile(rb"(file|image|images)(\[\d{0,4}\]|%5B\d{0,4}%5D)?=", re.IGNORECASE)


class Field(NamedTuple):
    """The name of a form's field, and of the file in it; None where it has none."""

    name: bytes | None
    file_name: bytes | None


def parse(body: bytes, parameters: dict[bytes, bytes], max_images: int) -> list[RawImage]:
    """The contents of the parts named `file`.

    Raises:
        MalformedBody: it is no form, or has too many parts.
        UnknownField: a file has come in another field, or an option in any.
        EmptyBatch: no file was chosen.
        TooManyImages: there are more than `max_images`.
    """
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise MalformedBody(
            "The Content-Type has no boundary. Leave Content-Type to your client: it adds one."
        )
    if len(boundary) > MAX_BOUNDARY_BYTES:
        raise MalformedBody(f"A boundary has at most {MAX_BOUNDARY_BYTES} bytes.")
    files: list[RawImage] = []
    is_unchosen = False
    for number, (head, content) in enumerate(_parts(body, boundary)):
        if number == MAX_PARTS:
            raise MalformedBody(f"A form has at most {MAX_PARTS:,} parts.")
        field = _field(head)
        if field.name is None or not FILE_FIELD.fullmatch(field.name):
            name = field.name or b""
            if field.file_name is not None:
                raise _unknown(name)
            _refuse_option(name)
            continue
        if content.start == content.stop and not field.file_name:
            is_unchosen = True
            continue
        if len(files) == max_images:
            raise TooManyImages(f"A request has at most {max_images:,} images.")
        data = body[content]
        if field.file_name is None and not image.is_text(data):
            raise_unless_file(data)
        files.append(image.decode_text(data, len(files)) if image.is_text(data) else data)
    if not files and is_unchosen:
        raise EmptyBatch("The form was sent without a file chosen in its field `file`.")
    return files


def raise_unless_file(data: bytes) -> None:
    """Refuse a text field that holds a file's name instead of the file.

    Raises:
        EmptyBatch: it does.
    """
    if len(data) < 256 and data.isascii() and data.decode().isprintable():
        raise EmptyBatch(
            "The field `file` holds text, not a file. With curl, write -F file=@name: the @ sends "
            "the file's contents."
        )


def is_urlencoded(start: bytes) -> bool:
    """Whether a body begins like a urlencoded form with an image in it."""
    return TEXT_FIELD.match(start) is not None


def parse_urlencoded(
    body: bytes, parameters: dict[bytes, bytes], max_images: int
) -> list[RawImage]:
    """The images that a urlencoded form carries as text in `file`, `image` or `images`.

    Raises:
        MalformedBody: it has too many fields.
        UnknownField: an option has come in one.
        TooManyImages: there are more than `max_images`.
        BadPixels: a text is no image.
    """
    pairs = body.split(b"&", MAX_PARTS)
    if len(pairs) > MAX_PARTS:
        raise MalformedBody(f"A form has at most {MAX_PARTS:,} fields.")
    for pair in pairs:
        _refuse_option(pair.partition(b"=")[0])
    texts = [pair[match.end() :] for pair in pairs if (match := TEXT_FIELD.match(pair))]
    if len(texts) > max_images:
        raise TooManyImages(f"A request has at most {max_images:,} images.")
    return [image.decode_text(image.unquote(text), index) for index, text in enumerate(texts)]


def _unknown(name: bytes) -> UnknownField:
    is_familiar = FAMILIAR_FIELD.fullmatch(name)
    field = f"the field `{name.decode()}`" if is_familiar else "a field of another name"
    return UnknownField(f"A file came in {field}. Name the field `file`.")


def _refuse_option(name: bytes) -> None:
    """Refuse a field with the name of an option: it would be left out without a word.

    Raises:
        UnknownField: it has one.
    """
    if (option := name.decode("latin-1")) in OPTION_NAMES:
        raise UnknownField(
            f"`{option}` is no field of the form: options are query parameters, behind a ? in the "
            "address."
        )


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, slice]]:
    """The headers of each part, and where its content is (RFC 2046, section 5.1.1).

    The preamble before the first boundary and the epilogue behind the last are ignored.
    """
    delimiter = b"\r\n--" + boundary
    # The first delimiter needs no line break before it: that would be 2 bytes before the body.
    first = -2 if body.startswith(delimiter[2:]) else body.find(delimiter, 0, MAX_PART_HEADER_BYTES)
    if first == -1:
        raise MalformedBody("The multipart body does not begin with its boundary.")
    at = first + len(delimiter)
    while not body.startswith(b"--", at):
        end = body.find(delimiter, at)
        if end < 0:
            raise MalformedBody("The multipart body ends before its last boundary.")
        blank_line = body.find(b"\r\n\r\n", at, min(end, at + MAX_PART_HEADER_BYTES))
        if blank_line < 0:
            raise MalformedBody("A part of the form has no headers that end, or too many.")
        yield body[at:blank_line], slice(blank_line + 4, end)
        at = end + len(delimiter)


@lru_cache(maxsize=64)
def _field(head: bytes) -> Field:
    """Return the field that a part's headers name.

    `head` is the rest of the boundary's line, then a line for each header.
    """
    padding, *lines = head.split(b"\r\n")
    if padding.strip(b" \t"):
        raise MalformedBody("The body is not the multipart that it says it is.")
    field = Field(None, None)
    for line in lines:
        key, colon, value = line.partition(b":")
        if not colon:
            raise MalformedBody("A part of the form has a line that is no header.")
        if key.strip().lower() == b"content-disposition":
            parameters = parse_header(value)[1]
            file_name = parameters.get(b"filename", parameters.get(b"filename*"))
            field = Field(parameters.get(b"name"), file_name)
    return field
