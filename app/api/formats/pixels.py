"""JSON: `{"image": A}` or `{"images": [A, …]}`, where A is rows of numbers, or an image as text."""

from __future__ import annotations

import codecs
import math
import operator
import re
import threading
from collections.abc import Sequence
from itertools import accumulate, chain, repeat
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray
from simdjson import Array, Object

from ...errors import BadPixels, BodyTooLarge, MalformedBody, PayloadError, TooManyImages
from ...serving.predictor import RawImage, RawImages
from ...vision.digit import SIDE
from . import image

Gray = NDArray[np.uint8]
Images = NDArray[np.uint8]
Numbers = NDArray[np.uint64] | NDArray[np.float64]

ASCII_END = 0x7F
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WIDE_MARKS = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
"""Begin a text in UTF-16, or in UTF-32."""
MAX_NUMBERS, MAX_LISTS, MAX_STRINGS = 400_000, 20_000, 2_000
"""Values in a document. Whichever thread parses it, it holds the interpreter, and so the event
loop: for some 5 ms at these limits. 256 images of 28×28 have 200,704 numbers and 7,424 lists."""
MAX_WIDE_BYTES = 2**16
"""Bytes of the strings that have characters beside ASCII, together: Python takes up to four bytes
for each character of these, and 20 ms for 8 MiB. Names and remarks have them; no image has."""
BEGINNINGS = b"{[\"'-0123456789tfn \t\r\n"
"""Bytes that a JSON document begins with, or what is meant to be one; no image file does."""
COPIES = 5
"""Memory for a document's text at most, in its length: simdjson's copies, Python's, the file's."""
VALUE_BYTES = 48
"""Memory of a number at most: three words in simdjson, three more in NumPy as it is scaled."""
MAX_AXES = 6
"""Lists in lists that are looked through for an image: the rest of its axes have length 1."""
KEYS = 'The document is {"image": rows} or {"images": [rows, …]}.'
NO_NUMBER = re.compile(rb"\b(?:NaN|Infinity)\b|[1-9][0-9]{18}|[0-9][eE]\+?0*[1-9][0-9]{2}")
"""A word for a number that JSON has not, or a number that no type holds."""
FAULTS = {
    "DEPTH_ERROR": "The body has lists or objects in one another, more than 1,024 deep.",
    "STRING_ERROR": "A string in the body has an escape that stands for no character.",
    "UTF8_ERROR": "The body is not in UTF-8 (RFC 8259, section 8.1).",
}
"""Faults of a document, by simdjson's names; of others it is said that it is no JSON."""
SEARCHED_BYTES, OVERLAP_BYTES = 2**16, 64
"""Bytes that are searched for it in one call, which holds the interpreter for less than a
millisecond, and those of them that the next call looks at again."""

SIXTEENTHS_SHAPE = (8, 8)
"""Of images whose levels are 0–16 where no value exceeds that: scikit-learn's and UCI's digits. As
levels to 255 they would be nearly black."""

_parsing = threading.Lock()
"""Held while a document is parsed: the loop waits for the interpreter after one, not after many."""


def working_bytes(length: int) -> int:
    """Memory that a document of `length` bytes may take beside itself, once it is parsed."""
    return COPIES * length + min(length, MAX_NUMBERS) * VALUE_BYTES


def parse(body: bytes, parameters: dict[bytes, bytes], max_images: int) -> RawImages:
    """The images in a document, in order.

    Raises:
        BodyTooLarge: it has more values than are parsed.
        MalformedBody: it is no JSON.
        BadPixels: it is another document, or an image of it is none.
        TooManyImages: there are more than `max_images`.
    """
    if not body or body.isspace():
        raise MalformedBody(f"The body is empty. {KEYS}")
    document, lists = load(body)
    values = _values(document)
    if len(values) > max_images:
        raise TooManyImages(f"A request has at most {max_images:,} images; send several requests.")
    return to_images(values, lists - isinstance(values, Array))


def load(body: bytes) -> tuple[Any, int]:
    """Parse the document in `body`, within the limits on its values.

    Returns:
        The document, in which lists are `simdjson.Array` and objects `simdjson.Object`; and how
        many lists begin in it.

    Raises:
        BodyTooLarge: it has more values than are parsed.
        MalformedBody: it is no JSON.
        BadPixels: a number of it is none, or too large for any type.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    octets = np.frombuffer(body, np.uint8)
    lists = _check_counts(octets)
    if body.startswith(WIDE_MARKS):
        raise MalformedBody("The body is in UTF-16. Send JSON in UTF-8 (RFC 8259, section 8.1).")
    if body[:1] not in BEGINNINGS:
        raise MalformedBody(
            "The body is not JSON. If it is an image, send it to /predict with its own type, such "
            "as Content-Type: image/png; in JSON, an image is its file in base64."
        )
    if not body.isascii():
        _check_wide_strings(octets)
    try:
        with _parsing:
            return simdjson.Parser().parse(body), lists
    except (ValueError, RuntimeError) as error:  # for some faults this, for some that
        if _has_no_number(body):
            raise BadPixels("A number is not finite, or larger than any type holds.") from None
        said = (text for fault, text in FAULTS.items() if fault in str(error))
        raise MalformedBody(next(said, "The body is not JSON.")) from None


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of an object of a document, their values as they are; none of what is no object.

    To ask simdjson for a field that is not there takes 15 µs, an exception of C++.
    """
    if isinstance(value, Object):
        return {name: value[name] for name in value}
    return value if isinstance(value, dict) else {}


def members_of(document: Any, expected: str, refuse: type[PayloadError]) -> dict[str, Any]:
    """The fields of a document that is an object, each of which it has once.

    Args:
        document: As `load` gives it.
        expected: What it should be, for the error.
        refuse: The error that says that it is something else.

    Raises:
        PayloadError: `refuse`.
    """
    if not isinstance(document, Object):
        raise refuse(f"{expected} It is no object.")
    names = [*document]
    if len({*names}) < len(names):
        raise refuse(f"{expected} It has a key twice.")
    return {name: document[name] for name in names}


def _has_no_number(body: bytes) -> bool:
    ends = range(SEARCHED_BYTES, len(body) + SEARCHED_BYTES, SEARCHED_BYTES)
    starts = (max(0, end - SEARCHED_BYTES - OVERLAP_BYTES) for end in ends)
    return any(map(NO_NUMBER.search, repeat(body), starts, ends))


def to_images(values: Array | Sequence[Any], lists: int) -> RawImages:
    """The images that values of a document stand for: rows, 784 numbers, or text.

    Args:
        values: As `load` gives them.
        lists: How many lists there are in them, if no number stands in one too many.

    Returns:
        An array [n,h,w] where all are lists of one shape, which are read at once.

    Raises:
        BadPixels: one of them stands for no image.
    """
    images, left = _together(values, lists) or _one_by_one(values, lists)
    if left:
        _check_leaves(values)
    return images


def _together(values: Array | Sequence[Any], lists: int) -> tuple[RawImages, int] | None:
    """The images, and lists left over; None where they are not of one shape, or one is none."""
    if not len(values) or any(isinstance(value, str) for value in values):
        return None
    try:
        images, shape = _arrays([*values], 0)
    except BadPixels:  # of which image, is found one by one
        return None
    return images, lists + 1 - _lists_in(shape)


def _one_by_one(values: Array | Sequence[Any], lists: int) -> tuple[RawImages, int]:
    """The images, and lists left over."""
    images: list[RawImage] = []
    for index, value in enumerate(values):
        if isinstance(value, str):
            images.append(image.decode_text(value, index))
            continue
        array, shape = _arrays([value], index)
        lists += 1 - _lists_in(shape)
        images.append(array[0])
    return images, lists


def _arrays(values: list[Any], index: int) -> tuple[Images, list[int]]:
    """Lists of one shape as images [n,h,w], the first of which is at `index`; and their shape."""
    shape = _shape(values, index)
    count = math.prod(shape[1:])
    each = [flat(value, count, index) for value in values]
    height, width = _height_and_width(shape[1:], index)
    numbers = each[0] if len(each) == 1 else np.concatenate(each)
    return to_levels(numbers.reshape(len(values), height, width), index), shape


def _check_counts(octets: Gray) -> int:
    """Refuse a document of too many values; return how many lists begin in it."""
    lists = _count(octets, b"[")
    for count, limit, values in (
        (_count(octets, b","), MAX_NUMBERS, "numbers"),
        (lists + _count(octets, b"{"), MAX_LISTS, "rows"),
        (_count(octets, b'"') // 2, MAX_STRINGS, "strings"),
    ):
        if count > limit:
            raise BodyTooLarge(
                f"A JSON body has at most {limit:,} {values}. Send the image as a PNG or JPEG."
            )
    return lists


def _check_wide_strings(octets: Gray) -> None:
    """Refuse a document whose strings with characters beside ASCII are long.

    A quote behind a backslash is taken for no end of a string: what is measured is never too short.
    """
    is_wide = octets > ASCII_END
    size = int(np.count_nonzero(is_wide))
    if size <= MAX_WIDE_BYTES:
        quotes = np.flatnonzero((octets[1:] == ord('"')) & (octets[:-1] != ord("\\"))) + 1
        ends = np.concatenate([[0], quotes, [len(octets)]])
        strings = np.unique(np.searchsorted(ends, np.flatnonzero(is_wide)))
        size = int(np.sum(ends[strings] - ends[strings - 1]))
    if size > MAX_WIDE_BYTES:
        raise BodyTooLarge(
            "The strings of a JSON body that have characters beside ASCII have at most "
            f"{MAX_WIDE_BYTES:,} bytes together. Base64 is in ASCII."
        )


def _count(octets: Gray, mark: bytes) -> int:
    """How often `mark` occurs; NumPy takes a tenth of the time of bytes.count."""
    return int(np.count_nonzero(octets == ord(mark)))


def _values(document: Any) -> Array | list[Any]:
    """What stands for the images in a document."""
    fields = members_of(document, KEYS, BadPixels)
    if fields.keys() == {"image"}:
        return [fields["image"]]
    if fields.keys() != {"images"}:
        raise BadPixels(
            f"{KEYS} It has other keys, or none of these; options are query parameters."
        )
    values = fields["images"]
    if not isinstance(values, Array) or (len(values) and isinstance(values[0], int | float)):
        raise BadPixels("`images` is a list of images; a single image goes into `image`.")
    return values


def _shape(values: list[Any], index: int) -> list[int]:
    """The shape of lists of numbers in lists, looked through level by level."""
    if not all(isinstance(value, Array) for value in values):
        raise BadPixels(
            f"Image {index} is neither rows of numbers nor text. Give rows, 784 numbers, or an "
            "encoded image in base64."
        )
    rows = values
    shape = [len(values)]
    while len(shape) <= MAX_AXES:
        lengths = {*map(len, rows)}
        if len(lengths) > 1 or 0 in lengths:
            raise _uneven(index)
        shape += lengths
        if not isinstance(rows[0][0], Array):
            return shape
        rows = [*chain.from_iterable(rows)]
        if {*map(type, rows)} != {Array}:
            raise _uneven(index)
    raise BadPixels(f"Image {index} has lists in lists, {MAX_AXES} deep; an image is rows.")


def flat(value: Array, count: int, index: int) -> Numbers:
    """All `count` numbers in `value`, as whole ones where all are.

    Raises:
        BadPixels: there are more or fewer, or something else.
    """
    try:
        numbers: Numbers = np.frombuffer(value.as_buffer(of_type="u"), np.uint64)
    except (TypeError, ValueError):
        try:
            numbers = np.frombuffer(value.as_buffer(of_type="d"), np.float64)
        except (TypeError, ValueError):
            raise _uneven(index) from None
    if numbers.size != count:
        raise _uneven(index)
    return numbers


def _lists_in(shape: list[int]) -> int:
    """How many lists an array of this shape is written with."""
    return sum(accumulate(shape[:-1], operator.mul, initial=1))


def _check_leaves(values: Array | Sequence[Any]) -> None:
    """Refuse numbers with lists among them, which simdjson takes for their own numbers."""
    for index, value in enumerate(values):
        rows = [value]
        while isinstance(rows[0], Array) and isinstance(rows[0][0], Array):
            rows = [inner for row in rows for inner in row]
        if any(isinstance(item, Array) for row in rows if isinstance(row, Array) for item in row):
            raise _uneven(index)


def _uneven(index: int) -> BadPixels:
    return BadPixels(
        f"Image {index} has rows of different lengths, or values that are no numbers, such as "
        "true, or no rows."
    )


def to_levels(numbers: NDArray[Any], index: int) -> Gray:
    """Numbers [h,w] or [n,h,w] as gray levels.

    They are 0–255; 0–1 where none of an image exceeds 1; 0–16 where none of 8×8 exceeds 16.

    Args:
        numbers: Of an image, or of several.
        index: Of the image, or the first of them.

    Raises:
        BadPixels: a number is not finite or out of range.
    """
    rows, kind = numbers.reshape(*numbers.shape[:-2], -1), numbers.dtype.kind
    highest = np.maximum.reduce(rows, axis=-1)  # `max` goes through Python
    if numbers.dtype != np.uint8:
        fits = highest <= 255
        if kind != "u":
            fits &= rows.min(axis=-1) >= 0
        if not fits.all():
            raise BadPixels(
                f"Image {index + int(np.argmin(fits))} has a value that is not from 0 to 255. "
                "Scale it to 0–255 or 0–1."
            )
    are_shares = highest <= 1
    if are_shares.any():
        numbers = np.where(are_shares[..., None, None], numbers * 255, numbers)
    if numbers.shape[-2:] == SIXTEENTHS_SHAPE:
        are_sixteenths = ~are_shares & (highest <= 16)
        numbers = np.where(are_sixteenths[..., None, None], numbers * (255 / 16), numbers)
    if numbers.dtype.kind == "f":
        numbers = np.rint(numbers)
    return numbers.astype(np.uint8, copy=False)


def _height_and_width(shape: list[int], index: int) -> tuple[int, int]:
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
            "given as rows. In a list of images, the rows of each are a list of their own."
        )
    raise BadPixels(
        f"Image {index} is {size}; an image is rows of numbers. Several images are a list."
    )
