"""Floods: traffic that no client should send, and that the service's memory must bear."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress

from benchmarks.stress import send_together
from benchmarks.worst import one_number_rows

JSON_CLIENTS = 8
JSON_BYTES = 32 * 2**20
PIPELINING_CLIENTS = 20
PAGES = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000
"""Requests for the longest answer that a short request gets."""
REPEATS = 12
RECEIVE_BUFFER_BYTES = 2048
SEND_SECONDS = 0.5
HOLD_SECONDS = 3.0


def large_json(port: int) -> Counter[str]:
    """Send JSON as large as any body may be, and larger than JSON may be, on several connections.

    Returns:
        How many answers had which status.
    """
    return send_together(port, "/predict", one_number_rows(JSON_BYTES), JSON_CLIENTS)


def pipeline(port: int, *, hold_seconds: float = HOLD_SECONDS) -> Counter[str]:
    """Send page after page request on many connections, read no answer, and hold them open.

    Returns:
        How many connections were closed by the server and how many were `unread` at the end.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(_connect(port)) for _ in range(PIPELINING_CLIENTS)]
        outcomes = Counter("unread" if _fill(client) else "closed" for client in clients)
        time.sleep(hold_seconds)
    return outcomes


def _connect(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    client.settimeout(SEND_SECONDS)
    client.connect(("127.0.0.1", port))
    return client


def _fill(client: socket.socket) -> bool:
    """Send until the server takes no more; return whether the connection is still there."""
    with suppress(TimeoutError):
        for _ in range(REPEATS):
            try:
                client.sendall(PAGES)
            except ConnectionError:
                return False
    return True


FLOODS: dict[str, Callable[[int], Counter[str]]] = {
    f"{JSON_CLIENTS} × json-32-mib": large_json,
    f"{PIPELINING_CLIENTS} × pipelined-pages": pipeline,
}
