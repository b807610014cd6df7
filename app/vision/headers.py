"""Sizes and working memory that image files declare, read from their bytes without decoding any.

Each function takes a file that begins as its format does, walks at most `MAX_STEPS` of the parts
that come before the pixels, and raises `BrokenImage`, `NotAnImage` or, where the file ends early,
`struct.error` or `IndexError`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import BrokenImage, NotAnImage

MAX_STEPS = 1_000
"""Parts of a file that are walked along before the pixels: a photo's JPEG has some 30 segments,
with a large colour profile 280."""
MAX_SCANS = 64
"""Passes over all pixels in one JPEG; encoders write 10 to 20, and each takes time by the pixel."""
MAX_TAGS = 512
MAX_WEBP_CHUNKS = 1_000
STEP_WORK = 100
"""Pixel equivalents that Pillow takes for each part that it walks along."""
JPEG_SIDE = 360
"""Pixels that the shorter side of a JPEG keeps when it is decoded at a half, quarter or eighth."""


class Declared(NamedTuple):
    """Size in pixels of the first frame as it is stored, and the price of decoding it.

    Attributes:
        width: In pixels, before any rotation.
        height: In pixels.
        memory: Bytes for each pixel that is decoded.
        work: Pixel equivalents for each pixel that is stored.
        extra_bytes: On top, whatever the size.
        extra_work: On top, whatever the size.
        reduced: Factor by which the decoder itself divides the sides.
    """

    width: int
    height: int
    memory: float
    work: float
    extra_bytes: int = 0
    extra_work: int = 0
    reduced: int = 1


PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(data: bytes) -> Declared:
    """Read the header chunk (W3C PNG, 11.2.2)."""
    length, name, width, height, depth, kind, _, _, lace = struct.unpack_from(
        ">I4sIIBBBBB", data, 8
    )
    channels = PNG_CHANNELS.get(kind)
    if name != b"IHDR" or length != 13 or channels is None:
        raise BrokenImage("The PNG does not begin with a header.")
    # Pillow holds gray and indexed pixels in one byte, 16-bit gray in two, all else in four.
    memory = 4.0 if kind in (2, 4, 6) else depth / 8 if depth == 16 else 1.0
    work = (0.4 if lace == 0 else 0.8) * channels * max(1, depth // 8)
    return Declared(width, height, memory, work, 2 * len(data))


def jpeg(data: bytes) -> Declared:
    """Walk the segments to the first scan (ITU-T T.81, B.1 and B.2)."""
    at, steps, frame = 2, 0, None
    while steps < MAX_STEPS:
        start = data.index(b"\xff", at) if data[at] != 0xFF else at
        steps += 1 + start - at
        marker = data[start + 1]
        if marker == 0xFF:  # a byte of padding
            at = start + 1
            continue
        at = start + 2
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            continue
        if marker in (0xD8, 0xD9):
            break
        (length,) = struct.unpack_from(">H", data, at)
        if marker == 0xDA:
            if frame is None:
                break
            return _jpeg_frame(data, frame, scan=at, steps=steps)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                break
            frame = marker, at
        at += max(length, 2)
    if steps >= MAX_STEPS:
        raise BrokenImage("The JPEG has too many segments before its pixels.")
    raise BrokenImage("The JPEG has no pixels, or more than one size.")


def _jpeg_frame(data: bytes, frame: tuple[int, int], *, scan: int, steps: int) -> Declared:
    marker, at = frame
    height, width, components = struct.unpack_from(">HHB", data, at + 3)
    reduced = jpeg_reduction(width, height)
    work, extra_bytes = 0.1 + 1 / reduced**2, len(data)
    if marker in (0xC2, 0xC6, 0xCA, 0xCE) or data[scan + 2] < components:
        # All coefficients are held, two bytes each, in blocks that fill up 32 × 32 pixels.
        scans = data.count(b"\xff\xda", scan - 2)
        if scans > MAX_SCANS:
            raise BrokenImage(f"The JPEG has {scans} scans; at most {MAX_SCANS} are read.")
        work += 0.2 + 0.04 * scans * components
        extra_bytes += 2 * components * (width + 31 & ~31) * (height + 31 & ~31)
    return Declared(width, height, 8.0, work, extra_bytes, STEP_WORK * steps, reduced)


def jpeg_reduction(width: int, height: int) -> int:
    """Return 8, 4, 2 or 1: by how much a JPEG's sides are divided while it is decoded."""
    enough = min(width, height) // JPEG_SIDE
    return next((factor for factor in (8, 4, 2) if enough >= factor), 1)


def webp(data: bytes) -> Declared:
    """Read the first chunk: VP8X, VP8L or VP8 (RFC 9649)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise BrokenImage("The WebP does not begin with a frame.")
    return Declared(width, height, 9.0, 4.0, len(data))


def webp_exif(data: bytes) -> bytes:
    """Return the Exif chunk of a WebP, which stands behind the pixels; empty without one."""
    at = 12
    for _ in range(MAX_WEBP_CHUNKS):
        if at + 8 > len(data):
            break
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return b""


class GifFrame(NamedTuple):
    """Where a GIF's first frame begins, and the control block that applies to it, if any."""

    at: int
    control: bytes
    steps: int


def gif_frame(data: bytes) -> GifFrame:
    """Walk the extensions to the first frame (GIF89a, 20 to 26)."""
    at, control = gif_blocks(data), b""
    steps = 0
    while steps < MAX_STEPS:
        steps += 1
        kind = data[at]
        if kind == 0x2C:
            return GifFrame(at, control, steps)
        if kind != 0x21:
            break
        start, label = at, data[at + 1]
        at += 2
        while (size := data[at]) and steps < MAX_STEPS:
            at += 1 + size
            steps += 1
        at += 1
        if label == 0xF9 and data[start + 2] == 4:
            control = data[start : start + 7] + b"\0"
    raise BrokenImage("The GIF has no frame within its first blocks.")


def gif_blocks(data: bytes) -> int:
    """Return where the blocks begin: behind the screen and its colours."""
    flags = data[10]
    return 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def gif(data: bytes) -> Declared:
    """Read the screen, which the first frame may enlarge."""
    frame = gif_frame(data)
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, wide, high = struct.unpack_from("<HHHH", data, frame.at + 1)
    width, height = max(width, left + wide), max(height, top + high)
    return Declared(width, height, 3.0, 1.0, 2 * len(data), STEP_WORK * frame.steps)


BMP_RLE = (1, 2)


def bmp_compression(data: bytes) -> int:
    """Return the compression: 0 none, 1 and 2 runs of 8 or 4 bits, 3 bit fields."""
    return 0 if data[14] == 12 else int(struct.unpack_from("<I", data, 30)[0])


def bmp(data: bytes) -> Declared:
    """Read the information header; a negative height counts from the top."""
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    if width < 0:
        raise BrokenImage("The BMP has a negative width.")
    memory, work = (8.0, 1.6) if bmp_compression(data) in BMP_RLE else (4.0, 0.8)
    return Declared(width, abs(height), memory, work, len(data))


TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF_WIDTH, TIFF_HEIGHT, TIFF_COMPRESSION, TIFF_ORIENTATION = 256, 257, 259, 274
TIFF_TILE_WIDTH, TIFF_TILE_HEIGHT = 322, 323
TIFF_BITS, TIFF_CHANNELS, TIFF_PLANES = 258, 277, 284
TIFF_APART = 2
"""Of TIFF_PLANES: each channel by itself, one after the other."""
TIFF_READ = frozenset(
    (
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320),
        *(322, 323, 324, 325, 338, 339, 347, 530, 532),
    )
)
"""Tags that say how pixels are stored (TIFF 6.0, section 8, and technical note 2)."""
TIFF_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT, LZW, JPEG, deflate and PackBits."""
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value by its type."""


class TiffDirectory(NamedTuple):
    """The first picture's entries, 12 bytes each, by tag, and those with one value, by tag."""

    order: str
    entries: dict[int, bytes]
    values: dict[int, int]


def tiff_directory(data: bytes) -> TiffDirectory:
    """Read the first directory's entries that say how pixels are stored, and the orientation."""
    order = TIFF_ORDERS[data[:4]]
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    if count > MAX_TAGS:
        raise BrokenImage("The TIFF has too many tags.")
    entries: dict[int, bytes] = {}
    values: dict[int, int] = {}
    outside = 0
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", data, place)
        if tag not in TIFF_READ and tag != TIFF_ORIENTATION:
            continue
        size = TIFF_SIZES.get(kind, 0) * length
        if size > 4:
            (start,) = struct.unpack_from(order + "I", data, place + 8)
            outside += size
            if start + size > len(data) or outside > len(data):
                raise BrokenImage("The TIFF is truncated.")
        elif length == 1 and kind in (3, 4):
            (values[tag],) = struct.unpack_from(
                order + ("H" if kind == 3 else "I"), data, place + 8
            )
        entries[tag] = data[place : place + 12]
    return TiffDirectory(order, entries, values)


def tiff(data: bytes) -> Declared:
    """Read the first picture's size, and that of its tiles, which are held whole."""
    values = tiff_directory(data).values
    if (compression := values.get(TIFF_COMPRESSION, 1)) not in TIFF_COMPRESSIONS:
        raise NotAnImage(
            f"The bytes are a TIFF whose pixels are compressed in a way (number {compression}) "
            "that is not read; save it with LZW or no compression, or as PNG."
        )
    width, height = values.get(TIFF_WIDTH, 0), values.get(TIFF_HEIGHT, 0)
    tile = values.get(TIFF_TILE_WIDTH, 0) * values.get(TIFF_TILE_HEIGHT, 0)
    return Declared(width, height, 12.0, 3.5, 2 * len(data) + 16 * tile)
