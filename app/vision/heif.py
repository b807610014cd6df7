"""What HEIC and AVIF files (ISO/IEC 23008-12) declare, read from their boxes without decoding any.

A phone's photo is a grid of tiles, each an image of its own. libheif refuses an image whose coded
size is far beyond the declared one before it takes memory for it, but not however many there are:
their sizes are added up here, and what is neither an image nor a grid of images is refused. libavif
decodes whatever size is coded, so that this is read, too (`app.vision.av1`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..errors import BrokenImage, NotAnImage
from . import av1
from .headers import MAX_STEPS, STEP_WORK, Declared

MAX_TILES = 2_000
"""Tiles in a file; a photo of 50 megapixels has 200."""
MAX_UNITS = 3_000
"""Units (OBUs) in an AVIF; an image has three, or so many in each tile."""
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
    """An image of the file: its type, its size as it is stored, and when cropped and turned."""

    kind: bytes
    stored: tuple[int, int]
    upright: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Pixels as they are stored."""
        return self.stored[0] * self.stored[1]


class References(NamedTuple):
    """Numbers of items by that of the item they belong to: a grid's tiles, a picture's opacity."""

    tiles: dict[int, tuple[int, ...]]
    auxiliaries: dict[int, list[int]]


class Contents(NamedTuple):
    """What is decoded of a file: its primary image, and all images that belong to it."""

    picture: Item
    images: list[tuple[int, Item]]
    """By number; one that is needed twice is there twice."""
    steps: int
    """Parts of the file that were walked along."""
    parts: dict[bytes, Box]


def heic(data: bytes) -> Declared:
    """Read the size of the primary image, upright, and of all that is decoded for it."""
    with _in("HEIC"):
        contents = _contents(data, b"hvc1", "The bytes are a HEIC", "export it as JPEG")
        coded = sum(image.pixels for _, image in contents.images)
        work = _work(contents, coded)
        return Declared(*contents.picture.upright, 8.0, 0.4, 2 * len(data) + 2 * coded, work)


def avif(data: bytes) -> Declared:
    """Read the size of the primary image as it is stored, and of all that is decoded for it."""
    with _in("AVIF"):
        contents = _contents(data, b"av01", "The bytes are an AVIF", "save it as JPEG or PNG")
        frames = _frames(data, contents)
        coded = sum(max(image.pixels, frames[number]) for number, image in contents.images)
        work = _work(contents, coded)
        # Planes of up to two bytes and three channels, twice for a grid; then colours, twice.
        return Declared(*contents.picture.stored, 9.0, 0.4, 2 * len(data) + 12 * coded, work)


def _frames(data: bytes, contents: Contents) -> dict[int, int]:
    """Return the pixels of all frames of each image of an AVIF."""
    places = dict(_places(data, contents.parts))
    frames: dict[int, int] = {}
    size = units = 0
    for number, _ in contents.images:
        if number in frames:
            continue
        size += sum(end - at for at, end in places[number])
        if size > len(data):
            raise _PartsError("has parts that lie over each other")
        frames[number] = 0
        for pixels in av1.units(b"".join([data[at:end] for at, end in places[number]])):
            frames[number] += pixels
            units += 1
            if units > MAX_UNITS:
                raise _PartsError("has too many parts")
        if not frames[number]:
            raise _PartsError("has an image without a frame")
    return frames


@contextmanager
def _in(name: str) -> Iterator[None]:
    """Have what is missing, or too much, told of the format by name."""
    try:
        yield
    except KeyError as error:
        raise BrokenImage(f"The {name} names a part that it does not have.") from error
    except _PartsError as error:
        raise BrokenImage(f"The {name} {error}.") from error


class _PartsError(Exception):
    """The parts of a file make no sense; the text goes on from the format's name."""


def _contents(data: bytes, codec: bytes, what: str, remedy: str) -> Contents:
    """Find the primary image, its tiles and its opacity, all of one codec.

    Raises:
        NotAnImage: There are others; the text begins with `what`.
    """
    meta = _children(data, Box(b"", 0, len(data)))[b"meta"]
    parts = _children(data, meta, skipped=4)
    items = _items(data, parts)
    references = _references(data, parts.get(b"iref"))
    primary, _ = _id(data, parts[b"pitm"].at + 4, is_wide=data[parts[b"pitm"].at] > 0)
    images: list[tuple[int, Item]] = []
    for number in (primary, *references.auxiliaries.get(primary, ())):
        tiles = references.tiles[number] if items[number].kind == b"grid" else (number,)
        for tile in tiles:
            others = references.auxiliaries.get(tile, ()) if tile != primary else ()
            images += [(each, items[each]) for each in (tile, *others)]
    if any(image.kind != codec for _, image in images):
        raise NotAnImage(f"{what} that is put together in a way that is not read; {remedy}.")
    return Contents(items[primary], images, len(items) + len(references.tiles), parts)


def _work(contents: Contents, coded: int) -> int:
    """Return the work of decoding; raises where `coded` pixels are far beyond the picture's."""
    width, height = contents.picture.upright
    if coded > CODED_PER_PIXEL * width * height + OVERHANG_PIXELS:
        raise _PartsError("has many more pixels in its parts than in its picture")
    return int(CODED_WORK * coded) + STEP_WORK * contents.steps


def _places(data: bytes, parts: dict[bytes, Box]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield an item's number, and where its pieces begin and end (14496-12, 8.11.3)."""
    at, version = parts[b"iloc"].at, data[parts[b"iloc"].at]
    sizes = data[at + 4] >> 4, data[at + 4] & 15, data[at + 5] >> 4
    index_size = data[at + 5] & 15 if version else 0
    is_wide = version > 1
    count, at = _id(data, at + 6, is_wide=is_wide)
    total = 0
    for _ in range(count):
        number, at = _id(data, at, is_wide=is_wide)
        is_inside = bool(version and data[at + 1] & 15)
        at += 4 if version else 2  # construction method, data reference
        base, at = _number(data, at, sizes[2])
        pieces, at = _id(data, at, is_wide=False)
        total += 1 + pieces
        if total > MAX_STEPS:
            raise _PartsError("has too many parts")
        if is_inside:
            base += parts[b"idat"].at
        found = []
        for _ in range(pieces):
            start, at = _number(data, at + index_size, sizes[0])
            length, at = _number(data, at, sizes[1])
            begin = base + start
            end = begin + length if length else len(data)
            if end > len(data):
                raise _PartsError("is truncated")
            found.append((begin, end))
        yield number, found


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    """Return a number of `size` bytes, and the place behind it."""
    if at + size > len(data):
        raise _PartsError("is truncated")
    return int.from_bytes(data[at : at + size]), at + size


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
            raise _PartsError("is truncated")
        yield Box(kind, at + head, at + size)
        at += size
    raise _PartsError("has too many parts")


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
    width = height = 0
    stored = 0, 0
    for box in properties:
        if box.kind == b"ispe":
            width, height = struct.unpack_from(">II", data, box.at + 4)
            stored = width, height
        elif box.kind == b"clap":
            across, across_divisor, down, down_divisor = struct.unpack_from(">4I", data, box.at)
            if not across_divisor or not down_divisor:
                raise _PartsError("is cropped to no size")
            width, height = across // across_divisor, down // down_divisor
        elif box.kind == b"irot" and data[box.at] % 2:
            width, height = height, width
    return Item(kind, stored, (width, height))


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
        raise _PartsError("has too many parts")
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
            raise _PartsError("has too many parts")
        targets = struct.unpack_from(f">{count}{'I' if is_wide else 'H'}", data, at + 2)
        if box.kind == b"dimg":
            references.tiles[number] = targets
        elif box.kind == b"auxl":
            for target in targets:
                references.auxiliaries.setdefault(target, []).append(number)
    return references
