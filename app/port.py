"""One port for several workers, each with a listening socket of its own.

Workers that share one socket take from it as they come: whoever is awake takes all that wait, and
of 64 connections one worker was seen with 62. Of several sockets at one port (SO_REUSEPORT), Linux
deals each connection to one by its addresses, evenly but for chance.
"""

from __future__ import annotations

import socket
from typing import Any


class Port:
    """An address, reserved as long as this is open. What comes out where it is unpickled, in a
    worker, is a socket of that worker's own, bound to it: it has a share of the connections from
    when the worker listens until it ends.
    """

    def __init__(self, family: int, address: Any) -> None:
        self.family = family
        self._reserved = bound(family, address)
        self.address = self._reserved.getsockname()

    def __reduce__(self) -> tuple[Any, ...]:
        return bound, (self.family, self.address)

    def close(self) -> None:
        self._reserved.close()


def bound(family: int, address: Any) -> socket.socket:
    """A socket that leaves room for others at its address. Raises OSError."""
    one = socket.socket(family)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one


def alone_at(one: socket.socket) -> Port:
    """The port that `one` is bound to, which shows that nobody else is. `one` is closed."""
    family, address = one.family, one.getsockname()
    one.close()
    return Port(family, address)
