"""Fields cut out of a protobuf message before the rest of it is parsed.

Whatever thread parses a message holds the interpreter, and so the event loop, until it is through:
8 MiB of empty inputs take 0.2 s, of parameters 0.5 s. What may be large, files and tensors, is cut
out without being looked into, and the rest has few bytes.
Source: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import BodyTooLarge, MalformedBody

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
WIRE_TYPE_BITS = 3
MAX_VARINT_BYTES = 10
NOT_A_MESSAGE = "The message is not one of this protocol."


class Cut(NamedTuple):
    """A message without some of its fields, and those by their numbers."""

    rest: bytes
    fields: dict[int, list[memoryview]]


def cut(message: memoryview, *numbers: int, max_fields: int, max_rest_bytes: int) -> Cut:
    """Cut the fields of these numbers, which hold bytes or messages, out of a message.

    Args:
        message: As it was received.
        numbers: Of the fields.
        max_fields: Fields that the message may have.
        max_rest_bytes: Bytes that it may have without them.

    Raises:
        MalformedBody: it is no message.
        BodyTooLarge: it has more fields, or more bytes without them.
    """
    fields: dict[int, list[memoryview]] = {number: [] for number in numbers}
    kept: list[memoryview] = []
    at = rest_bytes = 0
    for _ in range(max_fields + 1):
        if at == len(message):
            return Cut(b"".join(kept), fields)
        start = at
        key, at = _varint(message, at)
        number, wire_type = key >> WIRE_TYPE_BITS, key & (2**WIRE_TYPE_BITS - 1)
        content, at = _content(message, at, wire_type)
        if wire_type == LENGTH_DELIMITED and number in fields:
            fields[number].append(message[content:at])
            continue
        kept.append(message[start:at])
        rest_bytes += at - start
        if rest_bytes > max_rest_bytes:
            raise BodyTooLarge(
                f"A message has at most {max_rest_bytes:,} bytes beside its tensors and files."
            )
    raise BodyTooLarge(f"A message, or a part of it, has at most {max_fields:,} fields.")


def _content(message: memoryview, at: int, wire_type: int) -> tuple[int, int]:
    """Where the content of a field begins and ends, of which its key ends at `at`."""
    if wire_type == LENGTH_DELIMITED:
        length, at = _varint(message, at)
        end = at + length
    elif wire_type == VARINT:
        end = _varint(message, at)[1]
    elif wire_type in FIXED_BYTES:
        end = at + FIXED_BYTES[wire_type]
    else:
        raise MalformedBody(NOT_A_MESSAGE)
    if end > len(message):
        raise MalformedBody(NOT_A_MESSAGE)
    return at, end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = 0
    for place, octet in enumerate(message[at : at + MAX_VARINT_BYTES]):
        value |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            return value, at + place + 1
    raise MalformedBody(NOT_A_MESSAGE)
