"""AVIF: what its boxes and headers say is what libavif decodes; what would cost more is refused."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, features

from app.errors import BrokenImage, ImageError, NotAnImage
from app.vision import av1, heif
from app.vision.decode import FORMATS, decode, probe
from tests.conftest import UNTURNED
from tests.vision.test_decode import saved, seven
from tests.vision.test_heif import box, full, heic, ispe

if not features.check("avif"):
    pytest.skip("this Pillow has no AVIF", allow_module_level=True)
SIDE = 64


def avif(image: Image.Image | None = None, **options: Any) -> bytes:
    return saved(image or drawn(), "AVIF", **options)


def drawn(width: int = SIDE, height: int = SIDE) -> Image.Image:
    return seven().resize((width, height))


def property_of(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) - 4
    return data[at : at + int.from_bytes(data[at : at + 4])]


def coded(data: bytes) -> bytes:
    """The only image of an AVIF, whose content is all of `mdat`."""
    return data[data.index(b"mdat") + 4 :]


def grid(tiles: int, size: tuple[int, int], **options: Any) -> bytes:
    """A picture of `tiles` sevens in rows of two; there are four of them in the file."""
    options = {"kind": b"av01", "tiles": [1 + tile % 4 for tile in range(tiles)]} | options
    still = avif()
    parts = {"config": property_of(still, b"av1C"), "coded": coded(still), "brand": b"avif"}
    data = heic(primary=(ispe(*size),), grid=size, **parts, **options)
    return data.replace(ispe(128, 128), ispe(SIDE, SIDE))


def transparent() -> Image.Image:
    image = drawn().convert("RGBA")
    image.putalpha(drawn())
    return image


def film(image: Image.Image | None = None, **options: Any) -> bytes:
    """An animation, whose header is not that of a still picture."""
    first = image or drawn()
    return avif(first, save_all=True, append_images=[first.rotate(90)], duration=100, **options)


KINDS: dict[str, dict[str, Any]] = {
    "quality 90": {"quality": 90},
    "4:4:4": {"subsampling": "4:4:4"},
    "limited range": {"range": "limited"},
    "tiles of AV1": {"tile_rows": 1, "tile_cols": 1},
    "a profile of colours": {"icc_profile": bytes(500)},
}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_every_kind_reads_the_same_picture(options: dict[str, Any], mode: str) -> None:
    data = avif(drawn(70, 50).convert(mode), **options)
    header = probe(data)
    assert (header.format, header.width, header.height) == ("AVIF", 70, 50)
    gray = decode(data, header).gray
    assert gray.shape == (50, 70)
    assert np.abs(gray - np.asarray(drawn(70, 50)).astype(int)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_turned_is_turned_back(orientation: int) -> None:
    upright = drawn(70, 50)
    stored = upright.transpose(UNTURNED[orientation]) if orientation in UNTURNED else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    gray = decode(avif(stored, exif=exif)).gray
    assert np.abs(gray - np.asarray(upright).astype(int)).mean() < 4


def test_of_an_animation_the_first_frame_is_read() -> None:
    data = film()
    assert data[8:12] == b"avis"
    assert np.abs(decode(data).gray - np.asarray(drawn()).astype(int)).mean() < 4


def test_a_grid_is_read() -> None:
    data = grid(4, (120, 100))
    assert (probe(data).width, probe(data).height) == (120, 100)
    whole = np.tile(np.asarray(drawn()), (2, 2))[:100, :120].astype(int)
    assert np.abs(decode(data).gray - whole).mean() < 4


def test_work_and_memory_are_those_of_all_that_is_decoded() -> None:
    one, four = heif.avif(avif()), heif.avif(grid(4, (128, 128)))
    masked = heif.avif(avif(transparent()))
    assert four.extra_work > 3 * one.extra_work
    assert masked.extra_work > 1.5 * one.extra_work
    assert four.extra_bytes > 3 * one.extra_bytes


@pytest.mark.parametrize(("make", "frames"), [(avif, 1), (film, 2)], ids=["still", "film"])
@given(width=st.integers(1, 300), height=st.integers(1, 300))
@hypothesis_settings(max_examples=25)
def test_the_pixels_that_are_coded_are_those_of_the_headers(
    make: Callable[..., bytes], frames: int, width: int, height: int
) -> None:
    data = make(Image.new("L", (width, height)), speed=10)
    assert [pixels for pixels in av1.units(coded(data)) if pixels] == [width * height] * frames


@pytest.mark.parametrize("make", [avif, film])
def test_what_is_coded_counts_and_not_what_is_declared(make: Callable[..., bytes]) -> None:
    large = make(Image.new("L", (4_200, 4_200)), speed=10)
    small = large.replace(ispe(4_200, 4_200), ispe(SIDE, SIDE))
    assert small != large
    with pytest.raises(BrokenImage, match="many more pixels"):
        probe(small)
    medium = make(Image.new("L", (1_000, 1_000)), speed=10)
    small = medium.replace(ispe(1_000, 1_000), ispe(SIDE, SIDE))
    assert probe(small).cost > heif.CODED_WORK * 1_000_000


def sequence(*, override: bool) -> bytes:
    """Units of a film's header, and a key frame with or without a size of its own."""
    bits = "000000000000" + "0" * 12 + "00000"
    bits += "01010101" + f"{SIDE - 1:06b}" * 2 + "0" + "0" * 7 + "011" + "0" * 20
    header = int(bits.ljust(96, "0"), 2).to_bytes(12)
    frame = int(("000100" + str(int(override))).ljust(16, "0"), 2).to_bytes(2)
    return bytes((1 << 3 | 2, len(header))) + header + bytes((6 << 3 | 2, len(frame))) + frame


def test_a_frame_with_a_size_of_its_own_is_not_read() -> None:
    assert sum(av1.units(sequence(override=False))) == SIDE * SIDE
    with pytest.raises(NotAnImage, match="several sizes"):
        list(av1.units(sequence(override=True)))


def in_pieces(data: bytes, *pieces: bytes, places: int = 0) -> bytes:
    """`data` with these pieces for its only item, or with the first of them `places` times."""
    old = property_of(data, b"iloc")
    count = places or len(pieces)
    grown = 8 * count + 22 - len(old)
    at = len(data) - len(coded(data)) + grown
    located = b""
    for piece in pieces[:1] * places or pieces:
        located += struct.pack(">II", at, len(piece))
        at += 0 if places else len(piece)
    iloc = full(b"iloc", b"\x44\0\0\1", struct.pack(">HHH", 1, 0, count), located)
    meta = property_of(data, b"meta")
    grown_meta = struct.pack(">I", len(meta) + grown) + meta[4:].replace(old, iloc)
    content = b"".join(pieces)
    return data[: data.index(meta)] + grown_meta + box(b"mdat", content)


def test_an_item_in_pieces_is_put_together() -> None:
    data = avif()
    content = coded(data)
    divided = in_pieces(data, content[:10], content[10:50], content[50:])
    assert len(divided) == len(data) + 16
    assert np.array_equal(decode(divided).gray, decode(data).gray)


DELIMITER = b"\x12\0"
"""A unit that nothing is decoded from."""
STILL = avif()
CONTENT = coded(STILL)
REFUSED: dict[str, tuple[bytes, str]] = {
    "another codec": (heic(brand=b"avif"), "put together in a way"),
    "a grid of grids": (grid(4, (128, 128), kind=b"grid"), "put together in a way|not have"),
    "many pieces": (in_pieces(STILL, CONTENT, places=1_200), "too many parts"),
    "a piece again and again": (in_pieces(STILL, CONTENT, places=900), "over each other"),
    "a piece beyond the end": (in_pieces(STILL, CONTENT)[:-9], "truncated"),
    "no places": (STILL.replace(b"iloc", b"free"), "does not have"),
    "no frame": (in_pieces(STILL, DELIMITER * 9), "without a frame"),
    "units without end": (in_pieces(STILL, CONTENT + DELIMITER * 4_000), "too many parts"),
    "a frame without a header": (in_pieces(STILL, b"\x32\1\0"), "before its header"),
    "a unit that goes on": (in_pieces(STILL, b"\x0a\x7f" + CONTENT[:40]), "truncated"),
}


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_or_costs_too_much_is_refused(data: bytes, says: str) -> None:
    with pytest.raises((BrokenImage, NotAnImage), match=says):
        decode(data)


def test_whatever_is_altered_an_error_is_ours() -> None:
    chance = random.Random(17)
    for data in (avif(), avif(transparent()), film(), grid(4, (128, 128))):
        for _ in range(300):
            altered = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                altered[chance.randrange(len(data))] = chance.randrange(256)
            with suppress(ImageError):
                header = probe(bytes(altered))
                if header.pixels < 10**6:
                    decode(bytes(altered), header)


def test_without_it_an_avif_is_named_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = avif()
    rows = tuple(row for row in FORMATS if row.name != "AVIF")
    monkeypatch.setattr("app.vision.decode.FORMATS", rows)
    with pytest.raises(NotAnImage, match="AVIF; save it as JPEG"):
        probe(data)
