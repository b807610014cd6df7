from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from app.errors import BrokenImage, ImageError
from app.vision.decode import decode
from app.vision.grayscale import to_gray
from app.vision.png import END, MAGIC, PLAIN_PIXELS, Plain, Plane, chunks_of, plain, read

NONE, SUB, UP, AVERAGE, PAETH = range(5)
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
KINDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by the header's kind of colour."""


def noise(height: int, width: int, channels: int = 1) -> Plane:
    shape = (height, width, channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def filtered(pixels: Plane, kinds: list[int]) -> bytes:
    """Rows of [h,w,c], each behind the number of its filter (W3C PNG, 9.2)."""
    left = np.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1].astype(int)
    above = np.pad(pixels, ((1, 0), (0, 0), (0, 0)))[:-1].astype(int)
    corner = np.pad(pixels, ((1, 0), (1, 0), (0, 0)))[:-1, :-1].astype(int)
    near = left + above - corner
    nearest = np.stack([abs(near - left), abs(near - above), abs(near - corner)]).argmin(axis=0)
    predicted = {
        NONE: 0 * left,
        SUB: left,
        UP: above,
        AVERAGE: (left + above) // 2,
        PAETH: np.choose(nearest, [left, above, corner]),
    }
    rows = []
    for row, kind in enumerate(kinds):
        steps = (pixels[row] - predicted[kind if kind in predicted else NONE][row]) % 256
        rows.append(bytes([kind]) + steps.astype(np.uint8).tobytes())
    return b"".join(rows)


def picture(pixels: Plane, kinds: list[int]) -> Plain:
    height, width, channels = pixels.shape
    mode = next(mode for mode, count in CHANNELS.items() if count == channels)
    return Plain(mode, width, height, zlib.compress(filtered(pixels, kinds)))


def chunk(name: bytes, body: bytes, *, damaged: bool = False) -> bytes:
    check = zlib.crc32(name + body) ^ damaged
    return struct.pack(">I", len(body)) + name + body + check.to_bytes(4)


def header(width: int = 5, height: int = 4, kind: int = 0, depth: int = 8, lace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, lace))


def by_pillow(data: bytes) -> Plane:
    """What the plain reader must equal: the chunks that are kept, read by Pillow alone."""
    file = MAGIC + b"".join(body for _, body in chunks_of(data))
    with PngImageFile(io.BytesIO(file)) as image:
        image.load()
        return to_gray(image)


@dataclass
class Content:
    """Pixels and filters of a generated file."""

    width: int
    height: int
    kind: int
    depth: int
    pixels: Plane
    filters: list[int]


@st.composite
def contents(draw: st.DrawFn) -> Content:
    kind = draw(st.sampled_from([0, 0, 2, 2, 6, 6, 3, 4]))
    depths = {0: [8, 8, 8, 1, 2, 4, 16], 3: [8, 1, 4]}.get(kind, [8, 8, 8, 16])
    depth = draw(st.sampled_from(depths))
    width = draw(st.sampled_from([1, 2, 3, 7, 28, 65, 90]))
    height = draw(st.sampled_from([1, 2, 3, 7, 28, 70]))
    channels = KINDS[kind] * max(1, depth // 8)
    row_bytes = (width * channels * min(depth, 8) + 7) // 8
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, row_bytes // channels or 1, channels), np.uint8)
    if row_bytes % channels:
        pixels = rng.integers(0, 256, (height, row_bytes, 1), np.uint8)
    style = draw(st.sampled_from(["noise", "gray", "opaque gray", "black", "one pen", "dots"]))
    if style == "dots":
        pixels *= pixels > 250
    if pixels.shape[2] >= 3 and depth == 8:
        if style in ("gray", "opaque gray"):
            pixels[..., :3] = pixels[..., :1]
        if style in ("black", "one pen"):
            pixels[..., :3] = 0 if style == "black" else (40, 90, 200)
        if style == "opaque gray":
            pixels[..., 3:] = 255
    filters = draw(
        st.one_of(
            st.sampled_from([NONE, SUB, UP, AVERAGE, PAETH]).map(lambda one: [one] * height),
            st.lists(st.sampled_from([0, 1, 2, 3, 4, 4]), min_size=height, max_size=height),
            st.lists(st.sampled_from([0, 1, 5, 255]), min_size=height, max_size=height),
        )
    )
    return Content(width, height, kind, depth, pixels, filters)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """PNG files of every kind, most of them sound, some damaged in some way."""
    content = draw(contents())
    rows = filtered(content.pixels, content.filters)
    damage = draw(st.sampled_from([""] * 12 + ["short", "long", "cut", "behind", "bit", "none"]))
    if damage == "short":
        rows = rows[: draw(st.integers(0, len(rows)))]
    if damage == "long":
        rows += bytes(draw(st.sampled_from([1, 5, 100])))
    pixels = zlib.compress(rows, draw(st.sampled_from([0, 1, 9])))
    if damage == "cut":
        pixels = pixels[: -draw(st.integers(1, 6))]
    if damage == "behind":
        pixels += b"more"
    if damage == "bit":
        at = draw(st.integers(0, len(pixels) - 1))
        pixels = pixels[:at] + bytes([pixels[at] ^ 1 << draw(st.integers(0, 7))]) + pixels[at + 1 :]
    if damage == "none":
        pixels = b""
    lace = int(draw(st.integers(0, 30)) == 0)
    parts = [header(content.width, content.height, content.kind, content.depth, lace)]
    if content.kind == 3:
        colours = np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes()
        parts.append(chunk(b"PLTE", colours[: 3 << content.depth]))
    if draw(st.integers(0, 8)) == 0:
        parts.append(chunk(b"tRNS", bytes({0: 2, 2: 6, 3: 1}.get(content.kind, 2))))
    if draw(st.integers(0, 8)) == 0:
        parts.append(chunk(b"tEXt", b"a\0b"))
    cut = draw(st.integers(0, len(pixels)))
    bodies = [pixels[:cut], pixels[cut:]] if draw(st.booleans()) else [pixels]
    parts += [chunk(b"IDAT", body) for body in bodies]
    if draw(st.integers(0, 15)) == 0:
        parts.insert(draw(st.integers(1, len(parts))), parts[0])
    return MAGIC + b"".join(parts) + END


def outcome(call: Any, data: bytes) -> Plane | None:
    """The pixels, or None where there are none to be had."""
    try:
        return np.asarray(call(data))
    except Exception:  # noqa: BLE001 -- Pillow promises no type
        return None


@settings(max_examples=400)
@given(files())
def test_every_file_is_read_as_pillow_reads_it(data: bytes) -> None:
    expected = outcome(by_pillow, data)
    try:
        found = decode(data).gray
    except ImageError:
        assert expected is None or outcome(by_pillow, in_one_chunk(data)) is None
    else:
        assert expected is not None
        assert np.array_equal(found, expected)


def in_one_chunk(data: bytes) -> bytes:
    """A file with its pixels in one chunk.

    Pillow does not look at those behind the last row if they come in a chunk of their own, and so
    may miss that the checksum over the pixels is wrong.
    """
    parts: list[bytes] = []
    deflated = b""
    at = len(MAGIC)
    while at < len(data) - len(END):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name == b"IDAT":
            deflated += data[at + 8 : end - 4]
        else:
            parts.append(data[at:end])
        at = end
    return MAGIC + b"".join([*parts, chunk(b"IDAT", deflated), END])


def test_a_checksum_that_is_wrong_in_a_chunk_of_its_own_is_seen() -> None:
    deflated = zlib.compress(filtered(noise(2, 2), [NONE, NONE]))
    wrong = deflated[:-1] + bytes([deflated[-1] ^ 1])
    bodies = [wrong[:-4], wrong[-4:]]
    data = MAGIC + header(2, 2, 0, 8, 0) + b"".join(chunk(b"IDAT", one) for one in bodies) + END
    assert outcome(by_pillow, data) is not None
    assert outcome(by_pillow, in_one_chunk(data)) is None
    with pytest.raises(BrokenImage):
        decode(data)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.sampled_from([NONE, SUB, UP, AVERAGE, PAETH]), min_size=1, max_size=3),
    st.sampled_from(["L", "gray RGB", "opaque gray", "black"]),
)
@example(70, 70, [SUB], "L")
@example(70, 70, [SUB], "black")
def test_one_plane_is_read_as_one_plane(
    height: int, width: int, kinds: list[int], content: str
) -> None:
    plane = noise(height, width)
    pixels = {
        "L": plane,
        "gray RGB": np.dstack([plane] * 3),
        "opaque gray": np.dstack([plane] * 3 + [np.full_like(plane, 255)]),
        "black": np.dstack([np.zeros((height, width, 3), np.uint8), plane]),
    }[content]
    found = read(picture(pixels, [kinds[row % len(kinds)] for row in range(height)]))
    assert not isinstance(found, Image.Image)
    assert found[0] == ("A" if content == "black" else "L")
    assert np.array_equal(found[1], plane[..., 0])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kinds", [[SUB] * 4, [NONE, SUB, PAETH, UP]], ids=["one", "mixed"])
def test_colours_are_left_to_pillow(mode: str, kinds: list[int]) -> None:
    pixels = noise(4, 5, CHANNELS[mode])
    found = read(picture(pixels, kinds))
    assert isinstance(found, Image.Image)
    assert found.mode == mode
    assert np.array_equal(np.asarray(found), pixels)


def test_a_large_sum_does_not_overflow() -> None:
    side = int(PLAIN_PIXELS**0.5)
    rows = b"".join(b"\1" + b"\xff" + bytes(side - 1) for _ in range(side))
    found = read(Plain("L", side, side, zlib.compress(rows)))
    assert not isinstance(found, Image.Image)
    assert (found[1] == 255).all()


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
    ids=["deep", "palette", "gray and opacity", "interlaced", "tRNS", "long header", "late header"],
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


@pytest.mark.parametrize("name", [b"IDAT", b"tEXt"])
def test_a_file_of_nothing_but_tiny_chunks_is_refused(name: bytes) -> None:
    data = MAGIC + header() + chunk(name, b"") * 100_000 + END
    with pytest.raises(BrokenImage, match="chunks"):
        chunks_of(data)


def test_tiny_chunks_behind_the_pixels_are_not_walked_along() -> None:
    frames = chunk(b"fdAT", b"") * 100_000
    data = MAGIC + header() + chunk(b"IDAT", b"pixels") + frames + END
    assert [name for name, _ in chunks_of(data)] == [b"IHDR", b"IDAT", b"IEND"]
    with pytest.raises(BrokenImage):
        chunks_of(data[: -len(END)])
