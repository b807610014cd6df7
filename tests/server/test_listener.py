from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from app.server import listener
from app.server.listener import (
    FIRST_WINDOW_SECONDS,
    IDLE_SECONDS,
    MAX_PORTION,
    MIN_PORTION,
    WINDOW_SECONDS,
    Listener,
    Loop,
)

SECONDS = 10
"""How long a test waits for what would otherwise hang."""


class Echo(asyncio.Protocol):
    """Sends back what it is sent; knows which listener it came by."""

    def __init__(self, name: str, made: list[Echo]) -> None:
        self.name = name
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.made.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def run(coroutine: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        await asyncio.wait_for(coroutine(loop), SECONDS)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


@contextmanager
def clients(count: int, sock: socket.socket) -> Iterator[None]:
    with ExitStack() as opened:
        for _ in range(count):
            opened.enter_context(socket.create_connection(sock.getsockname()[:2], timeout=SECONDS))
        yield


async def reached(made: list[Echo], count: int) -> None:
    while len(made) < count:
        await asyncio.sleep(0.001)


def end(made: list[Echo]) -> None:
    for one in made:
        one.transport.abort()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        yield sock


def test_who_shares_a_socket_shares_what_comes_at_once(listening: socket.socket) -> None:
    made: list[Echo] = []
    count = 2 * MIN_PORTION + 1

    async def share(loop: Loop) -> None:
        both = [
            Listener(loop, lambda: Echo("one", made), listening),
            Listener(loop, lambda: Echo("other", made), listening.dup()),
        ]
        await reached(made, count)
        for one in both:
            one.close()
            await one.wait_closed()
        end(made)

    with clients(count, listening):
        run(share)
    names = [one.name for one in made]
    assert sorted(map(names.count, ("one", "other"))) == [MIN_PORTION, MIN_PORTION + 1]


def test_a_lone_one_accepts_all_and_what_it_accepted_outlives_it(listening: socket.socket) -> None:
    made: list[Echo] = []
    count = 5 * MAX_PORTION
    address = listening.getsockname()

    async def accept(loop: Loop) -> None:
        alone = await loop.create_server(lambda: Echo("one", made), sock=listening)
        await reached(made, count)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"seven")
        assert await reader.readexactly(5) == b"seven"
        alone.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)
        writer.write(b"eight")
        assert await reader.readexactly(5) == b"eight"
        writer.close()
        await writer.wait_closed()
        end(made)

    with clients(count, listening):
        run(accept)


def test_who_has_connected_is_accepted_though_it_is_closed(listening: socket.socket) -> None:
    made: list[Echo] = []
    count = 3 * MAX_PORTION

    async def close(loop: Loop) -> None:
        alone = Listener(loop, lambda: Echo("one", made), listening)
        alone.close()
        await alone.wait_closed()
        assert len(made) == count
        end(made)

    with clients(count, listening):
        run(close)


class Crowd(socket.socket):
    """There is always somebody waiting."""

    accepted = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepted += 1
        return Mock(), None


def test_portions_grow_while_there_are_more(listening: socket.socket) -> None:
    loop = Mock(**{"time.return_value": 7.0})
    crowd = Crowd(fileno=os.dup(listening.fileno()))
    one = Listener(loop, Mock(), crowd)

    def portion(after: float) -> int:
        loop.time.return_value += after
        before = crowd.accepted
        _, on_readable = loop.add_reader.call_args.args
        on_readable()
        return crowd.accepted - before

    assert portion(0) == MIN_PORTION
    assert loop.call_later.call_args.args[0] == pytest.approx(FIRST_WINDOW_SECONDS)
    grown = [portion(FIRST_WINDOW_SECONDS)]
    assert loop.call_later.call_args.args[0] == pytest.approx(WINDOW_SECONDS)
    grown += [portion(2 * WINDOW_SECONDS) for _ in range(2 * (MAX_PORTION - MIN_PORTION) + 1)]
    assert grown[::2] == [*range(MIN_PORTION, MAX_PORTION + 1)]
    assert grown[1::2] == [*range(MIN_PORTION + 1, MAX_PORTION + 1), MAX_PORTION]
    assert portion(IDLE_SECONDS + 2 * WINDOW_SECONDS) == MIN_PORTION
    one.close()


class Poor(socket.socket):
    """Has no descriptor left, once."""

    had = False

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.had:
            self.had = True
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_descriptors_it_is_tried_again(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.01)
    made: list[Echo] = []

    async def accept(loop: Loop) -> None:
        one = Listener(loop, lambda: Echo("one", made), Poor(fileno=os.dup(listening.fileno())))
        await reached(made, 1)
        one.close()
        end(made)

    with capture_logs() as lines, clients(1, listening):
        run(accept)
    assert [line["event"] for line in lines] == ["no connection is accepted"]


def has(host: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_of_its_own(host: str) -> None:
    if not has(host):
        pytest.skip(f"this machine has no {host}")
    made: list[Echo] = []

    async def bind(loop: Loop) -> None:
        own = await loop.create_server(lambda: Echo("one", made), host, 0)
        with clients(1, own.sockets[0]):
            await reached(made, 1)
        with pytest.raises(OSError, match="in use"):
            await loop.create_server(lambda: Echo("one", made), *own.sockets[0].getsockname()[:2])
        own.close()
        end(made)

    run(bind)
