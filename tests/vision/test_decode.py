import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.errors import BrokenImage, ImageTooLarge, NotAnImage
from app.vision.decode import Picture, decode, encode_png
from app.vision.png import MAGIC

Pixels = NDArray[np.uint8]
MAX_PIXELS = 1_000_000


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
    return decode(data, max_pixels=MAX_PIXELS)


def chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def with_chunks(data: bytes, *chunks: bytes, before_end: bool = False) -> bytes:
    """A PNG with more chunks, after its header or before its end."""
    at = len(data) - 12 if before_end else 33
    return data[:at] + b"".join(chunks) + data[at:]


@pytest.mark.parametrize("file", ["PNG", "GIF", "BMP", "WEBP", "JPEG"])
def test_every_format_reads_the_same_picture(file: str) -> None:
    options = {"lossless": True} if file == "WEBP" else {}
    grey = read(saved(seven(), file, **options)).grey
    assert grey.dtype == np.uint8
    assert grey.shape == (60, 60)
    assert np.abs(grey.astype(int) - np.asarray(seven())).mean() < 2


def sixteen_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def grey_with_alpha(image: Image.Image) -> Image.Image:
    return Image.merge("LA", [image, Image.new("L", image.size, 255)])


def palette(image: Image.Image) -> Image.Image:
    return image.convert("RGB").quantize(16)


@pytest.mark.parametrize(
    ("convert", "file"),
    [
        (lambda i: i.convert("1"), "PNG"),
        (lambda i: i, "PNG"),
        (grey_with_alpha, "PNG"),
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
    grey = read(saved(convert(seven()), file)).grey.astype(int)
    assert np.abs(grey - np.asarray(seven())).mean() < 3


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 1000, 2000, 4000]], np.uint16))
    assert read(saved(deep)).grey.tolist() == [[0, 64, 128, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    upright = seven().crop((0, 0, 50, 60))
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(saved(stored, "PNG", exif=exif)).grey, np.asarray(upright))


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
    assert np.array_equal(read(data).grey, np.asarray(seven()))


@pytest.mark.parametrize("level", [0, 255], ids=["black", "white"])
@pytest.mark.parametrize("hidden", [0, 255], ids=["over black", "over white"])
def test_ink_on_transparency_shows_whatever_lies_under_it(level: int, hidden: int) -> None:
    alpha = 255 - np.asarray(seven())
    rgba = np.full((60, 60, 4), hidden, np.uint8)
    rgba[alpha > 0, :3] = level
    rgba[..., 3] = alpha
    expected = alpha if level else 255 - alpha
    assert np.array_equal(read(saved(Image.fromarray(rgba))).grey, expected)


def test_transparency_of_a_palette_is_transparency() -> None:
    image = Image.fromarray((np.asarray(seven()) > 127).astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    grey = read(saved(image, transparency=1)).grey
    assert np.array_equal(grey > 127, np.asarray(seven()) < 128)


def test_a_card_keeps_its_colours_and_lends_its_ground_to_what_is_around_it() -> None:
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[20:80, 20:80] = 255
    rgba[20:80, 20:80, :3] = np.asarray(seven())[..., None]
    grey = read(saved(Image.fromarray(rgba))).grey
    assert np.array_equal(grey[20:80, 20:80], np.asarray(seven()))
    assert (grey[:20] == 255).all()


def test_even_half_transparency_is_no_ink() -> None:
    rgba = np.dstack([np.asarray(seven())] * 3 + [np.full((60, 60), 128, np.uint8)])
    assert np.array_equal(read(saved(Image.fromarray(rgba))).grey, np.asarray(seven()))


def test_nothing_but_transparency_is_even() -> None:
    assert np.ptp(read(saved(Image.new("RGBA", (40, 40)))).grey) == 0


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
    grey = read(saved(Image.fromarray(pixels))).grey.astype(int)
    assert abs(int(grey[written].mean()) - int(grey[~written].mean())) > 80


def test_grey_in_colour_is_left_as_it_is() -> None:
    assert np.array_equal(read(saved(seven().convert("RGB"))).grey, np.asarray(seven()))


def test_a_large_jpeg_is_decoded_at_reduced_size() -> None:
    picture = decode(saved(seven(2000), "JPEG"), max_pixels=4_000_000)
    assert picture.scale == pytest.approx(4)
    assert picture.grey.shape == (500, 500)


def test_a_small_jpeg_is_not() -> None:
    picture = read(saved(seven(700), "JPEG"))
    assert picture.scale == 1
    assert picture.grey.shape == (700, 700)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"II*\0" + bytes(100),
        b"8BPS" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\0\0\0\0WAVE",
    ],
    ids=["empty", "text", "EPS", "TIFF", "PSD", "SVG", "WAV"],
)
def test_what_is_no_image_we_read(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        read(data)


@pytest.mark.parametrize("file", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
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


@pytest.mark.parametrize("file", ["PNG", "GIF", "BMP"])
def test_pixels_are_counted_before_they_are_decoded(file: str) -> None:
    image = Image.new("L", (100, 100))
    assert decode(saved(image, file), max_pixels=10_000).grey.shape == (100, 100)
    with pytest.raises(ImageTooLarge):
        decode(saved(image, file), max_pixels=9_999)


@pytest.mark.parametrize("side", [50_000, 2**31 - 1])
def test_a_tiny_file_that_declares_a_huge_image_is_refused(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageTooLarge):
        read(data)


def test_a_huge_webp_is_refused_before_its_canvas_is_made() -> None:
    frames = [Image.new("RGBA", (4, 4), level) for level in ("red", "blue")]
    data = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = b"\xfe\x3f\0" * 2  # 16,383 × 16,383
    with pytest.raises(ImageTooLarge):
        read(bytes(data))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_narrow_images_are_images(size: tuple[int, int]) -> None:
    assert read(saved(Image.new("L", size))).grey.shape == size[::-1]


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
    assert np.array_equal(read(data).grey, np.asarray(seven()))


def test_what_lies_behind_a_png_is_not_read() -> None:
    assert np.array_equal(read(saved(seven()) + b"PK\3\4" + bytes(100)).grey, np.asarray(seven()))


@pytest.mark.parametrize("file", ["PNG", "GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(file: str) -> None:
    others = [Image.new("L", (60, 60), level) for level in (0, 90, 200)]
    options = {"lossless": True} if file == "WEBP" else {}
    data = saved(seven(), file, save_all=True, append_images=others, **options)
    assert np.abs(read(data).grey.astype(int) - np.asarray(seven())).mean() < 2


def test_of_an_mpo_the_first_picture_is_read() -> None:
    data = saved(seven(), "MPO", save_all=True, append_images=[Image.new("L", (60, 60))])
    assert np.abs(read(data).grey.astype(int) - np.asarray(seven())).mean() < 2


def test_a_broken_animation_control_does_not_warn() -> None:
    data = with_chunks(saved(seven()), chunk(b"acTL", bytes(8)), chunk(b"acTL", bytes(8)))
    assert np.array_equal(read(data).grey, np.asarray(seven()))


def test_an_image_that_lies_about_its_insides_is_broken() -> None:
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(3))
    data = MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    with pytest.raises(BrokenImage):
        read(data)


def test_a_png_that_was_encoded_decodes_to_itself() -> None:
    pixels = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(28, 28)
    assert np.array_equal(read(encode_png(pixels)).grey, pixels)


def test_errors_show_nothing_of_the_input() -> None:
    with pytest.raises(BrokenImage) as failure:
        read(MAGIC + b"secret")
    assert "secret" not in str(failure.value)
