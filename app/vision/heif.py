"""What HEIC files (ISO/IEC 23008-12) declare, read from their boxes without decoding any.

A phone's photo is a grid of tiles, each an image of its own. libheif refuses an image whose coded
size is far beyond the declared one before it takes memory for it, but not however many there are:
their sizes are added up here, and what is neither an image nor a grid of images is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import BrokenImage, NotAnImage
from .headers import MAX_STEPS, STEP_WORK, Declared

MAX_TILES = 2_000
"""Tiles in a file; a photo of 50 megapixels has 200."""
CODED_PER_PIXEL = 4
OVERHANG_PIXELS = 2**24
"""Coded pixels are at most so many for each pixel of the picture, and so many more: what tiles have
beyond its edges, what is cropped, its opacity and what else belongs to it."""
CODED_WORK = 4.0
"""Pixel equivalents for each coded pixel; noise takes twice as long, a plain sheet half."""


class Box(NamedTuple):
    """A part of the file: its type, and where its content begins and ends."""

    kind: bytes
    at: int
    end: int


class Item(NamedTuple):
    """An image of the file: its type, its coded pixels, and its size when cropped and turned."""

    kind: bytes
    coded_pixels: int
    width: int
    height: int


class References(NamedTuple):
    """Numbers of items by that of the item they belong to: a grid's tiles, a picture's opacity."""

    tiles: dict[int, tuple[int, ...]]
    auxiliaries: dict[int, list[int]]


def heic(data: bytes) -> Declared:
    """Read the size of the primary image, upright, and of all that is decoded for it."""
    try:
        return _heic(data)
    except KeyError as error:
        raise BrokenImage("The HEIC names a part that it does not have.") from error


def _heic(data: bytes) -> Declared:
    meta = _children(data, Box(b"", 0, len(data)))[b"meta"]
    parts = _children(data, meta, skipped=4)
    items = _items(data, parts)
    references = _references(data, parts.get(b"iref"))
    primary, _ = _id(data, parts[b"pitm"].at + 4, is_wide=data[parts[b"pitm"].at] > 0)
    coded = 0
    for number in (primary, *references.auxiliaries.get(primary, ())):
        is_grid = items[number].kind == b"grid"
        images = references.tiles[number] if is_grid else (number,)
        if any(items[image].kind != b"hvc1" for image in images):
            raise NotAnImage(
                "The bytes are a HEIC that is put together in a way that is not read; "
                "export it as JPEG."
            )
        coded += sum(items[image].coded_pixels for image in images)
    picture = items[primary]
    if coded > CODED_PER_PIXEL * picture.width * picture.height + OVERHANG_PIXELS:
        raise BrokenImage("The HEIC has many more pixels in its parts than in its picture.")
    work = int(CODED_WORK * coded) + STEP_WORK * (len(items) + len(references.tiles))
    return Declared(picture.width, picture.height, 8.0, 0.4, 2 * len(data) + 2 * coded, work)


def _boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """Walk along the boxes between two places (ISO/IEC 14496-12, 4.2)."""
    for _ in range(MAX_STEPS):
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        size = size or end - at  # the last box may reach to the end
        if size < head or at + size > end:
            raise BrokenImage("The HEIC is truncated.")
        yield Box(kind, at + head, at + size)
        at += size
    raise BrokenImage("The HEIC has too many parts.")


def _children(data: bytes, box: Box, skipped: int = 0) -> dict[bytes, Box]:
    return {child.kind: child for child in _boxes(data, box.at + skipped, box.end)}


def _id(data: bytes, at: int, *, is_wide: bool) -> tuple[int, int]:
    """Return an item's number, of four bytes or two, and the place behind it."""
    (number,) = struct.unpack_from(">I" if is_wide else ">H", data, at)
    return number, at + (4 if is_wide else 2)


def _items(data: bytes, parts: dict[bytes, Box]) -> dict[int, Item]:
    """Read the items' types, and the properties that say their sizes (23008-12, 6.5)."""
    kinds = _kinds(data, parts[b"iinf"])
    properties = _children(data, parts[b"iprp"])
    shared = list(_boxes(data, properties[b"ipco"].at, properties[b"ipco"].end))
    items = {}
    for number, indices in _associations(data, properties[b"ipma"]):
        chosen = [shared[index - 1] for index in indices if index]
        if number in kinds:
            items[number] = _item(data, kinds[number], chosen)
    return items


def _item(data: bytes, kind: bytes, properties: list[Box]) -> Item:
    """Apply an item's properties in their order, as is done when it is decoded."""
    coded = width = height = 0
    for box in properties:
        if box.kind == b"ispe":
            width, height = struct.unpack_from(">II", data, box.at + 4)
            coded = width * height
        elif box.kind == b"clap":
            across, across_divisor, down, down_divisor = struct.unpack_from(">4I", data, box.at)
            if not across_divisor or not down_divisor:
                raise BrokenImage("The HEIC is cropped to no size.")
            width, height = across // across_divisor, down // down_divisor
        elif box.kind == b"irot" and data[box.at] % 2:
            width, height = height, width
    return Item(kind, coded, width, height)


def _kinds(data: bytes, iinf: Box) -> dict[int, bytes]:
    kinds = {}
    for box in _boxes(data, iinf.at + (6 if data[iinf.at] == 0 else 8), iinf.end):
        if box.kind == b"infe" and (version := data[box.at]) >= 2:
            number, at = _id(data, box.at + 4, is_wide=version > 2)
            kinds[number] = data[at + 2 : at + 6]
    return kinds


def _associations(data: bytes, ipma: Box) -> Iterator[tuple[int, list[int]]]:
    """Yield an item's number and its properties' places, from 1."""
    version, is_long = data[ipma.at], data[ipma.at + 3] & 1
    (count,) = struct.unpack_from(">I", data, ipma.at + 4)
    if count > MAX_STEPS:
        raise BrokenImage("The HEIC has too many parts.")
    at = ipma.at + 8
    for _ in range(count):
        number, at = _id(data, at, is_wide=version > 0)
        length, at = data[at], at + 1
        form = f">{length}H" if is_long else f">{length}B"
        most = 0x7FFF if is_long else 0x7F  # the highest bit says that it is essential
        yield number, [index & most for index in struct.unpack_from(form, data, at)]
        at += struct.calcsize(form)


def _references(data: bytes, iref: Box | None) -> References:
    references = References({}, {})
    if iref is None:
        return references
    is_wide = data[iref.at] > 0
    total = 0
    for box in _boxes(data, iref.at + 4, iref.end):
        number, at = _id(data, box.at, is_wide=is_wide)
        (count,) = struct.unpack_from(">H", data, at)
        total += count
        if total > MAX_TILES:
            raise BrokenImage("The HEIC has too many parts.")
        targets = struct.unpack_from(f">{count}{'I' if is_wide else 'H'}", data, at + 2)
        if box.kind == b"dimg":
            references.tiles[number] = targets
        elif box.kind == b"auxl":
            for target in targets:
                references.auxiliaries.setdefault(target, []).append(number)
    return references
