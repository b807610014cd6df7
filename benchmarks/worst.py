"""The worst legal requests: small or large bodies that cost a server the most of something.

Each is made by code when it is wanted. The documented limits, 64 megapixels an image, 256 images a
request and 32 MiB a body, are the upper bound of all; below it a server may refuse for the memory
that a format takes or for the structure of JSON. `largest_legal` finds the size to send.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from benchmarks.bodies import JSON, Body, as_json, multipart, raw

SIDE = 8000
"""Side of a square with the most pixels that the service takes."""
MAX_IMAGES = 256
FORM_SIDE = 170
"""Side of a canvas of noise of which `MAX_IMAGES` fill a body of 32 MiB."""
PARTS = 1_000
NESTING = 5
"""Lists of length 1 around a number: the service looks through six axes of an image."""
JSON_BYTES = tuple(2**power for power in range(23, 14, -1))
"""Sizes of JSON bodies to try, the largest first."""
SIDES = (SIDE, 6000, 5000, 4000)
CHUNKS = (100_000, 10_000, 1_000, 100)
TOO_LARGE = (413, 422)
"""Statuses of a request that is beyond a limit."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGBA = 0, 6
CHANNELS = {GRAY: 1, RGBA: 4}


@dataclass(frozen=True, slots=True)
class WorstCase:
    """A kind of request.

    Attributes:
        name: For the report.
        make: Returns the body of a size: bytes, pixels a side or a number of parts.
        sizes: To try, the largest first.
    """

    name: str
    make: Callable[[int], Body]
    sizes: Sequence[int]


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, depth: int, color: int, extra: bytes = b"") -> bytes:
    """Return an all-zero PNG without ever holding its pixels.

    Args:
        width: Columns.
        height: Rows.
        depth: Bits a sample.
        color: PNG's color type, `GRAY` or `RGBA`.
        extra: Chunks before the pixels.
    """
    row = bytes(1 + (width * depth * CHANNELS[color] + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    pixels = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunk(b"IHDR", header) + extra + pixels


def png_of_chunks(count: int) -> bytes:
    """Return a 28×28 PNG with so many text chunks before its pixels."""
    return png(28, 28, depth=8, color=GRAY, extra=chunk(b"tEXt", b"k\0v") * count)


def webp(side: int) -> bytes:
    """Return an all-black lossless WebP: a few dozen bytes."""
    return by_pillow(Image.new("RGB", (side, side)), "WEBP", lossless=True, quality=0, method=0)


def gif(side: int) -> bytes:
    """Return an all-black GIF."""
    return by_pillow(Image.new("L", (side, side)), "GIF")


def by_pillow(image: Image.Image, encoding: str, **options: object) -> bytes:
    """Return the image as a file."""
    file = io.BytesIO()
    image.save(file, encoding, **options)
    return file.getvalue()


def bmp_rle(side: int) -> bytes:
    """Return a BMP whose run lengths are only jumps: 4 bytes for 255 rows of nothing."""
    palette = b"\0\0\0\0" + b"\xff\xff\xff\0"
    jumps, left = b"", side
    while left > 0:
        rows = min(255, left)
        jumps += bytes((0, 2, 0, rows))
        left -= rows
    data, start = jumps + b"\0\1", 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 2, 2)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def progressive_jpeg(width: int) -> bytes:
    """Return a noisy progressive JPEG, 3:2: every scan passes over all of it."""
    height = width * 2 // 3
    noise = np.random.default_rng(0).integers(96, 160, (512, 512, 3), np.uint8)
    image = np.tile(noise, (-(-height // 512), -(-width // 512), 1))[:height, :width]
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, 50]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def noise_canvas(side: int = 280) -> bytes:
    """Return a canvas of noise, which no filter makes smaller."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def hairline_page(side: int) -> bytes:
    """Return a scanned page with a digit in a pen's hairline."""
    page = np.full((side, side), 255, np.uint8)
    corners = np.array([[2, 2], [8, 2], [4, 8]], np.int32) * (side // 10)
    cv2.polylines(page, [corners], isClosed=False, color=0, thickness=1)
    return cv2.imencode(".png", page)[1].tobytes()


def floats(size: int) -> Body:
    """Return one image of fractions."""
    side = int((size / 5 - 3) ** 0.5 - 0.2)  # side × (5 side + 2) bytes, and 14 around them
    row = b"[" + b",".join([b"0.25"] * side) + b"]"
    return Body(b'{"image":[' + b",".join([row] * side) + b"]}", JSON)


def one_number_rows(size: int) -> Body:
    """Return one image of rows with a number each: a list for every four bytes."""
    return Body(b'{"image":[' + b",".join([b"[0]"] * (size // 4 - 4)) + b"]}", JSON)


def deep_lists(size: int) -> Body:
    """Return images of 784 numbers, each number inside many lists of length 1."""
    number = b"[" * NESTING + b"9" + b"]" * NESTING
    image = b"[" + b",".join([number] * 784) + b"]"
    count = max(1, min(MAX_IMAGES, size // len(image)))
    return Body(b'{"images":[' + b",".join([image] * count) + b"]}", JSON)


def base64_photo(size: int) -> Body:
    """Return a noise image in base64 that fills the body."""
    side = int((size * 3 / 4 / 3.1) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = cv2.imencode(".png", noise)[1].tobytes()
    return as_json({"image": "data:image/png;base64," + base64.b64encode(file).decode()})


def form_of_fields(parts: int) -> Body:
    """Return a form of so many parts, of which one is an image."""
    fields = [(f"field-{number}", b"value") for number in range(parts - 1)]
    return multipart(png(28, 28, depth=8, color=GRAY), fields=fields)


CASES = (
    WorstCase("png-bilevel", lambda side: raw(png(side, side, depth=1, color=GRAY)), SIDES),
    WorstCase("png-rgba", lambda side: raw(png(side, side, depth=8, color=RGBA)), SIDES),
    WorstCase("webp", lambda side: raw(webp(side)), SIDES),
    WorstCase("bmp-rle", lambda side: raw(bmp_rle(side)), SIDES),
    WorstCase("gif", lambda side: raw(gif(side)), SIDES),
    WorstCase("jpeg-progressive", lambda width: raw(progressive_jpeg(width)), (8660, 7000, 5000)),
    WorstCase("noise-canvas", lambda side: raw(noise_canvas(side)), (280,)),
    WorstCase("hairline-page", lambda side: raw(hairline_page(side)), (4000,)),
    WorstCase("png-chunks", lambda count: raw(png_of_chunks(count)), CHUNKS),
    WorstCase("json-floats", floats, JSON_BYTES),
    WorstCase("json-one-number-rows", one_number_rows, JSON_BYTES),
    WorstCase("json-deep-lists", deep_lists, JSON_BYTES),
    WorstCase("json-base64", base64_photo, JSON_BYTES),
    WorstCase("form-fields", form_of_fields, (PARTS,)),
    WorstCase("form-images", lambda n: multipart(*[noise_canvas(FORM_SIDE)] * n), (MAX_IMAGES,)),
    WorstCase("form-webp", lambda side: multipart(*[webp(side)] * 29), SIDES),
)


def largest_legal(case: WorstCase, status_of: Callable[[Body], int]) -> Body:
    """Return the largest body of a case that the server does not refuse; the least if it does.

    Args:
        case: Kind of the request.
        status_of: Sends a body and returns the status of its answer.
    """
    *larger, least = case.sizes
    for size in larger:
        body = case.make(size)
        if status_of(body) not in TOO_LARGE:
            return body
    return case.make(least)
