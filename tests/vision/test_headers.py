from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.errors import BrokenImage, NotAnImage
from app.vision import headers
from app.vision.headers import MAX_SCANS, MAX_STEPS

SIZES = [(1, 1), (3, 70), (640, 31)]


def saved(size: tuple[int, int], kind: str, *, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    levels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(levels).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(40_000), "icc_profile": bytes(200_000)}),
        ("WebP", {}),
        ("WebP", {"lossless": True}),
        ("WebP", {"exif": b"Exif\0\0II*\0"}),
        ("GIF", {}),
        ("GIF", {"comment": b"word " * 1000}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"big_endian": True}),
    ],
)
def test_the_size_is_the_one_pillow_finds(
    size: tuple[int, int], kind: str, options: dict[str, Any]
) -> None:
    declared = getattr(headers, kind.lower())(saved(size, kind, **options))
    assert (declared.width, declared.height) == size


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_a_png_takes_more_memory_the_more_channels_it_has(mode: str) -> None:
    declared = headers.png(saved((60, 50), "PNG", mode=mode))
    assert declared.memory == {"LA": 4, "RGB": 4, "RGBA": 4, "I;16": 2}.get(mode, 1)


def test_a_progressive_jpeg_is_charged_for_its_coefficients_and_scans() -> None:
    plain = headers.jpeg(saved((640, 480), "JPEG"))
    progressive = headers.jpeg(saved((640, 480), "JPEG", progressive=True))
    assert progressive.extra_bytes >= 640 * 480 * 6 > plain.extra_bytes
    assert progressive.work > plain.work


def test_a_narrow_progressive_jpeg_is_charged_for_whole_blocks() -> None:
    declared = headers.jpeg(saved((1, 2000), "JPEG", progressive=True))
    assert declared.extra_bytes > 32 * 2000 * 6


def with_segments(segment: bytes) -> bytes:
    file = saved((60, 50), "JPEG")
    return file[:2] + segment + file[2:]


@pytest.mark.parametrize(
    "segment",
    [b"\xff\xfe\0\2" * 200_000, b"\xff" * 200_000, b"junk" * 100_000, b"\xff\0" * 200_000],
    ids=["comments", "padding", "junk", "zeros"],
)
def test_a_jpeg_of_tiny_segments_is_refused(segment: bytes) -> None:
    with pytest.raises(BrokenImage, match="segments"):
        headers.jpeg(with_segments(segment))


def test_what_pads_segments_is_passed_over() -> None:
    declared = headers.jpeg(with_segments(b"\xff" * 9 + b"\xfe\0\3c" + b"junk"))
    assert (declared.width, declared.height) == (60, 50)


def test_a_jpeg_of_many_scans_is_refused() -> None:
    file = saved((60, 50), "JPEG", progressive=True)
    scan = file.index(b"\xff\xda")
    with pytest.raises(BrokenImage, match="scans"):
        headers.jpeg(file[:-2] + file[scan:-2] * MAX_SCANS + file[-2:])


def test_a_jpeg_of_two_sizes_is_refused() -> None:
    file = saved((60, 50), "JPEG")
    at = file.index(b"\xff\xc0")
    end = at + 2 + struct.unpack_from(">H", file, at + 2)[0]
    with pytest.raises(BrokenImage, match="more than one size"):
        headers.jpeg(file[:end] + file[at:end] + file[end:])


@pytest.mark.parametrize("cut", range(0, 160, 7))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF"])
def test_what_is_cut_raises_what_is_promised(kind: str, cut: int) -> None:
    data = saved((60, 50), kind)[:cut]
    try:
        declared = getattr(headers, kind.lower())(data)
    except (BrokenImage, struct.error, IndexError, ValueError, KeyError):
        return
    assert isinstance(declared, headers.Declared)


@pytest.mark.parametrize(
    "blocks",
    [
        b"\x21\xfe\0" * (MAX_STEPS + 1),
        b"\x21\xfe" + b"\1." * (MAX_STEPS + 1) + b"\0",
        b"\x3b",
        b"?",
    ],
    ids=["extensions", "a long one", "the end", "nonsense"],
)
def test_a_gif_without_a_frame_within_its_first_blocks_is_refused(blocks: bytes) -> None:
    file = saved((60, 50), "GIF")
    at = headers.gif_blocks(file)
    with pytest.raises(BrokenImage):
        headers.gif(file[:at] + blocks + file[at:])


def test_a_gif_is_as_large_as_its_first_frame() -> None:
    file = bytearray(saved((60, 50), "GIF"))
    at = headers.gif_frame(bytes(file)).at
    struct.pack_into("<HHHH", file, at + 1, 10, 20, 900, 800)
    declared = headers.gif(bytes(file))
    assert (declared.width, declared.height) == (910, 820)


def test_a_bmp_may_count_from_the_top() -> None:
    file = bytearray(saved((60, 50), "BMP"))
    struct.pack_into("<i", file, 22, -50)
    assert headers.bmp(bytes(file))[:2] == (60, 50)
    struct.pack_into("<i", file, 18, -60)
    with pytest.raises(BrokenImage):
        headers.bmp(bytes(file))


def tiff(*entries: tuple[int, int, int, int], count: int | None = None) -> bytes:
    number = len(entries) if count is None else count
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, number) + packed + bytes(4)


WIDTH, HEIGHT = (256, 3, 1, 60), (257, 4, 1, 50)


def test_a_tiff_is_charged_for_its_tiles() -> None:
    small = headers.tiff(tiff(WIDTH, HEIGHT))
    tiled = headers.tiff(tiff(WIDTH, HEIGHT, (322, 4, 1, 30_000), (323, 4, 1, 30_000)))
    assert small[:2] == tiled[:2] == (60, 50)
    assert tiled.extra_bytes > 900_000_000


def test_a_tiff_compressed_in_an_unusual_way_is_named() -> None:
    with pytest.raises(NotAnImage, match="50001"):
        headers.tiff(tiff(WIDTH, HEIGHT, (259, 3, 1, 50001)))


@pytest.mark.parametrize(
    "data",
    [
        tiff(WIDTH, HEIGHT, count=65_535),
        tiff(WIDTH, HEIGHT, (273, 4, 1_000_000, 8)),
        tiff(WIDTH, HEIGHT, *[(273, 4, 20, 8)] * 9),
    ],
    ids=["tags without end", "values behind the end", "the same values often"],
)
def test_a_tiff_that_points_to_more_than_it_has_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenImage):
        headers.tiff(data)
