"""Pictures of what the model saw, in characters of a terminal."""

from __future__ import annotations

import struct
import zlib

from rich.color import Color
from rich.style import Style
from rich.text import Text

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
GRAY_8_BIT = (8, 0, 0, 0, 0)
"""Bit depth, color type, compression, filter and interlace of the service's pictures."""
UPPER_HALF = "▀"
REDUCED = 2
"""Pixels, in height and width, of what is shown as a pixel."""

Rows = list[bytes]


def half_blocks(png: bytes) -> Text:
    """Draw a gray PNG at half its size, each character two pixels, one above the other.

    Raises:
        ValueError: It is another kind of file.
    """
    rows = reduce(read_gray_png(png))
    text = Text()
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            style = Style(color=Color.from_rgb(*[top] * 3), bgcolor=Color.from_rgb(*[bottom] * 3))
            text.append(UPPER_HALF, style)
        text.append("\n")
    text.right_crop(1)
    return text


def reduce(rows: Rows) -> Rows:
    """Return the mean of each square of `REDUCED` × `REDUCED` pixels."""
    spans = range(0, len(rows[0]), REDUCED)
    return [
        bytes(
            sum(sum(row[at : at + REDUCED]) for row in rows[top : top + REDUCED]) // REDUCED**2
            for at in spans
        )
        for top in range(0, len(rows), REDUCED)
    ]


def read_gray_png(png: bytes) -> Rows:
    """Read the levels of a PNG of 8-bit gray, not interlaced (RFC 2083).

    Raises:
        ValueError: It is another kind of file.
    """
    if not png.startswith(PNG_MAGIC):
        raise ValueError("no PNG")
    at, packed, header = len(PNG_MAGIC), b"", b""
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        content = png[at + 8 : at + 8 + length]
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        at += 12 + length
    try:
        width, height, *form = struct.unpack(">IIBBBBB", header)
        lines = zlib.decompress(packed)
    except (struct.error, zlib.error) as error:
        raise ValueError("a damaged PNG") from error
    if tuple(form) != GRAY_8_BIT or len(lines) != height * (width + 1):
        raise ValueError("no PNG of 8-bit gray")
    rows: Rows = []
    above = bytes(width)
    for start in range(0, len(lines), width + 1):
        above = _unfilter(lines[start], lines[start + 1 : start + 1 + width], above)
        rows.append(above)
    return rows


def _unfilter(method: int, line: bytes, above: bytes) -> bytes:
    """Undo a row's filter: each byte is the difference from what its neighbors predict."""
    row = bytearray()
    left = corner = 0
    for value, up in zip(line, above, strict=True):
        predicted = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[method]
        left, corner = (value + predicted) & 0xFF, up
        row.append(left)
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    """Return the neighbor that is nearest to left + up − corner; the first of them on a tie."""
    estimate = left + up - corner
    return min((left, up, corner), key=lambda neighbor: abs(estimate - neighbor))
