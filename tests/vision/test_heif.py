"""HEIC: sizes read from its boxes are those that libheif finds; what would cost more is refused.

The files are put together here, from one coded image of a seven, 128×128.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from app.errors import BrokenImage, NotAnImage
from app.vision import heif
from app.vision.decode import FORMATS, decode, probe
from tests.vision.test_decode import seven

SIDE = 128
SEVEN = (Path(__file__).parent / "seven.heic").read_bytes()
HVCC = SEVEN[SEVEN.index(b"hvcC") - 4 :]
HVCC = HVCC[: int.from_bytes(HVCC[:4])]
CODED = SEVEN[SEVEN.index(b"mdat") + 4 :]
needs_libheif = pytest.mark.skipif(
    "HEIC" not in {row.name for row in FORMATS}, reason="there is no pi-heif here"
)


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


def ispe(width: int, height: int) -> bytes:
    return full(b"ispe", struct.pack(">II", width, height))


def heic(
    *,
    primary: Sequence[bytes] = (ispe(SIDE, SIDE),),
    grid: tuple[int, int] | None = None,
    tiles: Sequence[int] = (),
    kind: bytes = b"hvc1",
    references: bytes = b"",
    brand: bytes = b"heic",
    config: bytes = HVCC,
    coded: bytes = CODED,
) -> bytes:
    """A file whose primary is the seven, item 1, or as item 5 a grid of items 1 to 4, all sevens.

    Args:
        primary: Properties of the primary item.
        grid: Width and height of the grid's picture; None for a plain image.
        tiles: Items that the grid is made of, in rows of two.
        kind: Type of the sevens.
        references: Further boxes of `iref`.
        brand: Of the file.
        config: The property that says how sevens are coded.
        coded: A seven.
    """
    ftyp = box(b"ftyp", brand + b"\0\0\0\0mif1" + brand)
    sevens = 4 if grid else 1
    numbers = range(1, sevens + 1 + bool(grid))
    own = range(3, 3 + len(primary))
    wanted = {number: [1, 2] if grid else [1, *own] for number in numbers}
    kinds = dict.fromkeys(numbers, kind)
    canvas = b""
    if grid:
        wanted[5], kinds[5] = list(own), b"grid"
        canvas = struct.pack(">BBBBHH", 0, 0, min(len(tiles) // 2 - 1, 255), 1, *grid)
        links = struct.pack(f">HH{len(tiles)}H", 5, len(tiles), *tiles)
        references = box(b"dimg", links) + references
    count = struct.pack(">H", len(numbers))
    items = b"".join(
        full(b"infe", struct.pack(">HH", number, 0), kinds[number], b"\0", version=2)
        for number in numbers
    )
    associations = b"".join(
        struct.pack(f">HB{len(places)}B", number, len(places), *places)
        for number, places in wanted.items()
    )

    def meta(start: int) -> bytes:
        at = {number: (start + number * len(coded) - len(coded), len(coded)) for number in numbers}
        if grid:
            at[5] = (start + sevens * len(coded), len(canvas))
        located = b"".join(struct.pack(">HHHII", item, 0, 1, *place) for item, place in at.items())
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", numbers[-1])),
            full(b"iloc", b"\x44\0", count, located),
            full(b"iinf", count, items),
            full(b"iref", references) if references else b"",
            box(
                b"iprp",
                box(b"ipco", config, ispe(SIDE, SIDE), *primary),
                full(b"ipma", struct.pack(">I", len(numbers)), associations),
            ),
        )

    start = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(start) + box(b"mdat", coded * sevens, canvas)


TURNED = (ispe(SIDE, SIDE), box(b"irot", b"\1"))
CROPPED = (
    ispe(SIDE, SIDE),
    box(b"clap", struct.pack(">IIIIiIiI", 100, 1, 80, 1, 0, 1, 0, 1)),
    box(b"irot", b"\3"),
)
GRID = heic(primary=(ispe(250, 200),), grid=(250, 200), tiles=(1, 2, 3, 4))
READ = {
    "an image": (heic(), (128, 128)),
    "turned": (heic(primary=TURNED), (128, 128)),
    "cropped and turned": (heic(primary=CROPPED), (80, 100)),
    "a grid": (GRID, (250, 200)),
    "a grid, turned": (
        heic(primary=(ispe(250, 200), box(b"irot", b"\1")), grid=(250, 200), tiles=(1, 2, 3, 4)),
        (200, 250),
    ),
}


@pytest.mark.parametrize(("data", "size"), READ.values(), ids=READ)
def test_the_size_is_that_of_the_picture_upright(data: bytes, size: tuple[int, int]) -> None:
    declared = heif.heic(data)
    assert (declared.width, declared.height) == size


@needs_libheif
@pytest.mark.parametrize(("data", "size"), READ.values(), ids=READ)
def test_libheif_finds_the_same_size(data: bytes, size: tuple[int, int]) -> None:
    gray = decode(data, probe(data)).gray
    assert gray.shape == size[::-1]


@needs_libheif
def test_the_picture_is_read_and_turned_as_the_file_says() -> None:
    drawn = np.asarray(seven(SIDE), int)
    assert np.abs(decode(heic()).gray - drawn).mean() < 3
    assert np.abs(decode(heic(primary=TURNED)).gray - np.rot90(drawn)).mean() < 3


@needs_libheif
def test_a_grid_is_charged_for_each_of_its_tiles() -> None:
    one, four = heif.heic(heic()), heif.heic(GRID)
    assert four.extra_work > 3.9 * one.extra_work
    assert decode(GRID).gray[:SIDE, :SIDE].min() < 30


def test_the_same_tile_many_times_over_is_refused() -> None:
    data = heic(primary=(ispe(64, 64),), grid=(64, 64), tiles=(1,) * 1500)
    with pytest.raises(BrokenImage, match="many more pixels"):
        heif.heic(data)
    data = heic(primary=(ispe(64, 64),), grid=(64, 64), tiles=(1,) * (heif.MAX_TILES + 2))
    with pytest.raises(BrokenImage, match="too many parts"):
        heif.heic(data)


REFUSED = {
    "another codec": heic(kind=b"av01"),
    "a grid of grids": heic(primary=(ispe(64, 64),), grid=(64, 64), tiles=(5, 5)),
    "a grid of overlays": heic(grid=(128, 128), tiles=(1, 2), kind=b"iovl"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_neither_an_image_nor_a_grid_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="export it as JPEG"):
        heif.heic(data)


def test_what_belongs_to_the_picture_is_charged_too() -> None:
    mask = box(b"auxl", struct.pack(">HHH", 3, 1, 5))
    plain = heic(primary=(ispe(250, 200),), grid=(250, 200), tiles=(1, 2))
    masked = heic(primary=(ispe(250, 200),), grid=(250, 200), tiles=(1, 2), references=mask)
    assert heif.heic(masked).extra_work > 1.4 * heif.heic(plain).extra_work


@pytest.mark.parametrize(
    "data",
    [
        heic(primary=(ispe(0, 128),)),
        heic(primary=(ispe(SIDE, SIDE), box(b"clap", bytes(32)))),
        heic(primary=(ispe(64, 64),), grid=(64, 64), tiles=(1, 7)),
        heic().replace(b"pitm", b"free"),
        heic().replace(b"iprp", b"free"),
        heic().replace(struct.pack(">I", len(HVCC)) + b"hvcC", b"\0\0\xff\xffhvcC"),
        heic()[:60],
        b"\0\0\0\x14ftypheic\0\0\0\0mif1" + box(b"free") * 2_000,
    ],
    ids=["flat", "cropped", "missing", "no primary", "no sizes", "too long", "cut", "endless"],
)
@needs_libheif
def test_a_damaged_file_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenImage):
        probe(data)


@needs_libheif
def test_a_size_that_is_not_the_coded_one_takes_no_more_memory_than_declared() -> None:
    with pytest.raises(BrokenImage):
        decode(SEVEN.replace(ispe(SIDE, SIDE), ispe(16, 16)))


def test_no_byte_makes_another_failure() -> None:
    data = bytearray(GRID)
    random = np.random.default_rng(1)
    for _ in range(2_000):
        at, value = int(random.integers(len(data) - len(CODED))), int(random.integers(256))
        old, data[at] = data[at], value
        with suppress(BrokenImage, NotAnImage, struct.error, IndexError, ValueError):
            heif.heic(bytes(data))
        data[at] = old


def test_without_libheif_a_heic_is_named_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("app.vision.decode")
    rows = tuple(row for row in FORMATS if row.name != "HEIC")
    monkeypatch.setattr(module, "FORMATS", rows)
    with pytest.raises(NotAnImage, match="HEIC; export it as JPEG"):
        module.probe(SEVEN)
