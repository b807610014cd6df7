"""PNG files: their chunks, checked, and the pixels of plain ones, read faster than by Pillow.

Plain are rows of 8-bit gray, RGB or RGBA with no palette, profile or interlacing, as canvases and
most libraries write them. libdeflate inflates them in a tenth of zlib's time, and most hold no
more than one plane: gray levels, also where they are written as equal red, green and blue, or the
opacity of black ink. Only that plane's filters are undone (W3C, Portable Network Graphics,
chapters 9 and 11).
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import cv2
import deflate
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BrokenImage

Plane = NDArray[np.uint8]
Words = NDArray[np.uint32]
"""Pixels of red, green, blue and opacity, [h,w]."""
Chunks = list[tuple[bytes, bytes]]

MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD, SIZE = struct.Struct(">I4s"), struct.Struct(">II")
KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"}
END = b"\0\0\0\0IEND\xae\x42\x60\x82"
PLAIN = {bytes((8, kind, 0, 0, 0)): mode for kind, mode in ((0, "L"), (2, "RGB"), (6, "RGBA"))}
"""By the header's bytes behind the size: eight bits, the kind of colour, no interlacing."""
FREE_CHUNKS, BYTES_PER_CHUNK = 256, 64
"""A file may have so many chunks, and one more for every so many bytes: the walk along them costs
time by the byte, whatever they hold."""
PLAIN_PIXELS = 2**20
"""Larger pictures are Pillow's: a running sum over all pixels is to stay within 32 bits, and the
filtered rows are held beside the picture."""
FEW_PIXELS = 2**12
"""Up to this many pixels NumPy has summed a plane's rows before OpenCV is called."""
WORD = np.dtype("<u4")
RED, EACH_COLOUR, COLOURS = np.array((0xFF, 0x010101, 0xFFFFFF), WORD)
OPAQUE, HALF_OPAQUE = np.array((0xFF000000, 0x80000000), WORD)
ALPHA_SHIFT = 24
NONE, SUB, UP, AVERAGE, PAETH = range(5)
"""Filters of rows: as they are, less the pixel to the left, less the pixel above, and so on."""


class Plain(NamedTuple):
    """A PNG whose rows are bytes of gray, RGB or RGBA, not interlaced.

    Attributes:
        mode: Pillow's name for the channels: L, RGB or RGBA.
        width: In pixels.
        height: In pixels.
        deflated: The filtered rows, compressed.
    """

    mode: str
    width: int
    height: int
    deflated: bytes


def chunks_of(data: bytes) -> Chunks:
    """Return names and bytes of a PNG's chunks, without animation, texts and profiles.

    Pillow would inflate compressed texts and walk through 10,000 frames for what is thrown away,
    and it does not look at the checksums of the pixels.

    Raises:
        BrokenImage: a checksum is wrong, the end is missing, or the pixels are not complete within
            the number of chunks that a file of this length may have.
    """
    kept = []
    at, size = len(MAGIC), len(data)
    for _ in range(FREE_CHUNKS + size // BYTES_PER_CHUNK):
        if at + 12 > size:
            break
        length, name = HEAD.unpack_from(data, at)
        end = at + 12 + length
        if end > size:
            break
        if name in KEPT:
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
                raise BrokenImage("A checksum of the PNG does not match.")
            kept.append((name, data[at:end]))
        if name == b"IEND":
            return kept
        at = end
    else:
        complete = name != b"IDAT" and any(one == b"IDAT" for one, _ in kept)
        if complete and data.find(END, at) >= 0:
            return [*kept, (b"IEND", END)]  # what is left are an animation's other frames
        raise BrokenImage("The PNG has more chunks than its length explains.")
    raise BrokenImage("The PNG is truncated.")


def plain(chunks: Chunks) -> Plain | None:
    """Return the picture if it is plain, else None.

    Raises:
        BrokenImage: it has no pixels.
    """
    header = chunks[0][1]
    mode = PLAIN.get(header[16:21])
    if mode is None or len(header) != 25 or chunks[0][0] != b"IHDR":
        return None
    pixels = chunks[1:-1]
    for name, _ in pixels:
        if name != b"IDAT":
            return None
    width, height = SIZE.unpack_from(header, 8)
    if not width * height:
        raise BrokenImage("The PNG has no pixels.")
    return Plain(mode, width, height, b"".join([chunk[8:-4] for _, chunk in pixels]))


def read(picture: Plain) -> tuple[str, Plane] | Image.Image:
    """Decode a plain picture.

    Returns:
        Its one plane [h,w] with Pillow's mode for it: "L" of gray levels, or "A" of the opacity of
        black ink. Of any other, Pillow's image.
    """
    mode, width, height, deflated = picture
    stride = 1 + width * len(mode)
    rows = _inflated(deflated, height * stride) if width * height <= PLAIN_PIXELS else None
    if rows is None:  # large, or damaged: how much of it can be shown is for Pillow to say
        return _by_pillow(mode, width, height, deflated)
    filters = rows[::stride]
    filtered = np.frombuffer(rows, np.uint8).reshape(height, stride)[:, 1:]
    if mode == "L":
        if _is_simple(filters):
            return mode, _unfiltered(filtered, filters)
        return mode, np.asarray(_by_pillow(mode, width, height, deflated))
    found = _one_plane(filtered, filters, mode) if max(filters) <= PAETH else None
    if found is None:
        return _by_pillow(mode, width, height, zlib.compress(rows, 0))
    content, plane = found
    return content, _unfiltered(plane, filters)


def _by_pillow(mode: str, width: int, height: int, deflated: bytes) -> Image.Image:
    """Without Pillow's file around it, which takes as long as 28×28 pixels."""
    return Image.frombytes(mode, (width, height), deflated, "zip", mode)


def _inflated(deflated: bytes, size: int) -> bytearray | None:
    """The filtered rows, or None where the stream is damaged or has another length."""
    try:
        rows: bytearray = deflate.zlib_decompress(deflated, size)
    except deflate.DeflateError:
        return None
    return rows if len(rows) == size else None


def _is_simple(filters: bytearray) -> bool:
    """Whether all rows have the same filter, and one that needs no pixel but one to undo."""
    return filters[0] <= UP and filters.count(filters[0]) == len(filters)


def _one_plane(filtered: Plane, filters: bytearray, mode: str) -> tuple[str, Plane] | None:
    """The one plane that the filtered rows [h, w·channels] hold, still filtered.

    Channels are filtered alike and apart from each other: where they are equal before, or zero,
    they are so after.
    """
    height, width = len(filters), filtered.shape[1] // len(mode)
    pixels = np.ascontiguousarray(filtered).reshape(height, width, len(mode))
    if mode == "RGB":
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA), np.uint8)
    words = pixels.view(WORD)[..., 0]  # a pixel each: a plane cut from them takes thrice the time
    if mode == "RGBA" and not np.bitwise_or.reduce(words, axis=None) & COLOURS:
        return "A", (words >> ALPHA_SHIFT).astype(np.uint8)
    gray = words & RED
    gray *= EACH_COLOUR
    if mode == "RGB":
        gray |= OPAQUE
    else:
        _add_filtered_opaque(gray, filters)
    return ("L", words.astype(np.uint8)) if np.array_equal(words, gray) else None


def _add_filtered_opaque(words: Words, filters: bytearray) -> None:
    """Give the pixels [h,w] the opacity of 255 as rows of these filters hold it."""
    kinds = np.frombuffer(filters, np.uint8)
    # Behind the first pixel and row, every filter but NONE predicts 255 from 255.
    words[kinds == NONE] |= OPAQUE
    words[kinds == SUB, 0] |= OPAQUE
    words[kinds == AVERAGE, 0] |= HALF_OPAQUE
    first = words[0]
    if kinds[0] == UP:
        first |= OPAQUE
    elif kinds[0] == AVERAGE:
        first[1:] |= HALF_OPAQUE
    if kinds[0] >= AVERAGE:
        first[0] |= OPAQUE


def _unfiltered(steps: Plane, filters: bytearray) -> Plane:
    """The pixels [h,w] of rows filtered as `filters` says."""
    if not _is_simple(filters):
        height, width = steps.shape
        rows = np.empty((height, 1 + width), np.uint8)
        rows[:, 0] = filters
        rows[:, 1:] = steps
        return np.asarray(_by_pillow("L", width, height, zlib.compress(rows.tobytes(), 0)))
    kind = filters[0]
    if kind == SUB:
        return _summed_along_rows(steps)
    return np.add.accumulate(steps, axis=0, dtype=np.uint8) if kind == UP else steps


def _summed_along_rows(steps: Plane) -> Plane:
    """Undo SUB: prefix sums of each row [h,w], modulo 256.

    Larger planes take one prefix sum over all pixels, which OpenCV is quick at, minus the sum at
    the end of the row before.
    """
    if steps.size <= FEW_PIXELS:
        return np.add.accumulate(steps, axis=1, dtype=np.uint8)
    width = steps.shape[1]
    sums = np.asarray(cv2.integral(steps.reshape(1, -1))[1]).astype(np.uint8)
    return sums[1:].reshape(steps.shape) - sums[:-1:width].reshape(-1, 1)
