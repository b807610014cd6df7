import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.errors import BrokenImage, NotAnImage
from app.vision.decode import FORMATS, HEIC, Picture, decode, encode_png, probe
from app.vision.grayscale import MAX_GRAY_PIXELS, to_gray
from app.vision.png import MAGIC
from tests.conftest import UNTURNED

Pixels = NDArray[np.uint8]


def seven(size: int = 60) -> Image.Image:
    """A 7, black on white, that looks different from all eight sides."""
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    points = [(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)]
    pen.line([(x * size, y * size) for x, y in points], fill=0, width=size // 10)
    return image


def saved(image: Image.Image, file: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, file, **options)
    return out.getvalue()


def read(data: bytes) -> Picture:
    return decode(data)


def chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def with_chunks(data: bytes, *chunks: bytes, before_end: bool = False) -> bytes:
    """A PNG with more chunks, after its header or before its end."""
    at = len(data) - 12 if before_end else 33
    return data[:at] + b"".join(chunks) + data[at:]


NAMES = [image_format.name for image_format in FORMATS if image_format is not HEIC]
"""Formats that Pillow writes; of HEIC is `test_heif`."""


@pytest.mark.parametrize("file", NAMES)
def test_every_format_reads_the_same_picture(file: str) -> None:
    options = {"lossless": True} if file == "WebP" else {}
    gray = read(saved(seven(), file, **options)).gray
    assert gray.dtype == np.uint8
    assert gray.shape == (60, 60)
    assert np.abs(gray.astype(int) - np.asarray(seven())).mean() < 2


def sixteen_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def gray_with_alpha(image: Image.Image) -> Image.Image:
    return Image.merge("LA", [image, Image.new("L", image.size, 255)])


def palette(image: Image.Image) -> Image.Image:
    return image.convert("RGB").quantize(16)


@pytest.mark.parametrize(
    ("convert", "file"),
    [
        (lambda i: i.convert("1"), "PNG"),
        (lambda i: i, "PNG"),
        (gray_with_alpha, "PNG"),
        (palette, "PNG"),
        (lambda i: i.convert("RGB"), "PNG"),
        (lambda i: i.convert("RGBA"), "PNG"),
        (sixteen_bit, "PNG"),
        (lambda i: i.convert("CMYK"), "JPEG"),
        (lambda i: i.convert("YCbCr"), "JPEG"),
    ],
    ids=["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr"],
)
def test_every_mode_reads_the_same_picture(convert: Any, file: str) -> None:
    gray = read(saved(convert(seven()), file)).gray.astype(int)
    assert np.abs(gray - np.asarray(seven())).mean() < 3


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 1000, 2000, 4000]], np.uint16))
    assert read(saved(deep)).gray.tolist() == [[0, 64, 128, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    upright = seven().crop((0, 0, 50, 60))
    stored = upright.transpose(UNTURNED[orientation]) if orientation in UNTURNED else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(saved(stored, "PNG", exif=exif)).gray, np.asarray(upright))


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"nonsense",
        b"II*\0",
        b"MM\0*" + struct.pack(">I", 4_000_000_000),
        b"II*\0" + struct.pack("<IH", 8, 65535),
        b"II*\0" + struct.pack("<IHHHIH", 8, 1, 0x0112, 3, 1, 9),
        b"II*\0" + struct.pack("<IHHHIH", 8, 1, 0x0112, 4, 1, 6),
    ],
    ids=["empty", "text", "cut", "far", "endless", "nine", "wrong type"],
)
def test_exif_that_makes_no_sense_is_passed_over(exif: bytes) -> None:
    data = with_chunks(saved(seven()), chunk(b"eXIf", exif))
    assert np.array_equal(read(data).gray, np.asarray(seven()))


@pytest.mark.parametrize("level", [0, 255], ids=["black", "white"])
@pytest.mark.parametrize("hidden", [0, 255], ids=["over black", "over white"])
def test_ink_on_transparency_shows_whatever_lies_under_it(level: int, hidden: int) -> None:
    alpha = 255 - np.asarray(seven())
    rgba = np.full((60, 60, 4), hidden, np.uint8)
    rgba[alpha > 0, :3] = level
    rgba[..., 3] = alpha
    expected = alpha if level else 255 - alpha
    assert np.array_equal(read(saved(Image.fromarray(rgba))).gray, expected)


def test_transparency_of_a_palette_is_transparency() -> None:
    image = Image.fromarray((np.asarray(seven()) > 127).astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    gray = read(saved(image, transparency=1)).gray
    assert np.array_equal(gray > 127, np.asarray(seven()) < 128)


def test_a_card_keeps_its_colours_and_lends_its_ground_to_what_is_around_it() -> None:
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[20:80, 20:80] = 255
    rgba[20:80, 20:80, :3] = np.asarray(seven())[..., None]
    gray = read(saved(Image.fromarray(rgba))).gray
    assert np.array_equal(gray[20:80, 20:80], np.asarray(seven()))
    assert (gray[:20] == 255).all()


def test_even_half_transparency_is_no_ink() -> None:
    rgba = np.dstack([np.asarray(seven())] * 3 + [np.full((60, 60), 128, np.uint8)])
    assert np.array_equal(read(saved(Image.fromarray(rgba))).gray, np.asarray(seven()))


def test_nothing_but_transparency_is_even() -> None:
    assert np.ptp(read(saved(Image.new("RGBA", (40, 40)))).gray) == 0


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ((255, 255, 0), (255, 255, 255)),
        ((0, 0, 255), (0, 0, 0)),
        ((220, 0, 0), (0, 110, 0)),
        ((255, 128, 128), (128, 192, 255)),
    ],
    ids=["yellow on white", "blue on black", "red on green", "pink on sky"],
)
def test_coloured_ink_keeps_its_contrast(ink: tuple[int, ...], ground: tuple[int, ...]) -> None:
    written = np.asarray(seven()) < 128
    pixels = np.where(written[..., None], np.array(ink), np.array(ground)).astype(np.uint8)
    gray = read(saved(Image.fromarray(pixels))).gray.astype(int)
    assert abs(int(gray[written].mean()) - int(gray[~written].mean())) > 80


def test_gray_in_colour_is_left_as_it_is() -> None:
    assert np.array_equal(read(saved(seven().convert("RGB"))).gray, np.asarray(seven()))


def test_a_large_jpeg_is_decoded_at_reduced_size() -> None:
    picture = read(saved(seven(2000), "JPEG"))
    assert picture.scale == pytest.approx(4)
    assert picture.gray.shape == (500, 500)


def test_a_small_jpeg_is_not() -> None:
    picture = read(saved(seven(700), "JPEG"))
    assert picture.scale == 1
    assert picture.gray.shape == (700, 700)


def test_a_large_png_is_reduced_by_a_whole_factor() -> None:
    picture = read(saved(seven(2000)))
    assert picture.scale == 2
    assert picture.gray.size <= MAX_GRAY_PIXELS
    assert np.abs(picture.gray.astype(int) - np.asarray(seven(2000).reduce(2))).max() <= 1


FTYP = b"\0\0\0\x1cftyp"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no bytes"),
        (b"\0\1\2", "are no PNG, JPEG, WebP, GIF, BMP"),
        ("Eine Größe\n".encode() * 200, "are text, and no image"),
        (("ö" * 1024).encode()[1:], "are no PNG"),
        (b"RIFF\0\0\0\0WAVE", "are no PNG"),
        (b"GIF8", "text"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"8BPS" + bytes(100), "Photoshop"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<!DOCTYPE html><html><svg", "SVG"),
        (b" <!DOCTYPE html><html>", "HTML; send the image's own file."),
        (FTYP + b"hevc\0\0\0\0msf1", "HEIC"),
        (FTYP + b"avis\0\0\0\0msf1", "AVIF"),
        (FTYP + b"isom\0\0\0\0mp42", "video"),
        (b"\xff\x0a", "JPEG XL"),
        (b"PK\3\4", "ZIP"),
        (b"\r\n\xff\xd8\xff\xe0", "white space before the JPEG"),
        (b"II+\0", "BigTIFF"),
        (b"data:image/png;base64,", "data URI"),
        (b"iVBORw0KGgoAAA", "base64"),
    ],
)
def test_what_is_no_image_we_read_is_named(data: bytes, word: str) -> None:
    with pytest.raises(NotAnImage, match=word):
        probe(data)
    with pytest.raises(NotAnImage):
        read(data)


@pytest.mark.parametrize("file", NAMES)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_truncated_file_is_broken(file: str, share: float) -> None:
    data = saved(seven(), file)
    with pytest.raises((BrokenImage, NotAnImage)):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("missing", [1, 4, 11, 12, 13, 30])
def test_a_png_is_truncated_to_the_last_byte(missing: int) -> None:
    with pytest.raises(BrokenImage):
        read(saved(seven())[:-missing])


def test_a_bad_checksum_is_broken() -> None:
    data = bytearray(saved(seven()))
    data[data.index(b"IDAT") + 10] ^= 1
    with pytest.raises(BrokenImage):
        read(bytes(data))


@pytest.mark.parametrize("file", NAMES)
def test_the_header_tells_size_memory_and_cost(file: str) -> None:
    header = probe(saved(Image.new("RGB", (100, 70)), file))
    assert header[:3] == (file, 100, 70)
    assert header.pixels == 7000
    larger = probe(saved(Image.new("RGB", (1000, 700)), file))
    assert larger.decoded_bytes > 10 * header.decoded_bytes
    assert larger.cost > 3 * header.cost


@pytest.mark.parametrize("side", [50_000, 2**31 - 1])
def test_a_tiny_file_that_declares_a_huge_image_says_so(side: int) -> None:
    data = MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    header = probe(data)
    assert header.pixels == side**2
    assert header.decoded_bytes > side**2


def test_a_huge_webp_says_so_before_its_canvas_is_made() -> None:
    frames = [Image.new("RGBA", (4, 4), level) for level in ("red", "blue")]
    data = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = b"\xfe\x3f\0" * 2
    assert probe(bytes(data)).pixels == 16_383**2


@pytest.mark.parametrize("file", NAMES)
def test_without_pixels_it_is_broken(file: str) -> None:
    header = probe(saved(seven(), file))
    assert header.pixels == 3600
    if file == "PNG":
        empty = struct.pack(">IIBBBBB", 0, 7, 8, 0, 0, 0, 0)
        with pytest.raises(BrokenImage):
            probe(MAGIC + chunk(b"IHDR", empty))


def test_a_second_header_is_no_way_to_decode_more_than_was_judged() -> None:
    data = saved(seven().convert("P"))
    at = data.index(b"PLTE") - 4
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 600, 600, 8, 3, 0, 0, 0))
    with pytest.raises(BrokenImage, match="more than one size"):
        read(data[:at] + second + data[at:])


def bmp_runs(width: int, height: int, runs: bytes, *, kind: int = 1) -> bytes:
    palette = b"\0\0\0\0" + b"\xff\xff\xff\0" + b"\0\0\xff\0"
    start = 54 + len(palette)
    bits = 8 if kind == 1 else 4
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(runs), 0, 0, 3, 3)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


@pytest.mark.parametrize(
    ("kind", "runs"),
    [
        (1, b"\2\1\3\0\0\0\5\2\0\0\0\3\0\1\2\0\2\1\0\1"),
        (1, b"\5\1\0\0\0\2\2\1\3\1\0\1"),
        (2, b"\2\x10\3\0\0\0\5\x21\0\0\0\3\x01\x20\2\x11\0\1"),
    ],
    ids=["runs and literals", "a jump", "four bits"],
)
def test_runs_of_a_bmp_are_expanded_as_pillow_does(kind: int, runs: bytes) -> None:
    data = bmp_runs(5, 3, runs, kind=kind)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    gray = np.asarray(Image.fromarray(expected).convert("L"))
    found = read(data).gray
    assert found.shape == (3, 5)
    assert ((found == 0) == (gray == 0)).all()
    assert ((found == 255) == (gray == 255)).all()


def test_runs_of_a_bmp_that_are_cut_are_broken() -> None:
    with pytest.raises(BrokenImage):
        read(bmp_runs(5, 3, b"\2\1\3\0\0")[:-4])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg", None])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "P", "1"])
def test_tiffs_of_every_kind_are_read(compression: str | None, mode: str) -> None:
    if compression == "jpeg" and mode in ("RGBA", "I;16", "P", "1"):
        pytest.skip("not written")
    image = seven().convert("1" if mode == "1" else mode)
    gray = read(saved(image, "TIFF", compression=compression)).gray
    assert np.abs(gray.astype(int) - np.asarray(seven())).mean() < 3


def tiff(levels: Pixels, kind: str, channels: int, *, apart: bool) -> bytes:
    """A TIFF of `levels` in each channel, 0 to 1 in floats, which no channel's values exceed."""
    values = levels * {"u": 257.0, "f": 1 / 255}[kind[0]] if kind != "u1" else levels
    numbers = np.stack([values.astype("<" + kind)] * channels, 0 if apart else -1)
    planes = channels if apart else 1
    length = numbers.nbytes // planes
    data_at = 8
    tags: dict[int, list[int]] = {
        256: [levels.shape[1]],
        257: [levels.shape[0]],
        258: [8 * numbers.itemsize] * channels,
        262: [2 if channels == 3 else 1],
        273: [data_at + plane * length for plane in range(planes)],
        277: [channels],
        279: [length] * planes,
        284: [2 if apart else 1],
        339: [{"u": 1, "f": 3}[kind[0]]] * channels,
    }
    directory_at = data_at + numbers.nbytes
    outside_at = directory_at + 2 + 12 * len(tags) + 4
    directory, outside = struct.pack("<H", len(tags)), b""
    for tag, numbers_of in tags.items():
        packed = struct.pack(f"<{len(numbers_of)}I", *numbers_of)
        if len(packed) > 4:
            packed, at = struct.pack("<I", outside_at + len(outside)), packed
            outside += at
        directory += struct.pack("<HHI", tag, 4, len(numbers_of)) + packed
    head = b"II*\0" + struct.pack("<I", directory_at)
    return head + numbers.tobytes() + directory + bytes(4) + outside


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["u1", "u2", "f2", "f4", "f8"])
def test_a_tiff_is_read_right_or_refused_by_what_it_is(
    kind: str, channels: int, apart: bool
) -> None:
    levels = np.asarray(seven())
    data = tiff(levels, kind, channels, apart=apart)
    is_read = (kind, channels) in {("u1", 1), ("u1", 3), ("u2", 1), ("f4", 1)}
    if is_read or (kind, channels, apart) == ("u2", 3, False):
        assert np.abs(read(data).gray.astype(int) - levels).max() <= 1
    else:
        with pytest.raises(NotAnImage, match="8 bits a channel"):
            read(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_tiff_is_undone_once(orientation: int) -> None:
    stored = seven().crop((0, 0, 50, 60))
    exif = Image.Exif()
    exif[0x0112] = orientation
    as_png, as_tiff = (read(saved(stored, file, exif=exif)).gray for file in ("PNG", "TIFF"))
    assert np.array_equal(as_png, as_tiff)


def test_odd_tags_of_a_tiff_are_not_looked_at() -> None:
    data = bytearray(saved(seven(), "TIFF", tiffinfo={270: "a description", 305: "software"}))
    at = data.index(struct.pack("<HH", 305, 2))
    struct.pack_into("<HHII", data, at, 305, 2, 2**31, 2**31)
    assert np.array_equal(read(bytes(data)).gray, np.asarray(seven()))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_narrow_images_are_images(size: tuple[int, int]) -> None:
    assert read(saved(Image.new("L", size))).gray.shape == size[::-1]


@cache
def zeros() -> bytes:
    """20 MB in 20 KB: more than Pillow would inflate of one text."""
    return zlib.compress(bytes(20_000_000))


@pytest.mark.parametrize("before_end", [False, True], ids=["before pixels", "after pixels"])
@pytest.mark.parametrize(
    ("name", "head"),
    [
        (b"zTXt", b"key\0\0"),
        (b"iTXt", b"key\0\x01\0\0\0"),
        (b"iCCP", b"name\0\0"),
        (b"eXIf", b""),
    ],
    ids=["zTXt", "iTXt", "iCCP", "eXIf"],
)
def test_compressed_bombs_are_not_inflated(name: bytes, head: bytes, before_end: bool) -> None:
    bomb = chunk(name, head + zeros())
    data = with_chunks(saved(seven()), bomb, before_end=before_end)
    assert np.array_equal(read(data).gray, np.asarray(seven()))


def test_what_lies_behind_a_png_is_not_read() -> None:
    assert np.array_equal(read(saved(seven()) + b"PK\3\4" + bytes(100)).gray, np.asarray(seven()))


@pytest.mark.parametrize("file", ["PNG", "GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(file: str) -> None:
    others = [Image.new("L", (60, 60), level) for level in (0, 90, 200)]
    options = {"lossless": True} if file == "WEBP" else {}
    data = saved(seven(), file, save_all=True, append_images=others, **options)
    assert np.abs(read(data).gray.astype(int) - np.asarray(seven())).mean() < 2


def test_of_an_mpo_the_first_picture_is_read() -> None:
    data = saved(seven(), "MPO", save_all=True, append_images=[Image.new("L", (60, 60))])
    assert np.abs(read(data).gray.astype(int) - np.asarray(seven())).mean() < 2


def test_a_broken_animation_control_does_not_warn() -> None:
    data = with_chunks(saved(seven()), chunk(b"acTL", bytes(8)), chunk(b"acTL", bytes(8)))
    assert np.array_equal(read(data).gray, np.asarray(seven()))


def test_an_image_that_lies_about_its_insides_is_broken() -> None:
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(3))
    data = MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    with pytest.raises(BrokenImage):
        read(data)


def test_a_png_that_was_encoded_decodes_to_itself() -> None:
    pixels = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(28, 28)
    assert np.array_equal(read(encode_png(pixels)).gray, pixels)


def test_errors_show_nothing_of_the_input() -> None:
    with pytest.raises(BrokenImage) as failure:
        read(MAGIC + b"secret")
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"quality": 80}),
        ("RGB", {"lossless": True}),
        ("RGBA", {"quality": 70}),
        ("RGBA", {"lossless": True, "exact": True}),
        ("RGB", {"save_all": True, "append_images": [Image.new("RGB", (61, 47))]}),
    ],
)
def test_webp_is_decoded_as_pillow_decodes_it(mode: str, options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (47, 61, len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise, mode).save(file, "WEBP", **options)
    expected = to_gray(Image.open(file))
    assert (decode(file.getvalue()).gray == expected).all()
