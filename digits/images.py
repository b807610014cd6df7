"""Images as they are given -> what is sent: a file's bytes, or a JSON array.

What an image is, and what its numbers mean, is the service's to judge: nothing is decoded here.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from .errors import SourceError

MAX_IMAGE_BYTES = 64 * 2**20
"""Bytes of an image's file. Twice of what the service takes of a request, unless it is set to more;
a video in a folder of photos must not fill the memory."""
BATCH_BYTES = 2**20
"""Bytes of images in a request, unless a single image has more: some seconds of a slow uplink."""
READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)
READ_BYTES = 2**18
"""Bytes that are read at a time: most files whole. Room for the largest that may come would take
longer to be had than a small file to be read (30 µs)."""


@runtime_checkable
class Readable(Protocol):
    """A file object in binary mode."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes, or all."""


class Array(Protocol):
    """A NumPy array, or another that becomes nested lists."""

    def tolist(self) -> Any:
        """Return the numbers as nested lists."""


class PillowImage(Protocol):
    """An image of Pillow."""

    @property
    def mode(self) -> str:
        """The kind of its pixels, such as `RGB`."""

    def getexif(self) -> Any:
        """Return the image's EXIF tags."""

    def save(self, file: Any, image_format: str, /) -> None:
        """Write the image."""


Image = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | Readable
    | PillowImage
    | Array
    | Sequence[Any]
)
"""A path, a file's bytes, a file object, an image of Pillow, a NumPy array or nested lists. Numbers
are 0–255, or 0–1 where none exceeds 1, as of an array of bools; of 8×8, as scikit-learn's digits,
also 0–16."""


class Content(NamedTuple):
    """What is sent of an image: the bytes of a file, or the text of a JSON array."""

    data: bytes
    is_json: bool = False


class Item(NamedTuple):
    """An image of a batch: its content, or why it has none."""

    source: Any
    content: Content | None
    error: SourceError | None = None


@dataclass(slots=True)
class Batch:
    """Images, in order, that can go into one request: files, or JSON arrays."""

    max_images: int
    items: list[Item] = field(default_factory=list)
    size: int = 0
    is_json: bool | None = None

    def add(self, item: Item) -> bool:
        """Add `item` if it fits; return whether it did."""
        content = item.content
        if len(self.items) == self.max_images:
            return False
        if content is not None:
            if self.is_json not in (None, content.is_json):
                return False
            if self.size and self.size + len(content.data) > BATCH_BYTES:
                return False
            self.is_json = content.is_json
            self.size += len(content.data)
        self.items.append(item)
        return True


def batches(images: Iterable[Image], max_images: int) -> Iterator[list[Item]]:
    """Read `images` as they are asked for; yield them in batches, in order."""
    batch = Batch(max_images)
    for image in images:
        item = read_item(image)
        if not batch.add(item):
            yield batch.items
            batch = Batch(max_images)
            batch.add(item)
    if batch.items:
        yield batch.items


async def async_batches(
    images: Iterable[Image] | AsyncIterable[Image], max_images: int
) -> AsyncIterator[list[Item]]:
    """Read `images` in a thread, as they are asked for; yield them in batches, in order."""
    async for group in _groups(images, max_images):
        parts = batches(group, max_images)
        while batch := await asyncio.to_thread(next, parts, None):
            yield batch


async def _groups(
    images: Iterable[Image] | AsyncIterable[Image], size: int
) -> AsyncIterator[list[Image]]:
    """Yield `images` by `size`; what they are taken from is asked on the event loop's thread."""
    if isinstance(images, AsyncIterable):
        group: list[Image] = []
        async for image in images:
            group.append(image)
            if len(group) == size:
                yield group
                group = []
        if group:
            yield group
    else:
        left = iter(images)
        while group := list(islice(left, size)):
            yield group


def encode(contents: Sequence[Content]) -> tuple[bytes, str]:
    """Return the body of a request for `contents`, which are of one kind, and its media type.

    A form is one run of bytes: httpx sends every part of its own in three pieces, which takes
    client twice the time (100 µs an image of 28×28 in batches of 32, instead of 50; of 64, 26).
    """
    if contents[0].is_json:
        images = b",".join(content.data for content in contents)
        return b'{"images":[' + images + b"]}", "application/json"
    boundary = os.urandom(16).hex()
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n\r\n'
    head %= boundary.encode()
    parts = [piece for content in contents for piece in (head, content.data, b"\r\n")]
    body = b"".join([*parts, b"--", boundary.encode(), b"--\r\n"])
    return body, f"multipart/form-data; boundary={boundary}"


def read_item(image: Image) -> Item:
    """Read `image`; what fails is the item's error."""
    try:
        return Item(image, read(image))
    except SourceError as error:
        return Item(image, None, error)


def read(image: Image) -> Content:
    """Read what is sent of `image`.

    Raises:
        SourceError: It can't be read, or is nothing that can be sent.
    """
    match image:
        case str() | os.PathLike():
            return Content(_read_file(image))
        case bytes() | bytearray() | memoryview():
            return Content(_checked(bytes(image)))
        case Readable():
            return Content(_read_bounded(image.read))
    if _is_pillow(image):
        return Content(_png(image))
    try:
        text = json.dumps(image, separators=(",", ":"), default=_nested_lists)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _no_image(image) from error
    if not text.startswith("["):
        raise _no_image(image)
    return Content(text.encode(), is_json=True)


def _no_image(value: Any) -> SourceError:
    return SourceError(
        f"{type(value).__name__} is no image. Give a path, bytes, a file object, an image of "
        "Pillow, a NumPy array or nested lists."
    )


def _nested_lists(array: Any) -> Any:
    # JSON has true and false for bools, which are no numbers there.
    is_mask = str(getattr(array, "dtype", "")).endswith("bool")
    return (array + 0 if is_mask else array).tolist()


def _read_file(path: str | os.PathLike[str]) -> bytes:
    try:
        descriptor = os.open(path, READ_FLAGS)  # without a file object: two thirds of the time
        try:
            return _read_bounded(partial(os.read, descriptor))
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"The file can't be read: {reason}.") from error


def _read_bounded(read: Callable[[int], bytes]) -> bytes:
    """Read to the end, or to where it is too long; a pipe gives what it has, piece by piece."""
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_IMAGE_BYTES and (piece := read(READ_BYTES)):
        if not isinstance(piece, bytes):
            raise SourceError("The file object gives no bytes; open it in binary mode.")
        pieces.append(piece)
        size += len(piece)
    return _checked(b"".join(pieces))


def _checked(data: bytes) -> bytes:
    if not data:
        raise SourceError("The file is empty.")
    if len(data) > MAX_IMAGE_BYTES:
        raise SourceError(f"The file has more than {MAX_IMAGE_BYTES:,} bytes.")
    return data


def _is_pillow(image: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")  # without it, there is no such image
    return pillow is not None and isinstance(image, pillow.Image)


def _png(image: Any) -> bytes:
    from PIL import ImageOps  # noqa: PLC0415 -- the caller has it

    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)  # a PNG is written without the rotation's tag
        if upright.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            upright = upright.convert("RGB")
        upright.save(file, "PNG")
    except (OSError, ValueError) as error:
        raise SourceError(f"Pillow can't write the image as PNG: {error}") from error
    return file.getvalue()
