"""A request's body, from bytes to raw images: multipart, one image, or JSON.

A raw image is either `bytes`, still encoded, or an array uint8 [h,w]. Limits in bytes are held
while the body arrives: what is too large is refused when that shows, not when it has all been read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request

from ..errors import (
    BadPixels,
    BodyTooLarge,
    ClientGone,
    EmptyBatch,
    ImageTooLarge,
    MalformedBody,
    QueueFull,
    TooManyImages,
    UnsupportedContentType,
    UnsupportedEncoding,
)

Pixels = NDArray[np.uint8]
RawImage = bytes | Pixels

FLAT_PIXELS = 28 * 28
MAX_PARTS = 1000

IN_LOOP_BYTES = 256 * 1024
"""Bodies up to this size are parsed on the event loop: 64 times 28×28 numbers, in 1 to 2 ms. Under
load a thread gets the interpreter 5 ms late, and what waits for one then waits for seconds."""
JSON_AT_ONCE_BYTES = 512 * 1024
"""JSON that is parsed in one call, which takes 5 ms; a larger body may have no longer row."""
MAX_JSON_LISTS = 200_000
"""Rows and images in a larger body. Lists of one number each take 20 times their JSON in memory."""
ROW = re.compile(rb"\[[^\[\]]{0,%d}+\]" % JSON_AT_ONCE_BYTES)
ROW_MARK = b'""'
DIGITS_AND_SPACE = b"0123456789 \t\r\n"
BRACKETS_AND_SPACE = b"[] \t\r\n"
MAX_PART_HEADER_BYTES = 4096
MAX_BOUNDARY_BYTES = 256
PARAMETER = re.compile(rb""";[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s;]*)""")
ESCAPED = re.compile(rb'\\(["\\])')


class Intake:
    """The bytes of all bodies that are being read or worked on, and how many there may be."""

    def __init__(self, max_held_bytes: int) -> None:
        self.max_held_bytes = max_held_bytes
        self.held_bytes = 0

    def has_room(self, count: int) -> bool:
        return self.held_bytes + count <= self.max_held_bytes

    def open(self) -> Hold:
        return Hold(self)


class Hold:
    """One request's share of the intake, given back when its context is left."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.held_bytes = 0

    def grow(self, count: int) -> None:
        """Raises QueueFull where there is no room for `count` bytes more."""
        if not self.intake.has_room(count):
            raise QueueFull("Too many bytes are being worked on; try again shortly.")
        self.intake.held_bytes += count
        self.held_bytes += count

    def release(self) -> None:
        self.intake.held_bytes -= self.held_bytes
        self.held_bytes = 0

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


async def read(request: Request, hold: Hold, *, max_body_bytes: int) -> bytes:
    """The request's whole body.

    Raises UnsupportedEncoding, BodyTooLarge (before the first byte where the length is declared,
    else at the limit), QueueFull, ClientGone.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("Send the body as it is, without Content-Encoding.")
    too_large = BodyTooLarge(f"A body has at most {max_body_bytes:,} bytes.")
    if int(request.headers.get("content-length", 0)) > max_body_bytes:
        raise too_large
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client went away before its body had arrived.")
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > max_body_bytes:
            raise too_large
        hold.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def parse(body: bytes, content_type: bytes, *, max_images: int, max_pixels: int) -> list[RawImage]:
    """The images in a body, at least one, in order.

    Raises UnsupportedContentType, MalformedBody, EmptyBatch, TooManyImages, BadPixels,
    ImageTooLarge.
    """
    kind, options = _header(content_type)
    images: list[RawImage]
    if kind == b"multipart/form-data":
        images = [*_multipart(body, options.get(b"boundary", b""), max_images)]
    elif kind == b"application/json":
        images = [*_json(body, max_images, max_pixels)]
    elif kind.startswith(b"image/"):
        images = [body] if body else []
    else:
        raise UnsupportedContentType(
            "Send multipart/form-data with a field `file`, an image with its image/… type, "
            "or application/json."
        )
    if not images:
        raise EmptyBatch(
            "Send at least one image: a multipart field `file`, the image itself as the body, "
            'or JSON {"image": …} or {"images": […]}.'
        )
    return images


def _multipart(body: bytes, boundary: bytes, max_images: int) -> list[bytes]:
    """The contents of the parts named `file` (RFC 7578)."""
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise MalformedBody(f"The content type names no boundary of up to {MAX_BOUNDARY_BYTES}.")
    files: list[bytes] = []
    for number, (head, content) in enumerate(_parts(body, boundary)):
        if number == MAX_PARTS:
            raise MalformedBody(f"A form has at most {MAX_PARTS:,} parts.")
        if _field_name(head) != b"file":
            continue
        if len(files) == max_images:
            raise TooManyImages(f"A request has at most {max_images:,} images.")
        files.append(body[content])
    return files


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, slice]]:
    """The headers of each part and where its content is (RFC 2046, section 5.1.1). What is before
    the first boundary and behind the last is nobody's.
    """
    edge = b"\r\n--" + boundary
    # The first needs no line break before it: that would be two bytes ahead of the body.
    first = -2 if body.startswith(edge[2:]) else body.find(edge, 0, MAX_PART_HEADER_BYTES)
    if first == -1:
        raise MalformedBody("The multipart body does not begin with its boundary.")
    at = first + len(edge)
    while not body.startswith(b"--", at):
        end = body.find(edge, at)
        if end < 0:
            raise MalformedBody("The multipart body ends before its last boundary.")
        blank_line = body.find(b"\r\n\r\n", at, min(end, at + MAX_PART_HEADER_BYTES))
        if blank_line < 0:
            raise MalformedBody("A part of the form has no headers that end, or too many.")
        yield body[at:blank_line], slice(blank_line + 4, end)
        at = end + len(edge)


@lru_cache(maxsize=64)
def _field_name(head: bytes) -> bytes | None:
    """The name that a part's headers give it: what is left of its boundary's line, then a line
    each. Kept, for whoever sends one form sends another like it."""
    padding, *lines = head.split(b"\r\n")
    if padding.strip(b" \t"):
        raise MalformedBody("The body is not the multipart it says it is.")
    name = None
    for line in lines:
        key, colon, value = line.partition(b":")
        if not colon:
            raise MalformedBody("A part of the form has a header that is none.")
        if key.strip().lower() == b"content-disposition":
            name = _header(value)[1].get(b"name")
    return name


def _header(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """A header's value and its parameters: `form-data; name="file"` (RFC 9110, section 5.6.6)."""
    main, _, _ = value.partition(b";")
    parameters = {}
    for name, text in PARAMETER.findall(value, len(main)):
        quoted = text[:1] == b'"'
        parameters[name.lower()] = ESCAPED.sub(rb"\1", text[1:-1]) if quoted else text
    return main.strip().lower(), parameters


def _json(body: bytes, max_images: int, max_pixels: int) -> list[Pixels]:
    regular = _regular(body) if len(body) <= JSON_AT_ONCE_BYTES else None
    if regular is not None and len(regular) <= max_images and regular[0].size <= max_pixels:
        return [*regular]
    try:
        document = _document(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" in body or b"Infinity" in body or "infinity" in str(error):
            raise BadPixels("Every pixel is a finite number.") from error
        raise MalformedBody("The body is not JSON in UTF-8.") from error
    # A boolean is an integer to Python; here is the one place where the two still differ.
    if b"true" in body or b"false" in body:
        raise BadPixels("Every pixel is a number.")
    if body.count(b'"') > 2:  # a second name, or the same once more, or a string for a number
        document = None
    match document:
        case {"image": value, **others} if not others:
            values = [value]
        case {"images": list(values), **others} if not others:
            pass
        case _:
            raise BadPixels('The document is {"image": rows} or {"images": [rows, …]}.')
    if len(values) > max_images:
        raise TooManyImages(f"A request has at most {max_images:,} images.")
    return [_pixels(value, index, max_pixels) for index, value in enumerate(values)]


def _regular(body: bytes) -> NDArray[np.uint8] | None:
    """`{"images": […]}` where all are rows of whole numbers and of one size, as uint8 [n,h,w]: read
    without an object for every number, in a third of the time. None where it is anything else,
    right or wrong.
    """
    start, end = body.find(b"["), body.rfind(b"]") + 1
    lists = body[start:end]
    marks = lists.translate(None, DIGITS_AND_SPACE)
    row = b"[%b]" % (b"," * (marks.find(b"]") - 3))
    image = marks[1 : marks.find(b"]]") + 2]
    height, width = len(image) // (len(row) + 1), len(row) - 1
    count = len(marks) // (len(image) + 1)
    if image != _list(row, height) or marks != _list(image, count):
        return None
    try:
        if orjson.loads(body[:start] + b"0" + body[end:]) != {"images": 0}:
            return None
    except ValueError:
        return None
    numbers = _bytes_in(lists)
    if numbers is None or len(numbers) != count * height * width:
        return None
    levels = numbers.reshape(count, height, width)
    scale = np.where(levels.reshape(count, -1).max(axis=1) > 1, 1, 255)
    return levels if scale.max() == 1 else levels * scale.astype(np.uint8)[:, None, None]


def _bytes_in(lists: bytes) -> NDArray[np.uint8] | None:
    """The numbers in digits, commas, brackets and space, where all are JSON's (RFC 8259) and at
    most 255, in a few passes over all bytes. One is read at its last digit, from that and the two
    bytes before it.
    """
    text = b",,,%b," % lists.translate(None, BRACKETS_AND_SPACE)
    digit = np.frombuffer(text, np.uint8) - np.uint8(48)
    is_digit = digit < 10
    digit *= is_digit
    fourth, third, second, here = (is_digit[at : at - 4] for at in range(4))
    hundreds, tens, ones = (digit[at : at - 4] for at in range(1, 4))
    has_zero_before = here & second & ~third & (tens == 0)
    if (has_zero_before | here & second & third & fourth).any():
        return None
    value = hundreds * second * np.uint16(100) + tens * np.uint16(10) + ones
    numbers = np.compress(here > is_digit[4:], value)
    in_lists = np.frombuffer(lists, np.uint8) - np.uint8(48) < 10
    if np.count_nonzero(in_lists[1:] > in_lists[:-1]) != len(numbers):  # space within a number
        return None
    return numbers.astype(np.uint8) if numbers.max(initial=0) <= 255 else None


def _list(item: bytes, count: int) -> bytes:
    return b"[%b]" % b",".join([item] * count)


def _document(body: bytes) -> Any:
    """As orjson.loads, row by row where the body is large: one call holds the interpreter until it
    is done, and 15 MB in one go kept every other request waiting for half a second. None where it
    is large and can't be `{"image": …}` nor `{"images": …}`.
    """
    if len(body) <= JSON_AT_ONCE_BYTES:
        return orjson.loads(body)
    # The two quotes are those of the one name there may be, so that no mark is the client's.
    if body.count(b'"') != 2:
        return orjson.loads(body) if len(body) <= 4 * JSON_AT_ONCE_BYTES else None
    if body.count(b"[") > MAX_JSON_LISTS:
        raise ImageTooLarge(f"A request has at most {MAX_JSON_LISTS:,} rows.")
    rows: list[Any] = []

    def set_aside(row: re.Match[bytes]) -> bytes:
        rows.append(orjson.loads(row[0]))
        return ROW_MARK

    rest = ROW.sub(set_aside, body)
    if len(rest) > 2 * JSON_AT_ONCE_BYTES:
        raise ImageTooLarge(f"A row has at most {JSON_AT_ONCE_BYTES:,} bytes of JSON.")
    document = orjson.loads(rest)
    taken = iter(rows)
    match document:
        case {"image": value}:
            return {**document, "image": _put_back(value, taken)}
        case {"images": list(values)}:
            return {**document, "images": [_put_back(value, taken) for value in values]}
    return document


def _put_back(value: Any, rows: Iterator[Any]) -> Any:
    if value == "":
        return next(rows)
    if type(value) is not list:
        return value
    return [next(rows) if row == "" else row for row in value]


def _pixels(value: Any, index: int, max_pixels: int) -> Pixels:
    """Nested rows, or 784 numbers, as uint8 [h,w]. 0–255, or 0–1 where no value exceeds 1."""
    rows = _rows(value, index)
    if len(rows) * len(rows[0]) > max_pixels:
        raise ImageTooLarge(f"Image {index} has more than {max_pixels:,} pixels.")
    try:  # whole numbers of the right range, far the fastest way
        data = b"".join(map(bytes, rows))
        levels = np.frombuffer(data, np.uint8).reshape(len(rows), -1)
        return levels if data.strip(b"\0\1") else levels * np.uint8(255)
    except (TypeError, ValueError):
        return _levels(rows, index)


def _rows(value: Any, index: int) -> list[list[Any]]:
    if type(value) is not list or not value:
        raise BadPixels(f"Image {index} is not rows of numbers.")
    if type(value[0]) is not list:
        if len(value) != FLAT_PIXELS:
            raise BadPixels(
                f"Image {index} has {len(value):,} numbers; a flat image has {FLAT_PIXELS}, "
                "another is given as rows."
            )
        return [value[start : start + 28] for start in range(0, FLAT_PIXELS, 28)]
    if set(map(type, value)) != {list} or len(set(map(len, value))) != 1 or not value[0]:
        raise BadPixels(f"Image {index} has rows of different lengths, or none.")
    rows: list[list[Any]] = value
    return rows


def _levels(rows: list[list[Any]], index: int) -> Pixels:
    try:
        numbers = np.stack([np.array(row) for row in rows])
    except (TypeError, ValueError, OverflowError) as error:
        raise BadPixels(f"Image {index} is not rows of numbers.") from error
    if numbers.ndim != 2 or numbers.dtype.kind not in "iuf":
        raise BadPixels(f"Image {index} is not rows of numbers.")
    if not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 255:
        raise BadPixels(f"Image {index} has a value that is not from 0 to 255.")
    levels: Pixels = np.rint(numbers * (255 if numbers.max() <= 1 else 1)).astype(np.uint8)
    return levels
