from __future__ import annotations

import random
import re
from collections.abc import Iterable

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")


def new_request_id() -> str:
    """A name, not a secret: asking the system for randomness took longer than all else here."""
    return f"{random.getrandbits(128):032x}"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The caller's `X-Request-ID` where that is sane, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return new_request_id().encode()
