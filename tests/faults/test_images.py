"""Files that are empty, cut, damaged, huge, disguised or odd."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import UNTURNED
from tests.faults.server import ECHO, Server, assert_unharmed, file_part, multipart

MAX_PIXELS = 70_000
SETTINGS = {"max_pixels": MAX_PIXELS}

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
BOMB = zlib.compress(bytes(100 * 2**20), 9)


def drawing() -> NDArray[np.uint8]:
    """A seven, black on white, in two levels, so that every mode and format can hold it exactly."""
    page = np.full((120, 100), 255, np.uint8)
    page[20:32, 25:75] = 0
    for y in range(20, 100):
        right = 75 - (y - 20) // 3
        page[y, right - 12 : right] = 0
    return page


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def seven(kind: str = "PNG", mode: str = "L", **options: Any) -> bytes:
    return saved(Image.fromarray(drawing()).convert(mode), kind, **options)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(name: bytes, data: bytes, *, before: bytes = b"IDAT") -> bytes:
    """The seven with one chunk more, before the pixels or before the end."""
    file = seven()
    at = file.index(before) - 4
    return file[:at] + chunk(name, data) + file[at:]


def declared(width: int, height: int) -> bytes:
    """A tiny PNG that says it is large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def declared_jpeg(width: int, height: int) -> bytes:
    """The seven with another size in its frame header."""
    file = seven("JPEG")
    at = file.index(b"\xff\xc0") + 5
    return file[:at] + struct.pack(">HH", height, width) + file[at + 4 :]


def two_frame_headers() -> bytes:
    """A second frame header (SOF) of another size behind the first."""
    file = seven("JPEG")
    at = file.index(b"\xff\xc0")
    end = at + 2 + struct.unpack(">H", file[at + 2 : at + 4])[0]
    second = bytearray(file[at:end])
    second[5:9] = struct.pack(">HH", 240, 200)
    return file[:end] + bytes(second) + file[end:]


def flat(width: int, height: int) -> bytes:
    return saved(Image.new("L", (width, height), 255))


def bad_crc() -> bytes:
    file = bytearray(seven())
    file[file.index(b"IEND") - 5] ^= 1  # the last byte of the pixels' checksum
    return bytes(file)


def declared_bmp(width: int, height: int) -> bytes:
    """A tiny BMP of runs that says it is large."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 2, 0, 0, 2, 2)
    palette = bytes(4) + b"\xff\xff\xff\0"
    return b"BM" + struct.pack("<IHHI", 64, 0, 0, 62) + info + palette + b"\0\1"


def declared_tiff(width: int, height: int) -> bytes:
    """A tiny TIFF that says it is large."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (273, 4, 1, 8), (279, 4, 1, 8)]
    packed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + packed + bytes(4)


def odd_tiff() -> bytes:
    file = seven("TIFF")
    at = file.index(struct.pack("<HHI", 259, 3, 1)) + 8
    return file[:at] + struct.pack("<H", 50_001) + file[at + 2 :]


def two_png_headers() -> bytes:
    """A second, larger header of a picture that Pillow reads chunk by chunk."""
    file = saved(Image.fromarray(drawing()).convert("P"))
    at = file.index(b"PLTE") - 4
    header = struct.pack(">IIBBBBB", 250, 250, 8, 3, 0, 0, 0)
    return file[:at] + chunk(b"IHDR", header) + file[at:]


def tiny_chunks(name: bytes) -> bytes:
    file = seven()
    at = file.index(b"IDAT") - 4
    return file[:at] + chunk(name, b"") * 10_000 + file[at:]


def tiny_segments(segment: bytes) -> bytes:
    file = seven("JPEG")
    return file[:2] + segment * 40_000 + file[2:]


def many_scans() -> bytes:
    file = seven("JPEG", progressive=True)
    scan = file[file.index(b"\xff\xda") : -2]
    return file[:-2] + scan * 1_000 + file[-2:]


def endless_extensions() -> bytes:
    file = seven("GIF")
    at = file.index(b"\x2c\0\0\0\0")
    return file[:at] + b"\x21\xfe\1.\0" * 40_000 + file[at:]


def gif(frames: int) -> bytes:
    file = seven("GIF")
    at = file.index(b"\x2c\0\0\0\0")  # the image descriptor
    return file[:at] + file[at:-1] * frames + b"\x3b"


def wiped_gif(width: int, height: int) -> bytes:
    """A tiny GIF whose first frame is declared large, and to be wiped after it was shown."""
    control = b"\x21\xf9\x04" + bytes([2 << 2]) + b"\0\0\0\0"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0" + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(3) + control + frame + b"\x3b"


def apng(frames: int) -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 100, 120, 0, 0, 1, 10, 0, 0)
    file = with_chunk(b"acTL", struct.pack(">II", frames, 0))
    at = file.index(b"IEND") - 4
    pixels = zlib.compress(bytes(101 * 120), 9)
    more = (chunk(b"fcTL", control) + chunk(b"fdAT", bytes(4) + pixels)) * frames
    return file[:at] + more + file[at:]


def webp(frames: int) -> bytes:
    two = saved(
        Image.fromarray(drawing()).convert("RGB"),
        "WEBP",
        save_all=True,
        lossless=True,
        append_images=[Image.new("RGB", (100, 120))],
    )
    first = two.index(b"ANMF")
    second = two.index(b"ANMF", first + 4)
    body = two[8:second] + two[second:] * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def colours() -> bytes:
    """Dark blue on light yellow, as CMYK."""
    page = Image.fromarray(drawing()).convert("L")
    coloured = Image.composite(
        Image.new("RGB", page.size, "#ffffc0"), Image.new("RGB", page.size, "#000040"), page
    )
    return saved(coloured.convert("CMYK"), "JPEG", quality=95)


def sixteen_bit() -> bytes:
    return saved(Image.fromarray(drawing().astype(np.uint16) * 257))


def on_nothing(unseen: int, mode: str = "RGBA") -> bytes:
    """Black ink; what is not ink is transparent, over `unseen`."""
    page = drawing()
    rgba = np.zeros((*page.shape, 4), np.uint8)
    rgba[..., :3] = np.where(page == 0, 0, unseen)[..., None]
    rgba[..., 3] = 255 - page
    return saved(Image.fromarray(rgba).convert(mode))


def indexed_on_nothing() -> bytes:
    page = Image.fromarray((drawing() == 0).astype(np.uint8), mode="P")
    page.putpalette([255, 255, 255, 0, 0, 0])
    return saved(page, transparency=0)


def turned(orientation: int, kind: str = "PNG", **options: Any) -> bytes:
    """The seven as a camera held another way stores it."""
    page = Image.fromarray(drawing())
    if orientation in UNTURNED:
        page = page.transpose(UNTURNED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(page.convert("RGB"), kind, exif=exif, **options)


LOOPING_EXIF = b"II*\0\x08\0\0\0" + b"\xff\xff" + b"\x13\x01\x03\0\x01\0\0\0\x08\0\0\0" * 4000

REFUSED: list[tuple[str, Callable[[], bytes], set[str]]] = [
    ("text named .png", lambda: ECHO.encode() * 100, {"not-an-image"}),
    *(
        (f"png cut at {share}%", lambda share=share: cut("PNG", share), {"broken-image"})
        for share in (10, 50, 99)
    ),
    *(
        (f"jpeg cut at {share}%", lambda share=share: cut("JPEG", share), {"broken-image"})
        for share in (10, 50, 99)
    ),
    ("gif cut at 50%", lambda: cut("GIF", 50), {"broken-image"}),
    ("bmp cut at 50%", lambda: cut("BMP", 50), {"broken-image"}),
    ("webp cut at 50%", lambda: cut("WEBP", 50), {"broken-image"}),
    ("magic alone", lambda: PNG_MAGIC, {"broken-image"}),
    ("bad crc", bad_crc, {"broken-image"}),
    ("50,000 × 50,000 png", lambda: declared(50_000, 50_000), {"image-too-large"}),
    ("50,000 × 50,000 jpeg", lambda: declared_jpeg(50_000, 50_000), {"image-too-large"}),
    ("60,000 × 60,000 gif", lambda: wiped_gif(60_000, 60_000), {"image-too-large"}),
    ("10,000 × 10,000 gif", lambda: wiped_gif(10_000, 10_000), {"image-too-large"}),
    ("7,000 × 7,000 gif", lambda: wiped_gif(7_000, 7_000), {"image-too-large"}),
    ("no size", lambda: declared(0, 0), {"broken-image"}),
    ("one pixel too many", lambda: flat(MAX_PIXELS + 1, 1), {"image-too-large"}),
    ("more pixels declared than there are", lambda: declared(250, 250), {"broken-image"}),
    ("two frame headers", two_frame_headers, {"broken-image", "image-too-large"}),
    ("50,000 × 50,000 bmp", lambda: declared_bmp(50_000, 50_000), {"image-too-large"}),
    ("50,000 × 50,000 tiff", lambda: declared_tiff(50_000, 50_000), {"image-too-large"}),
    ("two png headers", two_png_headers, {"broken-image"}),
    ("png of tiny chunks", lambda: tiny_chunks(b"IDAT"), {"broken-image"}),
    ("jpeg of tiny segments", lambda: tiny_segments(b"\xff\xfe\0\2"), {"broken-image"}),
    ("jpeg of padding", lambda: tiny_segments(b"\xff"), {"broken-image"}),
    ("jpeg of 1,000 scans", many_scans, {"broken-image"}),
    ("gif of endless extensions", endless_extensions, {"broken-image"}),
    ("tiff cut at 50%", lambda: cut("TIFF", 50), {"broken-image"}),
    ("tiff of odd compression", odd_tiff, {"not-an-image"}),
    ("pdf", lambda: b"%PDF-1.7" + bytes(100), {"not-an-image"}),
    ("heic", lambda: b"\0\0\0\x18ftypheic" + bytes(100), {"broken-image"}),
    ("eps", lambda: seven("EPS"), {"not-an-image"}),
    ("psd", lambda: b"8BPS\0\x01" + bytes(100), {"not-an-image"}),
    ("svg", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"not-an-image"}),
    ("ico", lambda: seven("ICO"), {"not-an-image"}),
    ("zip", lambda: b"PK\x03\x04" + bytes(100), {"not-an-image"}),
]


def cut(kind: str, share: int) -> bytes:
    file = seven(kind)
    return file[: len(file) * share // 100]


# Each is read as the plain seven is: what the model would see is the same to the last pixel.
SAME: list[tuple[str, Callable[[], bytes]]] = [
    *((f"mode {mode}", lambda mode=mode: seven(mode=mode)) for mode in ("1", "LA", "P", "RGB")),
    ("mode RGBA", lambda: seven(mode="RGBA")),
    ("16 bit", sixteen_bit),
    ("gif", lambda: seven("GIF")),
    ("bmp", lambda: seven("BMP", "RGB")),
    ("webp", lambda: seven("WEBP", "RGB", lossless=True)),
    ("tiff", lambda: seven("TIFF")),
    ("tiff in colour", lambda: seven("TIFF", "RGB", compression="tiff_lzw")),
    ("tiff of floats", lambda: seven("TIFF", "F")),
    ("transparent over black", lambda: on_nothing(0)),
    ("transparent over white", lambda: on_nothing(255)),
    ("transparent in gray", lambda: on_nothing(255, "LA")),
    ("transparent index", indexed_on_nothing),
    *((f"exif {turn}", lambda turn=turn: turned(turn)) for turn in range(1, 10)),
    ("webp turned", lambda: turned(6, "WEBP", lossless=True)),
    ("tiff turned", lambda: turned(6, "TIFF")),
    ("zip behind", lambda: seven() + b"PK\x03\x04" + bytes(10_000)),
    ("zTXt bomb before", lambda: with_chunk(b"zTXt", b"a\0\0" + BOMB)),
    ("zTXt bomb after", lambda: with_chunk(b"zTXt", b"a\0\0" + BOMB, before=b"IEND")),
    ("iTXt bomb before", lambda: with_chunk(b"iTXt", b"a\0\x01\0\0\0" + BOMB)),
    ("iTXt bomb after", lambda: with_chunk(b"iTXt", b"a\0\x01\0\0\0" + BOMB, before=b"IEND")),
    ("iCCP bomb before", lambda: with_chunk(b"iCCP", b"a\0\0" + BOMB)),
    ("iCCP bomb after", lambda: with_chunk(b"iCCP", b"a\0\0" + BOMB, before=b"IEND")),
    ("eXIf without end before", lambda: with_chunk(b"eXIf", LOOPING_EXIF)),
    ("eXIf without end after", lambda: with_chunk(b"eXIf", LOOPING_EXIF, before=b"IEND")),
    ("gif of 10,000 frames", lambda: gif(10_000)),
    ("apng of 10,000 frames", lambda: apng(10_000)),
    ("webp of 10,000 frames", lambda: webp(10_000)),
]

# Lossy: read, and that is all that can be said with a stand-in for a model.
READ: list[tuple[str, Callable[[], bytes]]] = [
    ("jpeg", lambda: seven("JPEG")),
    ("cmyk", colours),
    ("avif", lambda: seven("AVIF")),
    ("avif with opacity", lambda: seven("AVIF", "RGBA")),
    ("ycbcr", lambda: seven("JPEG", "YCbCr")),
    (
        "mpo",
        lambda: saved(
            Image.fromarray(drawing()).convert("RGB"),
            "MPO",
            save_all=True,
            append_images=[Image.new("RGB", (100, 120))],
        ),
    ),
    ("exactly the pixel limit", lambda: flat(MAX_PIXELS // 250, 250)),
    ("1 × 1", lambda: flat(1, 1)),
    ("1 × 65,535", lambda: flat(1, 65_535)),
    ("65,535 × 1", lambda: flat(65_535, 1)),
]


@pytest.mark.parametrize(
    ("make", "slugs"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED]
)
def test_refused(server: Server, make: Callable[[], bytes], slugs: set[str]) -> None:
    reply = server.predict(make())
    assert reply.problem in slugs
    assert "Image 0" in reply.json["detail"]
    assert_unharmed(server, [reply])


@pytest.mark.parametrize("make", [pytest.param(case[1], id=case[0]) for case in SAME])
def test_read_as_the_plain_one(server: Server, make: Callable[[], bytes]) -> None:
    plain = server.predict(seven(), query="?include=seen").json["predictions"][0]["seen"]
    reply = server.predict(make(), query="?include=seen")
    assert reply.status == 200
    assert reply.json["predictions"][0]["seen"]["image"] == plain["image"]
    assert_unharmed(server, [reply])


@pytest.mark.parametrize("make", [pytest.param(case[1], id=case[0]) for case in READ])
def test_read(server: Server, make: Callable[[], bytes]) -> None:
    reply = server.predict(make())
    assert reply.status == 200
    assert_unharmed(server, [reply])


@pytest.mark.parametrize("lie", ["image/jpeg", "text/plain", "application/pdf", "nonsense"])
def test_what_a_part_says_it_is_does_not_matter(server: Server, lie: str) -> None:
    headers, content = file_part(seven(), "seven.eps")
    reply = server.predict(*multipart((f"{headers}\r\nContent-Type: {lie}", content)))
    assert reply.status == 200
    assert_unharmed(server, [reply])


def test_an_eps_named_jpg_starts_no_other_program(server: Server) -> None:
    reply = server.predict(*multipart(file_part(seven("EPS"), "seven.jpg")))
    assert reply.problem == "not-an-image"
    assert_unharmed(server, [reply])


def test_an_empty_file_is_no_image(server: Server) -> None:
    reply = server.predict(*multipart(file_part(b"")))
    assert reply.problem == "not-an-image"
    assert_unharmed(server, [reply])


def test_the_damaged_one_of_several_is_named(server: Server) -> None:
    reply = server.predict(*multipart(file_part(seven()), file_part(cut("PNG", 50))))
    assert reply.problem == "broken-image"
    assert "Image 1" in reply.json["detail"]
    assert_unharmed(server, [reply])
