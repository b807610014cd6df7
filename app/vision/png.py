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

from ..errors import BrokenImage

Plane = NDArray[np.uint8]
Chunks = list[tuple[bytes, bytes]]

MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD, SIZE = struct.Struct(">I4s"), struct.Struct(">II")
KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"}
PLAIN = {bytes((8, kind, 0, 0, 0)): mode for kind, mode in ((0, "L"), (2, "RGB"), (6, "RGBA"))}
"""By what is in the header behind the size: eight bits, the kind of colour, no interlacing."""
END = b"\0\0\0\0IEND\xae\x42\x60\x82"
PLANE_PIXELS = 2**20
"""Larger pictures are Pillow's: a running sum over all pixels is to stay within 32 bits."""
FEW_PIXELS = 2**12
"""Up to here NumPy has summed a plane's rows before OpenCV is called."""
NONE, SUB, UP = range(3)
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
    if mode == "RGB" or width * height > PLANE_PIXELS:
        return None
    stride = 1 + width * len(mode)
    rows = _rows(picture.deflated, height, stride)
    if rows is None:
        return None
    filtered = np.frombuffer(rows, np.uint8).reshape(height, stride)[:, 1:]
    if mode == "RGBA":
        filtered = np.ascontiguousarray(filtered)
        pixels = filtered.view(np.uint32)
        if np.bitwise_or.reduce(pixels, axis=None).tobytes()[:3] != bytes(3):
            return None
        filtered = np.asarray(cv2.extractChannel(filtered.reshape(height, width, 4), 3), np.uint8)
    return _unfiltered(filtered, rows[0])


class Square:
    """Grey pictures of `side`² pixels in the fewest chunks there can be, as they come by the
    thousand: told by their first and last bytes, their rows inflated and no more.
    """

    def __init__(self, side: int) -> None:
        header = HEAD.pack(13, b"IHDR") + SIZE.pack(side, side) + bytes((8, 0, 0, 0, 0))
        self.side = side
        self._head = MAGIC + header + zlib.crc32(header[4:]).to_bytes(4)

    def rows_of(self, file: bytes) -> bytearray | None:
        """The rows, each behind its filter, which is the same simple one for all. None where that
        is not so, or the file is another, or damaged.
        """
        if not (file.startswith(self._head) and file.endswith(END)):
            return None
        at, end = len(self._head), len(file) - len(END)
        if HEAD.unpack_from(file, at) != (end - at - 12, b"IDAT"):
            return None
        if zlib.crc32(file[at + 4 : end - 4]) != int.from_bytes(file[end - 4 : end]):
            return None
        return _rows(file[at + 8 : end - 4], self.side, self.side + 1)

    def planes_of(self, rows: list[bytearray]) -> Plane:
        """[n,side,side] of those that `rows_of` gave, all of one filter."""
        filtered = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, self.side, self.side + 1)
        return _unfiltered(filtered[..., 1:], rows[0][0])


def _rows(deflated: bytes, height: int, stride: int) -> bytearray | None:
    """Rows of `stride` bytes, all behind the same filter: NONE, SUB or UP. None where that is not
    so, or they can't be inflated."""
    try:
        rows: bytearray = deflate.zlib_decompress(deflated, height * stride)
    except deflate.DeflateError:
        return None
    if len(rows) != height * stride or rows[0] > UP:
        return None
    return rows if rows[::stride].count(rows[0]) == height else None


def _unfiltered(steps: Plane, kind: int) -> Plane:
    """The pixels […,h,w] whose rows were all filtered as `kind` says: NONE, SUB or UP."""
    if kind == SUB:
        return _summed_along_rows(steps)
    return np.add.accumulate(steps, axis=-2, dtype=np.uint8) if kind == UP else steps


def _summed_along_rows(steps: Plane) -> Plane:
    """Each pixel the sum, modulo 256, of those up to it in its row […,w]. Where there are many: the
    sum up to it in the whole array, which OpenCV is quick at, less that at the end of the row
    before."""
    if not FEW_PIXELS < steps.size <= PLANE_PIXELS:
        return np.add.accumulate(steps, axis=-1, dtype=np.uint8)
    width = steps.shape[-1]
    sums = np.asarray(cv2.integral(steps.reshape(1, -1))[1]).astype(np.uint8)
    before = sums[:-1:width].reshape(*steps.shape[:-1], 1)
    return sums[1:].reshape(steps.shape) - before
