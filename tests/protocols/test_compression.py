from __future__ import annotations

import gzip
import time
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BodyTooLarge, DeadlineExceeded, MalformedBody
from app.protocols.compression import CALL_BYTES, MAX_RATIO, PIECE_BYTES, CompressedBody
from app.serving.limits import Admission, Lease

ADMISSION = Admission(max_waiting_images=1, body_bytes=1, working_bytes=1)
SOME = b"digits " * 100


def lease(seconds: float = 60) -> Lease:
    return ADMISSION.open_lease(time.monotonic() + seconds)


def decompressed(content: bytes, max_bytes: int = 10_000) -> bytes:
    return CompressedBody([content[:9], content[9:]], max_bytes, lease()).parse()


@given(st.binary(max_size=2000))
def test_what_was_compressed_comes_back(body: bytes) -> None:
    assert decompressed(gzip.compress(body)) == body
    assert decompressed(zlib.compress(body)) == body


def test_the_limit_is_on_what_comes_out() -> None:
    assert decompressed(gzip.compress(SOME), len(SOME)) == SOME
    with pytest.raises(BodyTooLarge, match="at most 699 bytes, decompressed"):
        decompressed(gzip.compress(SOME), len(SOME) - 1)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(SOME, id="not compressed"),
        pytest.param(gzip.compress(SOME)[:-1], id="truncated"),
        pytest.param(zlib.compress(SOME)[:-1], id="truncated zlib"),
        pytest.param(gzip.compress(SOME) + b"x", id="more after its end"),
        pytest.param(gzip.compress(SOME)[:-5] + b"12345", id="wrong checksum"),
    ],
)
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(MalformedBody):
        decompressed(content)


@given(st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for head in (b"", b"\x1f\x8b\x08\0\0\0\0\0\0\3", b"\x78\x9c"):
        with suppress(MalformedBody, BodyTooLarge):
            assert len(decompressed(head + content, 100)) <= 100


@pytest.mark.parametrize("size", [CALL_BYTES, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
@pytest.mark.parametrize("level", [0, 9])
def test_what_comes_out_in_several_pieces(size: int, level: int) -> None:
    body = (b"digits\0" * (1 + size // 7))[:size]
    content = zlib.compress(body, level)
    assert decompressed(content, size) == body
    for changed in (content + b"x", content + bytes(CALL_BYTES), content[:-4]):
        with pytest.raises(MalformedBody):
            decompressed(changed, size)
    with pytest.raises(BodyTooLarge):
        decompressed(content, size - 1)


def test_it_is_charged_for_what_may_come_out() -> None:
    bomb = zlib.compress(bytes(10**6))
    assert len(bomb) * MAX_RATIO >= 10**6
    charged = CompressedBody([bomb], 10**9, lease()).cost
    assert charged.working_bytes == 2 * len(bomb) * MAX_RATIO
    assert charged.pixels == len(bomb) * MAX_RATIO // 4
    bounded = CompressedBody([bomb], 1000, lease()).cost
    assert (bounded.working_bytes, bounded.pixels) == (2000, 250)


def test_it_is_not_begun_when_the_deadline_has_passed() -> None:
    with pytest.raises(DeadlineExceeded):
        CompressedBody([gzip.compress(SOME)], 10_000, lease(-1)).parse()
