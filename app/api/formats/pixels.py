"""JSON: `{"image": A}` or `{"images": [A, …]}`, where A is rows of numbers, or an image as text."""

from __future__ import annotations

import re
import threading
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ...errors import BadPixels, BodyTooLarge, MalformedBody, TooManyImages
from ...serving.predictor import RawImage
from ...vision.normalize import SIDE
from . import image

Gray = NDArray[np.uint8]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_NUMBERS, MAX_LISTS, MAX_STRINGS = 400_000, 20_000, 2_000
"""Values in a document. Whichever thread parses it, it holds the interpreter, and so the event
loop: for some 10 ms at these limits. 256 images of 28×28 have 200,704 numbers and 7,424 lists."""
BEGINNINGS = b"{[\"'-0123456789tfn \t\r\n"
"""Bytes that a JSON document begins with, or what is meant to be one; no image file does."""
VALUE_BYTES = 88
"""Memory of a number and its share of a list at most, while orjson or NumPy read them."""
MAX_AXES = 6
"""Lists in lists that are looked through for an image: the rest of its axes have length 1."""
KEYS = 'The document is {"image": rows} or {"images": [rows, …]}.'

_parsing = threading.Lock()
"""Held while a document is parsed: the loop waits for the interpreter after one, not after many."""


def working_bytes(length: int) -> int:
    """Memory that a document of `length` bytes may take beside itself, once it is parsed."""
    return 2 * length + min(length, MAX_NUMBERS) * VALUE_BYTES


def parse(body: bytes, parameters: dict[bytes, bytes], max_images: int) -> list[RawImage]:
    """The images in a document, in order.

    Raises:
        BodyTooLarge: it has more values than are parsed.
        MalformedBody: it is no JSON.
        BadPixels: it is another document, or an image of it is none.
        TooManyImages: there are more than `max_images`.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    document = _load(body)
    match document:
        case {"image": value, **others} if not others:
            values = [value]
        case {"images": [int() | float(), *_]}:
            raise BadPixels("`images` is a list of images; a single image goes into `image`.")
        case {"images": list(values), **others} if not others:
            pass
        case dict():
            raise BadPixels(
                f"{KEYS} It has other keys, or none of these; options are query parameters."
            )
        case _:
            raise BadPixels(f"{KEYS} It is no object.")
    if len(values) > max_images:
        raise TooManyImages(f"A request has at most {max_images:,} images; send several requests.")
    # Python takes a Boolean for an integer, so look for them where the text may have any.
    has_booleans = b"u" in body or b"l" in body
    return [_image(value, index, has_booleans) for index, value in enumerate(values)]


def _load(body: bytes) -> Any:
    octets = np.frombuffer(body, np.uint8)
    for count, limit, values in (
        (_count(octets, b","), MAX_NUMBERS, "numbers"),
        (_count(octets, b"[{"), MAX_LISTS, "rows"),
        (_count(octets, b'"') // 2, MAX_STRINGS, "strings"),
    ):
        if count > limit:
            raise BodyTooLarge(
                f"A JSON body has at most {limit:,} {values}. Send the image as a PNG or JPEG."
            )
    if body[:1] not in BEGINNINGS:
        raise MalformedBody(
            "The body is not JSON. If it is an image, send it with its own type, such as "
            "Content-Type: image/png."
        )
    if not body.isascii():  # nothing that is read has other characters, and they cost more
        raise MalformedBody("The body is not JSON in ASCII.")
    try:
        with _parsing:
            return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if re.search(rb"\b(NaN|-?Infinity)\b", body) or "infinity" in str(error):
            raise BadPixels("Every pixel is a finite number.") from None
        if not body.strip():
            raise MalformedBody(f"The body is empty. {KEYS}") from None
        raise MalformedBody("The body is not JSON.") from None


def _count(octets: Gray, marks: bytes) -> int:
    """How often any of `marks` occurs; NumPy takes a tenth of the time of bytes.count."""
    return sum(int(np.count_nonzero(octets == mark)) for mark in marks)


def _image(value: Any, index: int, has_booleans: bool) -> RawImage:
    if isinstance(value, str):
        return image.decode_text(value.encode("utf-8", "replace"), index)
    if not isinstance(value, list):
        raise BadPixels(
            f"Image {index} is neither rows of numbers nor text. Give rows, 784 numbers, or an "
            "encoded image in base64."
        )
    levels = None if has_booleans else _whole_levels(value)
    if levels is None:
        return _levels(value, index)
    return levels if levels.max() > 1 else levels * np.uint8(255)


def _whole_levels(value: list[Any]) -> Gray | None:
    """Rows, or 784 numbers, as uint8 [h,w], where all are whole and from 0 to 255.

    None where anything is different, right or wrong. It takes a sixth of NumPy's time.
    """
    try:
        if value and type(value[0]) is not list:
            flat = np.frombuffer(bytes(value), np.uint8)
            return flat.reshape(SIDE, SIDE) if flat.size == SIDE * SIDE else None
        width, *others = set(map(len, value))
        if others or not width:
            return None
        if width * len(value) == SIDE * SIDE != width**2:  # flat, with an axis of length 1
            return None
        levels = bytes(chain.from_iterable(value))
        return np.frombuffer(levels, np.uint8).reshape(len(value), width)
    except (TypeError, ValueError):
        return None


def _levels(value: list[Any], index: int) -> Gray:
    """Nested lists of numbers as uint8 [h,w]. 0–255, or 0–1 where no value exceeds 1."""
    numbers = _numbers(value, index)
    height, width = _height_and_width(numbers.shape, index)
    if not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 255:
        raise BadPixels(
            f"Image {index} has a value that is not from 0 to 255. Scale it to 0–255 or 0–1."
        )
    if numbers.max() <= 1:
        numbers = numbers * 255
    levels: Gray = np.rint(numbers).astype(np.uint8).reshape(height, width)
    return levels


def _numbers(value: list[Any], index: int) -> NDArray[np.float64]:
    """Nested lists, looked through level by level, as an array of as many axes."""
    bad = BadPixels(f"Image {index} has rows of different lengths, or values that are no numbers.")
    rows: list[Any] = [value]
    shape: list[int] = []
    while len(shape) < MAX_AXES:
        lengths = {len(row) for row in rows}
        if len(lengths) > 1 or 0 in lengths:
            raise bad
        shape += lengths
        # Row by row: one call for all would hold the interpreter for as long as it takes.
        kinds = {kind for row in rows for kind in set(map(type, row))}
        if kinds <= {int, float}:
            return np.array([np.array(row, np.float64) for row in rows]).reshape(shape)
        if kinds != {list}:
            raise bad
        rows = [*chain.from_iterable(rows)]
    raise BadPixels(f"Image {index} has lists in lists, {MAX_AXES} deep; an image is rows.")


def _height_and_width(shape: tuple[int, ...], index: int) -> tuple[int, int]:
    """Height and width that an array of this shape stands for, without its axes of length 1."""
    axes = [length for length in shape if length > 1]
    if len(axes) == 1 and axes[0] == SIDE * SIDE:
        return SIDE, SIDE
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(axes) == 2:
        return axes[0], axes[1]
    size = "×".join(map(str, shape))
    if len(shape) == 3 and shape[2] in (2, 3, 4):
        raise BadPixels(f"Image {index} is {size}, which looks like color. Send it as a PNG.")
    if len(shape) == 1:
        raise BadPixels(
            f"Image {index} has {shape[0]:,} numbers; a flat image has {SIDE * SIDE}, another is "
            "given as rows. A single image goes into `image`, a list of images into `images`."
        )
    raise BadPixels(
        f"Image {index} is {size}; an image is rows of numbers. Send several images in `images`."
    )
