"""Bytes of an image file -> gray pixels as people see them. The only Pillow import of the service.

What the bytes are decides, not a name or content type. Of an animation the first frame is read, of
a phone's MPO the first picture. EXIF rotation is undone. Colour becomes gray along the direction
in which the picture's colours differ most, so that yellow ink on white keeps its contrast, and
transparency becomes contrast with the ink, so that what lies unseen under it changes nothing.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage
from . import png

Gray = NDArray[np.uint8]
GrayImage = Gray

# A GIF that says its first frame is to be wiped has that allocated when it is opened, before its
# size can be looked at here: above twice this, Pillow raises. Below, it would warn, each time anew.
Image.MAX_IMAGE_PIXELS = 32_000_000
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

JPEG_SIDE = 360
"""Pixels that the shorter side of a JPEG keeps when it is decoded at a half, quarter or eighth."""

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in JPEG
LUMA_ENOUGH = 0.7
"""Luma is used where it has this share of the best projection's contrast: white paper under a
yellow lamp is no coloured drawing."""

COLOUR_STEP = 48
"""Levels that two colours differ by before they are two colours, and not noise."""
ALPHA_STEP = 32
"""Levels of opacity within which a picture counts as evenly opaque."""

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


@dataclass(frozen=True, slots=True)
class Picture:
    """An upright picture: `gray` [h,w], and how many pixels of the original each of its pixels
    spans (`scale`, above 1 where a large JPEG was decoded at reduced size)."""

    gray: Gray
    scale: float


def decode(data: bytes, header: ImageHeader | None = None, *, max_pixels: int = 2**40) -> Picture:
    """The first frame of a PNG, JPEG, WebP, GIF or BMP in gray.

    Raises:
        NotAnImage: the bytes begin like none of these.
        BrokenImage: they do, and then are truncated, damaged or inconsistent.
        ImageTooLarge: the file declares more than `max_pixels`; nothing was decoded.
    """
    try:
        return _decode(data, max_pixels)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"Too many pixels; at most {max_pixels} are read.") from error
    except Exception as error:  # Pillow promises no type: OSError, SyntaxError, struct.error, …
        raise BrokenImage("The image is truncated or damaged.") from error


def encode_png(gray: Gray) -> bytes:
    """`gray` [h,w] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    return file.getvalue()


def _decode(data: bytes, max_pixels: int) -> Picture:
    if data.startswith(png.MAGIC):
        chunks = png.chunks_of(data)
        if (plain := png.plain(chunks)) is not None:
            _check_size(plain.width, plain.height, max_pixels)
            return Picture(_from_plain(plain), 1.0)
        data = png.MAGIC + b"".join(chunk for _, chunk in chunks)
    image = _open(data)
    width, height = image.size
    _check_size(width, height, max_pixels)
    if isinstance(image, JpegImageFile):
        image.draft(None, _draft_size(width, height))
    image.load()
    upright = UPRIGHT.get(_orientation(image))
    scale = width / image.width
    return Picture(_gray(image if upright is None else image.transpose(upright)), scale)


def _open(data: bytes) -> ImageFile:
    # Image.open would read the index of an MPO, and warn about what it finds or about its size;
    # a warning is no answer to a client, and can't be caught in one thread alone.
    if data.startswith(png.MAGIC):
        return PngImageFile(io.BytesIO(data))
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(io.BytesIO(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile(io.BytesIO(data))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile(io.BytesIO(data))
    if data.startswith(b"BM"):
        return BmpImageFile(io.BytesIO(data))
    raise NotAnImage("The bytes are no PNG, JPEG, WebP, GIF or BMP.")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLarge(f"{width} × {height} pixels; at most {max_pixels} are read.")


def _from_plain(picture: png.Plain) -> Gray:
    """Without Pillow's file around it, which takes as long as 28×28 pixels."""
    plane = png.plane_of(picture)
    if plane is None:
        size = picture.width, picture.height
        return _gray(Image.frombytes(picture.mode, size, picture.deflated, "zip", picture.mode))
    if picture.mode == "L":
        return plane
    low, high = cv2.minMaxLoc(plane)[:2]
    return 255 - plane if high - low >= ALPHA_STEP else np.zeros_like(plane)


def _draft_size(width: int, height: int) -> tuple[int, int]:
    reduce = max(1, min(width, height) // JPEG_SIDE)
    return width // reduce, height // reduce


def _orientation(image: ImageFile) -> int:
    """EXIF orientation 1–8; 1 where there is none, or none that makes sense.

    Read by hand, because Pillow parses every tag and warns about those that are damaged.
    """
    exif = image.info.get("exif", b"")
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if (tag, kind, count) == (ORIENTATION_TAG, 3, 1):
                return int(value)
    except struct.error:
        pass
    return 1


def _gray(image: Image.Image) -> Gray:
    """What is seen, [h,w]; of coloured or transparent pictures, the contrast that is seen."""
    transparent = "transparency" in image.info
    if image.mode == "L" and not transparent:
        return np.asarray(image)
    if image.mode[0] in "IF":
        return _from_depth(np.asarray(image))
    if image.mode == "1" and not transparent:
        return np.asarray(image.convert("L"))
    if transparent or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _from_rgba(np.asarray(image if image.mode == "RGBA" else image.convert("RGBA")))
    return _from_rgb(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))


def _from_depth(values: NDArray[np.generic]) -> Gray:
    """More than eight bits, scaled so that the brightest value is white."""
    deep = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0).clip(0)
    return np.rint(deep * (255 / max(255.0, float(deep.max())))).astype(np.uint8)


def _from_rgb(rgb: Gray) -> Gray:
    """[h,w,3] along the direction in which its colours differ most; brighter stays brighter."""
    return _project(rgb, _contrast_axis(_sample(rgb)))


def _from_rgba(rgba: Gray) -> Gray:
    """[h,w,4]: ink on nothing is as dark or bright as it is opaque; a card keeps its own colours
    and lends its ground to what is around it."""
    alpha = np.asarray(cv2.extractChannel(rgba, 3), np.uint8)
    low, high = int(alpha.min()), int(alpha.max())
    if high - low < ALPHA_STEP:
        return _from_rgb(np.ascontiguousarray(rgba[..., :3]))
    step = max(1, int((alpha.size / 5_000) ** 0.5))
    some = rgba[::step, ::step] if step > 1 else rgba
    visible = some[..., 3] > (low + high) // 2
    colours = some[visible][:, :3]
    if len(colours) < 64:
        some = rgba
        visible = alpha > (low + high) // 2
        colours = rgba[visible][:, :3]
        colours = colours[:: 1 + len(colours) // 5_000]  # they may all lie between the samples
    if (colours == colours[0]).all():  # a canvas drawn on with one pen
        return _opacity(alpha, colours[0])
    middle = np.median(colours, axis=0)
    differs = (np.abs(colours - middle) > COLOUR_STEP).any(axis=1)
    _, _, width, height = cv2.boundingRect(visible.view(np.uint8))
    if differs.mean() > 0.01 and np.count_nonzero(visible) > width * height / 2:
        gray = _project(np.ascontiguousarray(rgba[..., :3]), _contrast_axis(colours))
        ground = float(np.median(gray[alpha > (low + high) // 2]))
        shown = gray.astype(np.float32)
        shown -= ground
        shown *= alpha / np.float32(255)
        shown += ground
        return np.rint(shown, out=shown).astype(np.uint8)
    return _opacity(alpha, middle)


def _opacity(alpha: Gray, ink: NDArray[np.generic]) -> Gray:
    """Ink of one colour on nothing: on white where it is dark, on black where it is bright."""
    return 255 - alpha if LUMA @ ink < 128 else alpha


def _sample(rgb: Gray) -> Gray:
    """About 2,000 pixels of [h,w,3], evenly spread."""
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / 2000) ** 0.5))
    return rgb[::step, ::step].reshape(-1, 3)


def _contrast_axis(colours: NDArray[np.generic]) -> NDArray[np.float64]:
    """The weights [3] of red, green and blue, their magnitudes summing to 1, with the largest
    variance over `colours` [n,3], unless that of luma comes near."""
    red, green, blue = planes = colours.T.astype(np.float32)
    chroma = np.maximum(np.abs(red - green), np.abs(green - blue))
    if chroma.max() < COLOUR_STEP:
        return LUMA
    planes -= planes.mean(axis=1, keepdims=True)
    covariance = planes @ planes.T
    axis: NDArray[np.float64] = np.linalg.eigh(covariance)[1][:, -1]
    axis /= np.abs(axis).sum() * (1 if LUMA @ axis >= 0 else -1)
    if LUMA @ covariance @ LUMA >= LUMA_ENOUGH**2 * (axis @ covariance @ axis):
        return LUMA
    return axis


def _project(rgb: Gray, weights: NDArray[np.float64]) -> Gray:
    if weights is LUMA:
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    offset = -255 * weights.clip(max=0).sum()
    return np.asarray(cv2.transform(rgb, np.append(weights, offset)[None]), np.uint8)


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    media_types: tuple[str, ...]


FORMATS = (
    Format("PNG", ("image/png",)),
    Format("JPEG", ("image/jpeg",)),
    Format("WebP", ("image/webp",)),
    Format("GIF", ("image/gif",)),
    Format("BMP", ("image/bmp",)),
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    format: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def cost(self) -> int:
        return self.pixels

    @property
    def decoded_bytes(self) -> int:
        return self.pixels * 6


def probe(data: bytes) -> ImageHeader:
    if data.startswith(png.MAGIC):
        return ImageHeader("PNG", *struct.unpack_from(">II", data.ljust(24, b"\0"), 16))
    try:
        image = _open(data)
    except ImageError:
        raise
    except Exception as error:
        raise BrokenImage("The image is truncated or damaged.") from error
    return ImageHeader("x", *image.size)
