from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.errors import BrokenImage
from app.vision.png import MAGIC, PLANE_PIXELS, Plain, Plane, chunks_of, plain, plane_of

SUB, UP, AVERAGE = 1, 2, 3
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
KINDS = {"L": 0, "RGB": 2, "RGBA": 6}


def noise(height: int, width: int, channels: int = 1) -> Plane:
    shape = (height, width, channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def filtered(pixels: Plane, kinds: list[int]) -> bytes:
    """Rows of [h,w,c], each behind the number of its filter; of those that need no division."""
    left = np.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    above = np.pad(pixels, ((1, 0), (0, 0), (0, 0)))[:-1]
    steps = {0: pixels, SUB: pixels - left, UP: pixels - above, AVERAGE: pixels}
    return b"".join(bytes([kind]) + steps[kind][row].tobytes() for row, kind in enumerate(kinds))


def picture(pixels: Plane, kinds: list[int]) -> Plain:
    height, width, channels = pixels.shape
    mode = next(mode for mode, count in CHANNELS.items() if count == channels)
    return Plain(mode, width, height, zlib.compress(filtered(pixels, kinds)))


def black(alpha: Plane) -> Plane:
    return np.dstack([np.zeros((*alpha.shape[:2], 3), np.uint8), alpha])


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + zlib.crc32(name + body).to_bytes(4)


def header(width: int = 5, height: int = 4, kind: int = 0, depth: int = 8, lace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, lace))


END = chunk(b"IEND", b"")


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, SUB, UP]), st.sampled_from("LA"))
def test_one_plane_filtered_in_one_way(height: int, width: int, kind: int, content: str) -> None:
    plane = noise(height, width)
    pixels = plane if content == "L" else black(plane)
    found = plane_of(picture(pixels, [kind] * height))
    assert found is not None
    assert (found == plane[..., 0]).all()


def test_a_large_sum_does_not_overflow() -> None:
    side = int(PLANE_PIXELS**0.5)
    plane = np.full((side, side, 1), 255, np.uint8)
    rows = b"".join(b"\1" + b"\xff" + bytes(side - 1) for _ in range(side))
    found = plane_of(Plain("L", side, side, zlib.compress(rows)))
    assert found is not None
    assert (found == plane[..., 0]).all()


@pytest.mark.parametrize(
    "other",
    [
        picture(noise(4, 5, 3), [0] * 4),
        picture(noise(4, 5, 4), [0] * 4),
        picture(np.dstack([noise(4, 5, 1), *[np.zeros((4, 5), np.uint8)] * 3]), [SUB] * 4),
        picture(noise(4, 5), [SUB, UP, SUB, UP]),
        picture(noise(4, 5), [AVERAGE] * 4),
        Plain("L", 2**10, 2**11, zlib.compress(bytes((2**10 + 1) * 2**11))),
        Plain("L", 5, 4, zlib.compress(bytes(6 * 4))[:-5]),
        Plain("L", 5, 4, zlib.compress(bytes(6 * 4 - 1))),
        Plain("L", 5, 4, zlib.compress(bytes(6 * 4 + 1))),
        Plain("L", 5, 4, b""),
    ],
    ids=[
        "colour", "colour and opacity", "red under it", "two filters", "another filter", "large",
        "cut", "a byte short", "a byte over", "nothing",
    ],
)  # fmt: skip
def test_all_else_is_left_to_pillow(other: Plain) -> None:
    assert plane_of(other) is None


@pytest.mark.parametrize("mode", CHANNELS)
def test_what_pillow_writes_is_plain(mode: str) -> None:
    out = io.BytesIO()
    image = Image.fromarray(noise(4, 5, CHANNELS[mode]).squeeze())
    image.save(out, "PNG")
    found = plain(chunks_of(out.getvalue()))
    assert found is not None
    assert found[:3] == (mode, 5, 4)
    assert Image.frombytes(mode, (5, 4), found.deflated, "zip", mode) == image


@pytest.mark.parametrize(
    "chunks",
    [
        [header(depth=16)],
        [header(kind=3), chunk(b"PLTE", bytes(3))],
        [header(kind=4)],
        [header(lace=1)],
        [header(), chunk(b"tRNS", bytes(2))],
        [chunk(b"IHDR", bytes(14))],
        [chunk(b"IDAT", b""), header()],
    ],
    ids=["deep", "palette", "grey and opacity", "interlaced", "tRNS", "long header", "late header"],
)
def test_what_is_not_plain(chunks: list[bytes]) -> None:
    assert plain(chunks_of(MAGIC + b"".join(chunks) + END)) is None


def test_several_chunks_of_pixels_are_one() -> None:
    data = MAGIC + header() + chunk(b"IDAT", b"one") + chunk(b"IDAT", b"two") + END
    assert plain(chunks_of(data)) == Plain("L", 5, 4, b"onetwo")


def test_without_pixels_it_is_broken() -> None:
    with pytest.raises(BrokenImage):
        plain(chunks_of(MAGIC + header(width=0) + END))


def test_only_what_shows_is_kept() -> None:
    text = chunk(b"tEXt", b"comment")
    data = MAGIC + header() + text + chunk(b"IDAT", b"") + text + END + b"behind"
    assert [name for name, _ in chunks_of(data)] == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("missing", [1, 12, 13])
def test_cut_short_it_is_broken(missing: int) -> None:
    with pytest.raises(BrokenImage):
        chunks_of((MAGIC + header() + END)[:-missing])
