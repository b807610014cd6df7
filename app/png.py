"""PNG files: their chunks, checked, and the pixels of those that are one plane of bytes.

Pillow reads them all. But most that come here are MNIST's grey digits, or a page's canvas drawn on
in black, whose rows were all filtered in one simple way: libdeflate inflates them in a third of the
time, and one pass over one plane undoes the filter (W3C, Portable Network Graphics, chapter 9).
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import cv2
import deflate
import numpy as np
from numpy.typing import NDArray

from app.errors import BrokenImage

Plane = NDArray[np.uint8]
Chunks = list[tuple[bytes, bytes]]

MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD, SIZE = struct.Struct(">I4s"), struct.Struct(">II")
KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"}
PLAIN = {bytes((8, kind, 0, 0, 0)): mode for kind, mode in ((0, "L"), (2, "RGB"), (6, "RGBA"))}
"""By what is in the header behind the size: eight bits, the kind of colour, no interlacing."""
PLANE_PIXELS = 2**20
"""Larger pictures are Pillow's: a running sum over all pixels is to stay within 32 bits."""
FEW_PIXELS = 2**12
"""Up to here NumPy has summed a plane's rows before OpenCV is called."""
NONE, SUB, UP = ({kind} for kind in range(3))
"""Filters of rows: as they are, less the pixel to the left, less the pixel above."""


class Plain(NamedTuple):
    """A PNG that is no more than rows of bytes, as canvases and most libraries write it: `mode` is
    Pillow's L, RGB or RGBA, `deflated` its filtered rows."""

    mode: str
    width: int
    height: int
    deflated: bytes


def chunks_of(data: bytes) -> Chunks:
    """Names and bytes of a PNG's chunks, without animation, texts, profiles and anything behind
    the end. Raises BrokenImage.

    Pillow would inflate compressed texts and walk through 10,000 frames for what is thrown away,
    and it does not look at the checksums of the pixels.
    """
    kept = []
    at, size = len(MAGIC), len(data)
    while at + 12 <= size:
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
    raise BrokenImage("The PNG is truncated.")


def plain(chunks: Chunks) -> Plain | None:
    """None where it has more than a header, pixels and an end, or another kind of pixels."""
    names = [name for name, _ in chunks]
    header = chunks[0][1]
    mode = PLAIN.get(header[16:21])
    if mode is None or len(header) != 25:
        return None
    if names != [b"IHDR", *[b"IDAT"] * (len(chunks) - 2), b"IEND"]:
        return None
    width, height = SIZE.unpack_from(header, 8)
    if not width * height:
        raise BrokenImage("The PNG has no pixels.")
    pixels = b"".join([chunk[8:-4] for _, chunk in chunks[1:-1]])
    return Plain(mode, width, height, pixels)


def plane_of(picture: Plain) -> Plane | None:
    """[h,w]: the levels of a grey picture, or the opacity of one that is black everywhere. None
    where it is neither, is filtered otherwise, is large, or can't be inflated.
    """
    mode, width, height, _ = picture
    stride = 1 + width * len(mode)
    inflated = _inflated(picture, height * stride)
    if inflated is None:
        return None
    filtered = np.frombuffer(inflated, np.uint8).reshape(height, stride)[:, 1:]
    if mode == "RGBA":
        filtered = np.ascontiguousarray(filtered)
        pixels = filtered.view(np.uint32)
        if np.bitwise_or.reduce(pixels, axis=None).tobytes()[:3] != bytes(3):
            return None
        filtered = np.asarray(cv2.extractChannel(filtered.reshape(height, width, 4), 3), np.uint8)
    kinds = set(inflated[::stride])
    if kinds == NONE:
        return filtered
    if kinds == SUB:
        return _summed_along_rows(filtered)
    return np.add.accumulate(filtered, axis=0, dtype=np.uint8) if kinds == UP else None


def _inflated(picture: Plain, size: int) -> bytearray | None:
    if picture.mode == "RGB" or picture.width * picture.height > PLANE_PIXELS:
        return None
    try:
        inflated: bytearray = deflate.zlib_decompress(picture.deflated, size)
    except deflate.DeflateError:
        return None
    return inflated if len(inflated) == size else None


def _summed_along_rows(steps: Plane) -> Plane:
    """Each pixel the sum, modulo 256, of those up to it in its row [h,w]. Where there are many: the
    sum up to it in the whole picture, which OpenCV is quick at, less that at the end of the row
    before."""
    if steps.size <= FEW_PIXELS:
        return np.add.accumulate(steps, axis=1, dtype=np.uint8)
    height, width = steps.shape
    sums = np.asarray(cv2.integral(steps.reshape(1, -1))[1]).astype(np.uint8)
    return sums[1:].reshape(height, width) - sums[:-1:width, None]
