"""Compressed bodies (RFC 9110, section 8.4.1), under a limit on what they become."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..api.formats import ParseCost, joined
from ..errors import BodyTooLarge, MalformedBody
from ..serving.limits import Lease

ENCODINGS = frozenset((b"gzip", b"x-gzip", b"deflate"))
EITHER_FORMAT = 32 + zlib.MAX_WBITS
"""gzip (RFC 1952) or zlib (RFC 1950), which HTTP calls deflate; the bytes decide."""
MAX_RATIO = 1032
"""Bytes that a byte of deflate's can stand for."""
CALL_BYTES, PIECE_BYTES = 2**16, 2**20
"""Bytes that are decompressed in one call, and that come out of it, at most."""
BYTE_COST = 1 / 4
"""Cost of a byte that comes out, in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class CompressedBody:
    """A body to be decompressed to at most `max_bytes`, and the request's share of the limits."""

    chunks: list[bytes]
    max_bytes: int
    lease: Lease

    @property
    def size(self) -> int:
        """Bytes of it, compressed."""
        return sum(map(len, self.chunks))

    @property
    def cost(self) -> ParseCost:
        """What it may take; room for what comes out grows ahead of it."""
        most = min(self.size * MAX_RATIO, self.max_bytes)
        return ParseCost(int(most * BYTE_COST), 2 * most, is_json=False)

    def parse(self) -> bytes:
        """The body as it was before it was compressed.

        Raises:
            MalformedBody: it is not compressed, or not all of it is there, or more.
            BodyTooLarge: it becomes larger than may be.
        """
        self.lease.check()
        body = io.BytesIO()
        try:
            for piece in self._pieces():
                if body.tell() + len(piece) > self.max_bytes:
                    raise BodyTooLarge(
                        f"A body has at most {self.max_bytes:,} bytes, decompressed."
                    )
                body.write(piece)
        except zlib.error:
            raise MalformedBody("The body is not compressed by gzip or deflate.") from None
        return body.getvalue()

    def _pieces(self) -> Iterator[bytes]:
        """What comes out, in pieces: whatever is copied holds the interpreter."""
        decompressor = zlib.decompressobj(EITHER_FORMAT)
        content = memoryview(joined(self.chunks))
        compressed: bytes | memoryview = b""
        for start in range(0, len(content), CALL_BYTES):
            compressed = content[start : start + CALL_BYTES]
            while compressed and not decompressor.eof:
                yield decompressor.decompress(compressed, PIECE_BYTES)
                compressed = decompressor.unconsumed_tail
            if compressed:
                break
        if compressed or decompressor.unused_data or not decompressor.eof:
            raise MalformedBody("The compressed body is truncated, or has more after its end.")
