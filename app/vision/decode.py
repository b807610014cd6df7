"""Bytes of an image file -> gray levels, at a cost that is known before a pixel is decoded.

What the bytes are decides, not a name or content type. Of an animation or a file of several
pictures the first is read. EXIF rotation is undone. `probe` reads the size from the header and
says what decoding will take; `decode` does it, and never more than was said.

`FORMATS` is the table: a format is added by a row, and what problems, the API's description, the
page and the tests say of formats is taken from there.
"""

from __future__ import annotations

import io
import struct
from codecs import getincrementaldecoder
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import AvifImagePlugin, Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import BrokenImage, ImageError, NotAnImage
from . import headers, heif, png
from .grayscale import ALPHA_STEP, MAX_GRAY_PIXELS, Decoded, GrayImage, size_of, to_gray
from .headers import Declared

try:  # there is not a wheel for every platform
    import pi_heif
    import pi_heif.options
    from pi_heif.as_plugin import HeifImageFile
except ImportError:
    HeifImageFile = None
else:
    pi_heif.options.DECODE_THREADS = 1  # the worker threads are the service's own
    pi_heif.options.THUMBNAILS = False
    pi_heif.options.DEPTH_IMAGES = False
    pi_heif.options.AUX_IMAGES = False

AvifImagePlugin.DEFAULT_MAX_THREADS = 1
Image.MAX_IMAGE_PIXELS = None  # sizes are known and judged before Pillow sees a file

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

NORMALIZE_BYTES = 32
"""Memory for each pixel of a gray picture while it is made and normalized."""
NORMALIZE_WORK, FINDING_WORK = 0.2, 2.0
"""Pixel equivalents for each pixel of a gray picture, and of the reduced one that the ink is found
on, which has at most `FINDING_PIXELS`."""
FINDING_PIXELS = 180 * 180
BASE_BYTES, BASE_WORK, BYTE_WORK = 2**17, 1_000, 0.6
"""Of any file; and the work for each of its bytes."""


class ImageHeader(NamedTuple):
    """What a file declares, and what decoding and normalizing it will take."""

    format: str
    """Name of its row in `FORMATS`."""
    width: int
    height: int
    """Pixels as they are stored, before EXIF rotation."""
    decoded_bytes: int
    """Working memory at its peak, at most; the file's own bytes not counted."""
    cost: int
    """Work usually needed, in pixel equivalents of about 10 ns; a picture made to be slow takes
    some five times as long."""

    @property
    def pixels(self) -> int:
        """Pixels of the picture."""
        return self.width * self.height


class Picture(NamedTuple):
    """An upright picture."""

    gray: GrayImage
    """Levels [h,w]."""
    scale: float
    """Pixels of the original that each of these spans; above 1 where a large one was reduced."""


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A kind of file: `probe` reads what its header declares, `open` prepares it for decoding."""

    name: str
    media_types: tuple[str, ...]
    """The registered one first, then others that clients send."""
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]
    """Beginnings of its files."""
    probe: Callable[[bytes], Declared]
    open: Callable[[bytes], Decoded | GrayImage]
    """A picture by Pillow, not yet decoded, one by OpenCV, or upright gray levels."""
    exif: Callable[[bytes], bytes] | None = None
    """Its Exif, where Pillow does not find that."""
    marker: bytes = b""
    """What its files have at byte 8, where the beginning alone does not tell."""
    brands: tuple[bytes, ...] = ()
    """Of files of ISO/IEC 14496-12, instead: brands, one of which its files declare."""

    def begins(self, data: bytes) -> bool:
        """Return whether `data` begins as this format's files do."""
        if self.brands:
            return _has_brand(data, self.brands)
        return data.startswith(self.magic) and data[8 : 8 + len(self.marker)] == self.marker


def probe(data: bytes) -> ImageHeader:
    """Read what an image file declares, in a bounded number of steps.

    Raises:
        NotAnImage: the bytes begin like none of `FORMATS`; the text says what they are, if known.
        BrokenImage: they do, and what follows makes no sense.
    """
    image_format = _format_of(data)
    try:
        declared = image_format.probe(data)
    except (struct.error, IndexError, ValueError) as error:
        raise BrokenImage(f"The {image_format.name} is truncated.") from error
    pixels = declared.width * declared.height
    if not pixels:
        raise BrokenImage(f"The {image_format.name} has no pixels.")
    decoded_pixels = pixels // declared.reduced**2 + 1
    gray_pixels = min(decoded_pixels, MAX_GRAY_PIXELS)
    size = BASE_BYTES + declared.memory * decoded_pixels + NORMALIZE_BYTES * gray_pixels
    work = BASE_WORK + declared.work * pixels + NORMALIZE_WORK * gray_pixels
    work += FINDING_WORK * min(gray_pixels, FINDING_PIXELS) + BYTE_WORK * len(data)
    return ImageHeader(
        image_format.name,
        declared.width,
        declared.height,
        int(size) + declared.extra_bytes,
        int(work) + declared.extra_work,
    )


def decode(data: bytes, header: ImageHeader | None = None) -> Picture:
    """Decode the first frame of an image file to gray levels.

    The caller has judged the `header` that `probe` gave for these bytes; without it, it is read.

    Raises:
        NotAnImage: the bytes begin like none of `FORMATS`.
        BrokenImage: they are truncated, damaged or inconsistent.
    """
    try:
        return _decode(data, probe(data) if header is None else header)
    except ImageError:
        raise
    except Exception as error:  # Pillow promises no type: OSError, SyntaxError, struct.error, …
        raise BrokenImage("The image is truncated or damaged.") from error


def encode_png(gray: GrayImage) -> bytes:
    """Write `gray` [h,w] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    return file.getvalue()


def _format_of(data: bytes) -> ImageFormat:
    for image_format in FORMATS:
        if image_format.begins(data):
            return image_format
    raise NotAnImage(_what_else(data))


def _decode(data: bytes, header: ImageHeader) -> Picture:
    image_format = BY_NAME[header.format]
    image = image_format.open(data)
    if not isinstance(image, Image.Image) and image.ndim == 2:
        return Picture(image, 1.0)
    if size_of(image) != (header.width, header.height):
        raise BrokenImage(f"The {header.format} declares more than one size.")
    if isinstance(image, Image.Image):
        _load(image)
    turn = UPRIGHT.get(_orientation(_exif(image_format, image, data)))
    gray = to_gray(image)
    scale = header.width / gray.shape[1]
    return Picture(gray if turn is None else _turned(gray, turn), scale)


def _load(image: Image.Image) -> None:
    if isinstance(image, JpegImageFile):
        reduced = headers.jpeg_reduction(*image.size)
        image.draft(None, (image.width // reduced, image.height // reduced))
    image.load()


def _exif(image_format: ImageFormat, image: Decoded, data: bytes) -> bytes:
    if image_format.exif is not None:
        return image_format.exif(data)
    return bytes(image.info.get("exif", b"")) if isinstance(image, Image.Image) else b""


def _turned(gray: GrayImage, turn: Image.Transpose) -> GrayImage:
    return np.asarray(Image.fromarray(gray).transpose(turn))


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1–8; 1 where there is none, or none that makes sense.

    Read by hand, because Pillow parses every tag and warns about those that are damaged.
    """
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = headers.TIFF_ORDERS.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        entries = min(entries, headers.MAX_TAGS)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if (tag, kind, count) == (ORIENTATION_TAG, 3, 1):
                return int(value)
    except struct.error:
        pass
    return 1


def _open_png(data: bytes) -> Decoded | GrayImage:
    chunks = png.chunks_of(data)
    plain = png.plain(chunks)
    if plain is None:
        return PngImageFile(io.BytesIO(png.MAGIC + b"".join([chunk for _, chunk in chunks])))
    picture = png.read(plain)
    if isinstance(picture, Image.Image):
        return picture
    content, plane = picture
    if content == "L":
        return plane
    low, high = cv2.minMaxLoc(plane)[:2]
    return 255 - plane if high - low >= ALPHA_STEP else np.zeros_like(plane)


def _open_jpeg(data: bytes) -> ImageFile:
    # Image.open would read the index of an MPO, and warn about what it finds.
    return JpegImageFile(io.BytesIO(data))


def _open_webp(data: bytes) -> Decoded:
    # Pillow holds the interpreter while it copies all pixels.
    return _by_opencv(data, cv2.IMREAD_UNCHANGED, "WebP")


def _by_opencv(data: bytes, flags: int, name: str) -> Decoded:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise BrokenImage(f"The {name} is truncated or damaged.")
    return np.asarray(pixels, np.uint8)


def _open_gif(data: bytes) -> ImageFile:
    """Open a GIF without its extensions.

    Pillow would walk through them, and set memory aside for the frame's disposal.
    """
    frame = headers.gif_frame(data)
    control = bytearray(frame.control)
    if control:
        control[3] &= 0b11100011
    return GifImageFile(io.BytesIO(data[: headers.gif_blocks(data)] + control + data[frame.at :]))


def _open_bmp(data: bytes) -> Decoded:
    if headers.bmp_compression(data) not in headers.BMP_RLE:
        return BmpImageFile(io.BytesIO(data))
    # Pillow expands runs in Python, a pixel at a time: seconds for a file of 300 bytes.
    return _by_opencv(data, cv2.IMREAD_COLOR, "BMP")


UNREAD_TIFF = (
    "The bytes are a TIFF whose pixels are stored in a way that is not read; save it with 8 bits a "
    "channel, or as PNG."
)


def _open_tiff(data: bytes) -> ImageFile:
    """Open a TIFF with the directory's entries that say how pixels are stored, and no others.

    Pillow would read what the others point to, and warn about it.

    Raises:
        NotAnImage: Pillow does not read pixels that are stored so, or reads them wrong.
    """
    order, entries, values = headers.tiff_directory(data)
    if values.get(headers.TIFF_CHANNELS, 1) == 1:  # it says nothing then, and misleads Pillow
        entries.pop(headers.TIFF_PLANES, None)
    kept = [entries[tag] for tag in sorted(entries) if tag in headers.TIFF_READ]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    padding = bytes(len(data) % 2)
    start = struct.pack(order + "I", len(data) + len(padding))
    file = io.BytesIO(data[:4] + start + data[8:] + padding + directory)
    try:
        image = TiffImageFile(file)
    except SyntaxError as error:
        raise NotAnImage(UNREAD_TIFF) from error
    is_apart = image.tag_v2.get(headers.TIFF_PLANES) == headers.TIFF_APART
    bits = image.tag_v2.get(headers.TIFF_BITS, (1,))
    if is_apart and max(bits) > 8:  # Pillow would take them for eight
        raise NotAnImage(UNREAD_TIFF)
    return image


def _open_heic(data: bytes) -> Image.Image:
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    declared = image.size
    image.load()
    if image.size != declared:
        raise BrokenImage("The HEIC declares more than one size.")
    return image


def _open_avif(data: bytes) -> ImageFile:
    """Open the still image of an AVIF; of an animation it is the first frame.

    libavif would take an animation's track, of which `probe` knows nothing.
    """
    return AvifImageFile(io.BytesIO(data[:8] + AVIF_BRAND + data[12:]))


AVIF_BRAND = b"avif"
AVIF = ImageFormat(
    name="AVIF",
    media_types=("image/avif",),
    suffixes=(".avif",),
    magic=(),
    brands=(AVIF_BRAND,),
    probe=heif.avif,
    open=_open_avif,
)
HEIC_BRANDS = (b"heic", b"heix")
"""Brands of still images by HEVC."""
HEIC = ImageFormat(
    name="HEIC",
    media_types=("image/heic", "image/heif"),
    suffixes=(".heic", ".heif", ".hif"),
    magic=(),
    brands=HEIC_BRANDS,
    probe=heif.heic,
    open=_open_heic,
    exif=lambda data: b"",  # libheif has turned it as the file says
)
FORMATS: tuple[ImageFormat, ...] = (
    ImageFormat(
        name="PNG",
        media_types=("image/png", "image/apng", "image/x-png"),
        suffixes=(".png", ".apng"),
        magic=(png.MAGIC,),
        probe=headers.png,
        open=_open_png,
    ),
    ImageFormat(
        name="JPEG",
        media_types=("image/jpeg", "image/jpg", "image/pjpeg"),
        suffixes=(".jpg", ".jpeg", ".jfif", ".mpo"),
        magic=(b"\xff\xd8\xff",),
        probe=headers.jpeg,
        open=_open_jpeg,
    ),
    ImageFormat(
        name="WebP",
        media_types=("image/webp",),
        suffixes=(".webp",),
        magic=(b"RIFF",),
        marker=b"WEBP",
        probe=headers.webp,
        open=_open_webp,
        exif=headers.webp_exif,
    ),
    ImageFormat(
        name="GIF",
        media_types=("image/gif",),
        suffixes=(".gif",),
        magic=(b"GIF87a", b"GIF89a"),
        probe=headers.gif,
        open=_open_gif,
    ),
    ImageFormat(
        name="BMP",
        media_types=("image/bmp", "image/x-ms-bmp", "image/x-bmp"),
        suffixes=(".bmp", ".dib"),
        magic=(b"BM",),
        probe=headers.bmp,
        open=_open_bmp,
    ),
    ImageFormat(
        name="TIFF",
        media_types=("image/tiff", "image/tif"),
        suffixes=(".tif", ".tiff"),
        magic=tuple(headers.TIFF_ORDERS),
        probe=headers.tiff,
        open=_open_tiff,
        exif=lambda data: data,
    ),
    *([AVIF] if features.check("avif") else []),  # not in every build of Pillow
    *([HEIC] if HeifImageFile else []),
)
BY_NAME = {image_format.name: image_format for image_format in FORMATS}

OTHER_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF", "send its page as PNG, for example by `pdftoppm -png`"),
    (b"%!PS", "PostScript", "send its page as PNG"),
    (b"\xc5\xd0\xd3\xc6", "PostScript", "send its page as PNG"),
    (b"8BPS", "a Photoshop document", "export it as PNG"),
    (b"\0\0\1\0", "an icon (ICO)", "save it as PNG"),
    (b"II+\0", "a BigTIFF", "save it as TIFF or PNG"),
    (b"MM\0+", "a BigTIFF", "save it as TIFF or PNG"),
    (b"\xff\x0a", "JPEG XL", "save it as JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "JPEG XL", "save it as JPEG or PNG"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000", "save it as JPEG or PNG"),
    (b"\xff\x4f\xff\x51", "JPEG 2000", "save it as JPEG or PNG"),
    (b"PK\3\4", "a ZIP archive", "send the images that it holds, one part each"),
    (b"\x1f\x8b", "compressed by gzip", "send it uncompressed"),
    (b"data:", "a data URI", 'send the file itself, or JSON: {"image": "data:…"}'),
    (b"iVBORw0KGgo", "a PNG in base64", 'send the file itself, or JSON: {"image": "iVBO…"}'),
    (b"/9j/", "a JPEG in base64", 'send the file itself, or JSON: {"image": "/9j/…"}'),
)
"""Beginnings of files that are no images we read, what they are, and what to do."""
FTYP_BRANDS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"avif", b"avis"), "AVIF", "save it as JPEG, WebP or PNG"),
    (
        (*HEIC_BRANDS, b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "HEIC",
        "export it as JPEG; an iPhone takes JPEGs with Settings, Camera, Formats, Most Compatible",
    ),
    ((b"",), "a video", "send one of its frames as JPEG or PNG"),
)
"""The same for files of ISO/IEC 14496-12, by a brand among those that they declare."""


def _has_brand(data: bytes, brands: tuple[bytes, ...]) -> bool:
    """Whether a file of ISO/IEC 14496-12 declares one of the brands."""
    declared = data[8 : min(int.from_bytes(data[:4]), 256)] if data[4:8] == b"ftyp" else None
    return declared is not None and any(brand in declared for brand in brands)


def _what_else(data: bytes) -> str:
    if not data:
        return "There are no bytes; send the image's own file."
    begin = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, what, remedy in OTHER_KINDS:
        if begin.startswith(magic):
            return f"The bytes are {what}; {remedy}."
    for brands, what, remedy in FTYP_BRANDS:
        if _has_brand(data, brands):
            return f"The bytes are {what}; {remedy}."
    for image_format in FORMATS:
        if image_format.begins(begin):  # a client has put a line break before the file
            return f"There is white space before the {image_format.name}; send its bytes alone."
    if _is_text(begin):
        return _what_text(begin.lower())
    names = [image_format.name for image_format in FORMATS]
    return f"The bytes are no {', '.join(names[:-1])} or {names[-1]}."


def _what_text(text: bytes) -> str:
    if text.startswith(b"<"):
        if b"<svg" in text:
            return "The bytes are an SVG, which is a drawing and has no pixels; save it as PNG."
        if text.startswith((b"<!doctype html", b"<html")):
            return "The bytes are a page of HTML; send the image's own file."
    return "The bytes are text, and no image; send the image's own file."


def _is_text(begin: bytes) -> bool:
    try:
        text = getincrementaldecoder("utf-8")().decode(begin)  # its last character may be cut off
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
