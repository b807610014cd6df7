"""An encoded image as a body, or as text: base64 (RFC 4648) or a data URI (RFC 2397)."""

from __future__ import annotations

import binascii
import re

import numpy as np
from numpy.typing import NDArray

from ...errors import BadPixels, BrokenImage
from ...serving.predictor import RawImage

DATA_URI = re.compile(rb"data:[^,]{0,200},", re.IGNORECASE)
BASE64_START = re.compile(rb"[A-Za-z0-9+/_-]{32,64}")
URL_SAFE = bytes.maketrans(b"-_", b"+/")
WHITE_SPACE = b" \t\r\n"
PADDING = b"="
HEAD_LENGTH = 256
"""Characters of a text that its beginning, up to a data URI's comma, is looked for in."""
CALL_LENGTH = 2**16
"""Characters that are decoded in one call, which holds the interpreter: for less than a
millisecond."""
ESCAPE_CALL_BYTES = 2**16
"""The same for text with percent escapes, each of which takes as long as some thirty characters."""
PERCENT = ord("%")
PNG_WITHOUT_LINE_ENDS, JPEG_START = b"\x89PNG\x1a", b"\xff\xd8\xff"
NO_DIGIT = 16
HEX_VALUES = np.full(256, NO_DIGIT, np.uint8)
"""Value of each character as a hexadecimal digit, or NO_DIGIT."""
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    HEX_VALUES[[*_digits]] = np.arange(16)


def parse(body: bytes, parameters: dict[bytes, bytes], max_images: int) -> list[RawImage]:
    """The body as one image; none where it is empty.

    Raises:
        BadPixels: it is text, and no image.
        BrokenImage: it was sent as text by a client that leaves out bytes.
    """
    if not body:
        return []
    if _lacks_bytes(body):
        raise BrokenImage(
            "Its zero bytes and line ends are missing, which `curl -d` leaves out. With curl, "
            "write --data-binary @name or -F file=@name."
        )
    return [decode_text(body) if is_text(body) else body]


def is_text(data: bytes) -> bool:
    """Whether `data` looks like base64 or a data URI, which no image file does."""
    return bool(DATA_URI.match(data) or BASE64_START.fullmatch(data[:64]))


def _lacks_bytes(body: bytes) -> bool:
    """Whether an image has lost what `curl -d` leaves out: no PNG or JPEG is without."""
    return body.startswith(PNG_WITHOUT_LINE_ENDS) or (
        body.startswith(JPEG_START) and len(body) > HEAD_LENGTH and b"\0" not in body
    )


def decode_text(text: bytes | str, index: int = 0) -> bytes:
    """The bytes that base64 or a data URI stands for.

    Base64 is read piece by piece: to copy a long text as a whole would hold the interpreter.

    Raises:
        BadPixels: it is neither.
    """
    start = 0
    if uri := DATA_URI.match(_octets(text[:HEAD_LENGTH])):
        start = uri.end()
        if not uri[0].rstrip(b",").lower().endswith(b";base64"):
            return unquote(_octets(text[start:]))
        if _has_escapes(text):
            text, start = unquote(_octets(text[start:])), 0
    data = _from_base64(text, start)
    if not data:
        raise BadPixels(
            f"Image {index} is text that is neither base64 nor a data URI of an image. Send the "
            "file's bytes in base64, or the file itself."
        )
    return data


def _octets(text: bytes | str) -> bytes:
    """`text` with a byte for each character; what is not ASCII is neither base64 nor a URI."""
    return text.encode("ascii", "replace") if isinstance(text, str) else text


def _has_escapes(text: bytes | str) -> bool:
    return "%" in text if isinstance(text, str) else b"%" in text


def unquote(text: bytes) -> bytes:
    """`text` with its percent escapes replaced (RFC 3986, section 2.1); what is none stays.

    It gives what `urllib.parse.unquote_to_bytes` gives, which takes up to 190 bytes and 240 ns for
    each byte of the text.
    """
    if b"%" not in text:
        return text
    parts, at = [], 0
    while at < len(text):
        end = at + ESCAPE_CALL_BYTES
        cut = text.rfind(b"%", max(at + 1, end - 2), end)  # an escape stays whole
        end = end if cut < 0 else cut
        parts.append(_unquote_part(np.frombuffer(text[at:end], np.uint8)))
        at = end
    return b"".join(parts)


def _unquote_part(octets: NDArray[np.uint8]) -> bytes:
    escapes = np.flatnonzero(octets[:-2] == PERCENT)
    high, low = HEX_VALUES[octets[escapes + 1]], HEX_VALUES[octets[escapes + 2]]
    is_escape = (high < NO_DIGIT) & (low < NO_DIGIT)
    escapes, high, low = escapes[is_escape], high[is_escape], low[is_escape]
    plain = octets.copy()
    plain[escapes] = high * 16 + low
    kept = np.ones(len(octets), np.bool_)
    kept[escapes + 1] = kept[escapes + 2] = False
    return plain[kept].tobytes()


def _from_base64(text: bytes | str, start: int) -> bytes:
    """The bytes that `text` stands for from `start` on; none where it is not base64."""
    parts, rest, is_over = [], b"", False
    try:
        for at in range(start, len(text), CALL_LENGTH):
            read = _octets(text[at : at + CALL_LENGTH]).translate(URL_SAFE, WHITE_SPACE)
            plain = read.rstrip(PADDING)
            if PADDING in plain or (is_over and plain):  # it ends a text, and nothing else
                return b""
            is_over |= len(plain) < len(read)
            plain = rest + plain
            whole = len(plain) // 4 * 4
            parts.append(binascii.a2b_base64(plain[:whole], strict_mode=True))
            rest = plain[whole:]
        parts.append(binascii.a2b_base64(rest + PADDING * (-len(rest) % 4), strict_mode=True))
    except binascii.Error:
        return b""
    return b"".join(parts)
