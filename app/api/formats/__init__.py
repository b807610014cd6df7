"""Bodies -> raw images, by media type. A body format is one row of PARSERS.

multipart.py   forms with one or more files
pixels.py      JSON with rows of numbers, or with encoded images as text
image.py       an encoded image, as bytes or as text
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from ...errors import EmptyBatch, MalformedBody, TooManyImages, UnsupportedContentType
from ...serving.limits import Lease
from ...serving.predictor import RawImages
from . import image, multipart, pixels
from .header import parse_header

Parsed = TypeVar("Parsed")
Parsed_co = TypeVar("Parsed_co", covariant=True)

Parser = Callable[[bytes, dict[bytes, bytes], int], RawImages]
"""Parse a body: (body, parameters of its content type, most images) -> raw images."""

PARSERS: dict[bytes, Parser] = {
    b"multipart/form-data": multipart.parse,
    b"application/json": pixels.parse,
    b"text/json": pixels.parse,
}
SNIFFED = frozenset(
    (
        b"",
        b"application/octet-stream",
        b"binary/octet-stream",
        b"application/x-www-form-urlencoded",
        b"text/plain",
    )
)
"""Media types of clients that set none of their own: the bytes decide."""

JSON_BYTE_COST = 1.0
"""Cost of parsing a byte of JSON, in pixels: numbers become Python objects."""
FILE_BYTE_COST = 1 / 32
"""Cost of a byte of a body that is one file, which is taken as it is."""
FORM_BYTE_COST = 1 / 4
"""Cost of a byte of a form: its files are taken as they are, but a part may be text."""
TEXT_BYTE_COST = 1.0
"""Cost of a byte of text that stands for an image; worst are percent escapes."""
TEXT_COPIES = 5
"""Memory that such text takes beside itself at most, in its own length: a form's text is decoded
twice, and each time the parts and the whole are held."""


START_BYTES = 256
"""Bytes of a body that tell how it is parsed."""


class ParseCost(NamedTuple):
    """What it takes to parse a body, known before it is begun."""

    pixels: int
    """Work, in pixels."""
    working_bytes: int
    """Memory beside the body itself."""
    is_json: bool


class Parseable(Protocol[Parsed_co]):
    """A body to be parsed, of whatever protocol, and the request's share of the limits."""

    @property
    def lease(self) -> Lease:
        """The request's share of the limits."""

    def parse(self) -> Parsed_co:
        """What the body holds. Raises as the protocol says, or as the lease's `check`."""


def joined(chunks: list[bytes]) -> bytes:
    """The body that has come in `chunks`, whose memory goes."""
    body = b"".join(chunks)
    chunks.clear()
    return body


@dataclass(frozen=True, slots=True, eq=False)
class ParseRequest:
    """A body to be parsed, and the request's share of the limits."""

    chunks: list[bytes]
    """The body as it was received: where large ones are joined, the loop does not wait."""
    content_type: bytes
    max_images: int
    lease: Lease

    def parse(self) -> RawImages:
        """The images in the body. Raises as `parse` does, or as the lease's `check`."""
        self.lease.check()
        return parse(joined(self.chunks), self.content_type, max_images=self.max_images)


def parse_all(requests: Sequence[Parseable[Parsed]]) -> list[Parsed | Exception]:
    """What each request holds, or the exception that it fails with."""
    outcomes: list[Parsed | Exception] = []
    for request in requests:
        try:
            outcomes.append(request.parse())
        except Exception as error:  # noqa: BLE001 -- its request's to raise
            outcomes.append(error)
    return outcomes


def start_of(chunks: Sequence[bytes]) -> bytes:
    """The first START_BYTES of a body or more, or all of it."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= START_BYTES:
            break
    return start


def cost_of(start: bytes, size: int, content_type: bytes) -> ParseCost:
    """What it will take to parse a body of `size` bytes that begins with `start`."""
    parser = _parser_for(start, parse_header(content_type)[0])
    if parser is pixels.parse:
        return json_cost(size)
    if parser is multipart.parse:
        return ParseCost(int(size * FORM_BYTE_COST), size, is_json=False)
    if parser is multipart.parse_urlencoded or (parser is image.parse and image.is_text(start)):
        return ParseCost(int(size * TEXT_BYTE_COST), size * TEXT_COPIES, is_json=False)
    return ParseCost(int(size * FILE_BYTE_COST), size, is_json=False)


def json_cost(size: int) -> ParseCost:
    """What it will take to parse a JSON document of `size` bytes."""
    return ParseCost(int(size * JSON_BYTE_COST), pixels.working_bytes(size), is_json=True)


def parse(body: bytes, content_type: bytes, *, max_images: int) -> RawImages:
    """The images in a body, at least one, in order.

    Raises:
        UnsupportedContentType, MalformedBody, BodyTooLarge, EmptyBatch, UnknownField,
        TooManyImages, BadPixels.
    """
    media_type, parameters = parse_header(content_type)
    parser = _parser_for(body, media_type)
    if parser is None:
        raise UnsupportedContentType
    images = parser(body, parameters, max_images)
    if not len(images):
        raise EmptyBatch
    if len(images) > max_images:
        raise TooManyImages(f"A request has at most {max_images:,} images; send several requests.")
    return images


def _parser_for(body: bytes, media_type: bytes) -> Parser | None:
    if media_type.startswith(b"image/"):
        return image.parse
    if media_type not in SNIFFED:
        return PARSERS.get(media_type)
    start = body[:64].removeprefix(pixels.BYTE_ORDER_MARK).lstrip()
    if start.startswith((b"{", b"[")):
        return pixels.parse
    if start.startswith(b"--"):
        return _refuse_form_without_type
    if media_type == b"application/x-www-form-urlencoded" and multipart.is_urlencoded(start):
        return multipart.parse_urlencoded
    return image.parse


def _refuse_form_without_type(
    body: bytes, parameters: dict[bytes, bytes], max_images: int
) -> RawImages:
    raise MalformedBody(
        "The body looks like a form, but its Content-Type does not say so. Leave Content-Type to "
        "your client: it adds the boundary."
    )
