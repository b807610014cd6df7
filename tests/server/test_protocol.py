"""The connection under a bare ASGI application, on a real socket."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.server.protocol import Connection
from tests.conftest import in_a_thread

LIMITED: Any = partial(Connection, max_header_bytes=2000, header_seconds=0.3, body_seconds=0.3)
SECONDS = 20

Seen = list[Any]


async def answer(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})


async def live(scope: Scope, receive: Receive, send: Send, state: dict[str, Any]) -> None:
    scope["state"].update(state)
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


async def body_of(receive: Receive, seen: Seen) -> bytes | None:
    """The whole body, or None where the client went away."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            seen.append("gone")
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


@contextmanager
def connected(seen: Seen, **state: Any) -> Iterator[socket.socket]:
    """A connection to an application with that state, which notes the bodies it sees, but for
    `/early`, which it answers unread, and `/slow`, which it answers late.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(scope, receive, send, state)
            return
        if scope["path"] == "/early":
            await answer(send, 413)
            return
        body = await body_of(receive, seen)
        if body is None:
            return
        if scope["path"] == "/slow":
            await asyncio.sleep(0.2)
        seen.append(body)
        seen.extend(name for name, _ in scope["headers"] if name.startswith(b"x-"))
        await answer(send)

    config = uvicorn.Config(
        app,
        port=0,
        http=LIMITED,
        loop="app.server.listener:Loop",
        lifespan="on",
        log_config=None,
        timeout_keep_alive=1,
    )
    with (
        in_a_thread(config) as address,
        socket.create_connection(address, timeout=SECONDS) as connection,
    ):
        yield connection


def reply(connection: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return response.status, response.read()


def is_closed(connection: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def post(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: a", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("segments", "status"),
    [
        pytest.param([b"nonsense\r\n\r\n"], 400, id="not HTTP"),
        pytest.param([b"GET http://a HTTP/1.1\r\nhost: a\r\n\r\n"], 400, id="no path"),
        pytest.param([post("/", f"x-a: {'b' * 2000}")], 431, id="headers at once"),
        pytest.param([post("/", "x-a: b")[:-2], *[b"x: y\r\n"] * 400], 431, id="one by one"),
        pytest.param([b"GET /", b"a" * 1500, b"a" * 1500], 431, id="address"),
        pytest.param(
            [post("/", "transfer-encoding: chunked"), b"1;", b"x" * 1500, b"x" * 1500],
            431,
            id="chunk extension",
        ),
        pytest.param(
            [post("/", "transfer-encoding: chunked"), b"0\r\n", *[b"x: y\r\n"] * 400],
            431,
            id="trailers",
        ),
        pytest.param(
            [
                post("/", "transfer-encoding: chunked"),
                b"1\r\nx\r\n0\r\n" + b"x: y\r\n" * 400,
            ],
            431,
            id="trailers with the chunk before",
        ),
        pytest.param([b"GET / HTTP/1.1\r\nhost: a\r\n"], 408, id="headers that don't end"),
        pytest.param([post("/", "content-length: 9"), b"1234"], 408, id="body that doesn't end"),
        pytest.param([post("/", "content-length: 9")], 408, id="body that doesn't begin"),
    ],
)
def test_refusals_are_problems_and_close(segments: list[bytes], status: int) -> None:
    with connected([]) as connection:
        for segment in segments:
            connection.sendall(segment)
            time.sleep(0.0001)  # or the segments become one
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        assert response.status == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["connection"] == "close"
        assert len(response.headers["x-request-id"]) == 32
        assert b'"request_id":' in response.read()
        assert is_closed(connection)


def test_a_refused_body_ends_its_request() -> None:
    seen: Seen = []
    with connected(seen) as connection:
        connection.sendall(post("/", "content-length: 9") + b"1234")
        assert reply(connection)[0] == 408
        assert is_closed(connection)
    assert seen == ["gone"]


def test_a_silent_connection_is_closed_without_a_word() -> None:
    with connected([]) as connection:
        assert is_closed(connection)


def test_a_connection_serves_one_request_after_another() -> None:
    seen: Seen = []
    with connected(seen) as connection:
        for body in (b"one", b"two"):
            connection.sendall(post("/", "content-length: 3") + body)
            assert reply(connection) == (200, b"answered")
        assert is_closed(connection)  # idle for timeout_keep_alive
    assert seen == [b"one", b"two"]


def test_the_second_request_has_limits_too() -> None:
    with connected([]) as connection:
        connection.sendall(post("/", "content-length: 0"))
        assert reply(connection)[0] == 200
        connection.sendall(b"POST / HT")
        assert reply(connection)[0] == 408


def test_trailers_are_no_headers() -> None:
    seen: Seen = []
    with connected(seen) as connection:
        connection.sendall(post("/", "x-a: 1", "transfer-encoding: chunked"))
        connection.sendall(b"3\r\nabc\r\n0\r\nx-b: 2\r\n\r\n")
        assert reply(connection) == (200, b"answered")
    assert seen == [b"abc", b"x-a"]


def test_an_early_answer_can_be_read_while_the_body_still_comes() -> None:
    with connected([]) as connection:
        connection.sendall(post("/early", "content-length: 1000000") + b"x" * 500_000)
        assert reply(connection) == (413, b"answered")
        connection.sendall(b"x" * 1000)
        assert is_closed(connection)


def test_a_body_that_comes_after_its_answer_leaves_the_connection_open_for_another() -> None:
    with connected([]) as connection:
        connection.sendall(post("/early", "content-length: 10") + b"x" * 5)
        assert reply(connection)[0] == 413
        connection.sendall(b"x" * 5 + post("/", "content-length: 0"))
        assert reply(connection) == (200, b"answered")


def test_a_body_that_comes_after_its_answer_does_not_keep_it_open_for_ever() -> None:
    with connected([]) as connection:
        connection.sendall(post("/early", "content-length: 10") + b"x" * 5)
        assert reply(connection)[0] == 413
        connection.sendall(b"x" * 5)
        assert is_closed(connection)


def test_nonsense_behind_a_request_waits_for_its_answer() -> None:
    with connected([]) as connection:
        connection.sendall(post("/slow", "content-length: 0") + b"nonsense\r\n\r\n")
        assert reply(connection) == (200, b"answered")
        assert is_closed(connection)


@pytest.mark.parametrize("began", [True, False])
def test_while_draining_an_answer_ends_its_connection(began: bool) -> None:
    with connected([], digits=SimpleNamespace(drain=SimpleNamespace(began=began))) as connection:
        connection.sendall(post("/", "content-length: 0"))
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        assert (response.headers["connection"] == "close") is began
