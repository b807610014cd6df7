"""The writing side of a connection: one system call an iteration, and a close that can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_SECONDS = 1.0
"""How long a connection is read, and nothing done with it, after its last answer: closed with bytes
that were not read it would be reset, and the answer could be lost (RFC 9112, section 9.6)."""


class ResponseTransport(asyncio.Transport):
    """Passes on together what was written in one event-loop iteration.

    uvicorn writes a response's head and body one by one, and uvloop sends each at once: twice the
    system calls, and two segments for the client to read.

    Args:
        transport: Of the connection.
        loop: Of the connection.
        may_receive: Whether the client may have sent more than was read.

    Attributes:
        written_bytes: All that was written, sent or not.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        may_receive: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._may_receive = may_receive
        self._pending: list[bytes] = []
        self.written_bytes = 0
        self._is_lingering = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data` for the end of the iteration."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(bytes(data))
        self.written_bytes += len(data)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and not self._transport.is_closing():  # the client may have gone meanwhile
            self._transport.write(pending[0] if len(pending) == 1 else b"".join(pending))

    def close(self) -> None:
        """Close when everything written is sent; a client that still sends may read it first."""
        if self.is_closing():
            return
        self._flush()
        if self._may_receive():
            self._is_lingering = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._loop.call_later(LINGER_SECONDS, self._transport.close)
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what was written may be lost."""
        self._pending.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self._is_lingering or self._transport.is_closing()

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
