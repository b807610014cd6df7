"""How many pixels an AV1 image codes, read from its headers without decoding any.

A container may say another size, and decoders believe the headers: 64×64 pixels of an AVIF can be
16,384×16,384 to be decoded. Section numbers are those of the AV1 bitstream specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import BrokenImage, NotAnImage

SEQUENCE_HEADER = 1
FRAMES = (3, 6, 7)
"""Types of the units that begin a frame: its header, the whole of it, a repeated header."""
KEY_FRAME, SWITCH_FRAME = 0, 3
SELECT = 2
"""The choice is each frame's."""


class Bits:
    """Reads a unit's bits, the highest first; behind its end there are none."""

    def __init__(self, data: bytes) -> None:
        self.left = 8 * len(data)
        self.number = int.from_bytes(data)

    def read(self, count: int) -> int:
        """Return the next `count` bits as a number."""
        self.left -= count
        if self.left < 0:
            raise BrokenImage("The AVIF is truncated.")
        return self.number >> self.left & (1 << count) - 1

    def flag(self) -> bool:
        """Return whether the next bit is set."""
        return bool(self.read(1))

    def skip_uvlc(self) -> None:
        """Skip a number of variable length (4.10.3)."""
        zeros = 0
        while not self.flag():
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


HEADER_BYTES = 64
"""More than what is read of any unit: a sequence header has 12 bytes, with 32 operating points 500,
which no still image has."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """What a sequence header says of the frames behind it (5.5.1).

    Attributes:
        pixels: Of a frame, at most.
        is_reduced: Whether it is that of a still picture, whose frame is of this size.
        time_bits: Bits of a shown frame's time.
        id_bits: Bits of a frame's number.
        screen_tools: 0, 1 or `SELECT`.
        whole_vectors: 0, 1 or `SELECT`.
    """

    pixels: int
    is_reduced: bool
    time_bits: int = 0
    id_bits: int = 0
    screen_tools: int = SELECT
    whole_vectors: int = SELECT


def units(data: bytes) -> Iterator[int]:
    """Walk along an image's units: of each, the pixels of the frame that it begins, else 0.

    Raises:
        BrokenImage: It ends early, or has a frame before its header.
        NotAnImage: A frame has a size of its own.
    """
    at = 0
    sequence: Sequence | None = None
    while at < len(data):
        kind, begin, at = _unit(data, at)
        bits = Bits(data[begin : min(at, begin + HEADER_BYTES)])
        pixels = 0
        if kind == SEQUENCE_HEADER:
            sequence = _sequence(bits)
        elif kind in FRAMES:
            if sequence is None:
                raise BrokenImage("The AVIF has a frame before its header.")
            _check_frame(bits, sequence)
            pixels = sequence.pixels
        yield pixels


def _unit(data: bytes, at: int) -> tuple[int, int, int]:
    """Return a unit's type, where its content begins and where it ends (5.3.1)."""
    head = data[at]
    at += 2 if head & 4 else 1
    length, end = 0, len(data)
    if head & 2:
        for shift in range(0, 56, 7):
            byte, at = data[at], at + 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        end = at + length
    if end > len(data):
        raise BrokenImage("The AVIF is truncated.")
    return head >> 3 & 15, at, end


def _sequence(bits: Bits) -> Sequence:
    bits.read(4)  # profile, whether it is a still picture
    is_reduced = bits.flag()
    time_bits = 0
    if is_reduced:
        bits.read(5)
    else:
        time_bits = _timing(bits)
    sides = [1 + bits.read(4), 1 + bits.read(4)]
    width, height = (1 + bits.read(side) for side in sides)
    if is_reduced:
        return Sequence(width * height, is_reduced)
    id_bits = 0
    if bits.flag():
        id_bits = bits.read(4) + 2
        id_bits += bits.read(3) + 1
    bits.read(7)  # size of blocks, tools of intra and inter prediction
    if bits.flag():
        bits.read(2)
    screen_tools = SELECT if bits.flag() else bits.read(1)
    whole_vectors = SELECT
    if screen_tools and not bits.flag():
        whole_vectors = bits.read(1)
    return Sequence(width * height, is_reduced, time_bits, id_bits, screen_tools, whole_vectors)


def _timing(bits: Bits) -> int:
    """Read up to the operating points' end; returns the bits of a shown frame's time."""
    delay_bits = time_bits = 0
    if bits.flag():
        bits.read(64)
        is_regular = bits.flag()
        if is_regular:
            bits.skip_uvlc()
        if bits.flag():
            delay_bits = 1 + bits.read(5)
            bits.read(37)
            frame_time_bits = 1 + bits.read(5)
            time_bits = 0 if is_regular else frame_time_bits
    has_display_delay = bits.flag()
    for _ in range(1 + bits.read(5)):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.flag():
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.flag():
            bits.read(4)
    return time_bits


def _check_frame(bits: Bits, sequence: Sequence) -> None:
    """Read a frame's header up to the flag of a size of its own, which it may not have (5.9.2)."""
    if sequence.is_reduced or bits.flag():  # of the sequence's size, or one that is there already
        return
    kind, is_shown = bits.read(2), bits.flag()
    bits.read(sequence.time_bits if is_shown else 1)
    if kind != SWITCH_FRAME and not (kind == KEY_FRAME and is_shown):
        bits.read(1)
    bits.read(1)
    screen_tools = bits.read(1) if sequence.screen_tools == SELECT else sequence.screen_tools
    if screen_tools and sequence.whole_vectors == SELECT:
        bits.read(1)
    bits.read(sequence.id_bits)
    if kind == SWITCH_FRAME or bits.flag():
        raise NotAnImage(
            "The bytes are an AVIF with a picture in several sizes, which is not read; save it as "
            "JPEG, WebP or PNG."
        )
