"""Request IDs: the name under which a request is found in the response, the log and the traces."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")
"""A client's own ID, where it is kept: no spaces, quotes or control characters reach the log."""


def new_request_id() -> str:
    """Return a random ID, 32 hexadecimal digits.

    It is a name and no secret. The system's random source would take longer than all other
    telemetry of a request.
    """
    return f"{random.getrandbits(128):032x}"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the client's `X-Request-ID` where it is sane, else a new ID.

    Args:
        headers: An ASGI scope's headers, their names in lower case.
    """
    for name, value in headers:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return new_request_id().encode()
