"""An encoded image as a body, or as text: base64 (RFC 4648) or a data URI (RFC 2397)."""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

from ...errors import BadPixels
from ...serving.predictor import RawImage

DATA_URI = re.compile(rb"data:[^,]{0,200},", re.IGNORECASE)
BASE64_START = re.compile(rb"[A-Za-z0-9+/_-]{32,64}")
URL_SAFE = bytes.maketrans(b"-_", b"+/")
WHITE_SPACE = b" \t\r\n"
CALL_BYTES = 2**18
"""Text that is decoded in one call, which holds the interpreter: for less than a millisecond."""


def parse(body: bytes, parameters: dict[bytes, bytes], max_images: int) -> list[RawImage]:
    """The body as one image; none where it is empty."""
    if not body:
        return []
    return [decode_text(body) if is_text(body) else body]


def is_text(data: bytes) -> bool:
    """Whether `data` looks like base64 or a data URI, which no image file does."""
    return bool(DATA_URI.match(data) or BASE64_START.fullmatch(data[:64]))


def decode_text(text: bytes, index: int = 0) -> bytes:
    """The bytes that base64 or a data URI stands for.

    Raises:
        BadPixels: it is neither.
    """
    if uri := DATA_URI.match(text):
        is_base64 = uri[0].rstrip(b",").lower().endswith(b";base64")
        text = text[uri.end() :]
        if not is_base64:
            return unquote_to_bytes(text)
        if b"%" in text:
            text = unquote_to_bytes(text)
    data = _from_base64(text)
    if not data:
        raise BadPixels(
            f"Image {index} is text that is neither base64 nor a data URI of an image. Send the "
            "file's bytes in base64, or the file itself."
        )
    return data


def _from_base64(text: bytes) -> bytes:
    """The bytes that `text` stands for; none where it is not base64."""
    plain = text.translate(URL_SAFE, WHITE_SPACE).rstrip(b"=")
    if b"=" in plain:
        return b""
    padded = plain + b"=" * (-len(plain) % 4)
    parts = (padded[at : at + CALL_BYTES] for at in range(0, len(padded), CALL_BYTES))
    try:
        return b"".join([binascii.a2b_base64(part, strict_mode=True) for part in parts])
    except binascii.Error:
        return b""
