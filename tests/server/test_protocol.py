"""The protocol under a bare ASGI application, on real sockets."""

from __future__ import annotations

import asyncio
import http.client
import io
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.api.problems import render_problem
from app.server import protocol
from app.server.protocol import ConnectionClock, ConnectionLimits, HttpProtocol, with_path
from tests.conftest import in_a_thread

LIMITS = ConnectionLimits(
    max_header_bytes=2000,
    header_seconds=0.3,
    body_seconds=0.3,
    write_seconds=0.5,
    keep_alive_seconds=1,
    max_pipelined_requests=4,
)
SECONDS = 20
ANSWER_BYTES = 4 * 2**20

Seen = list[Any]


async def answer(send: Send, status: int = 200, content: bytes = b"answered") -> None:
    headers = [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


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
def serving(seen: Seen, limits: ConnectionLimits = LIMITS) -> Iterator[tuple[str, int]]:
    """The address of an application that notes the bodies it sees.

    `/early` is answered unread, `/busy` is read late, `/slow` answered late, `/large` with many
    bytes, and `/echo` with what the application was told of the request.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(scope, receive, send, {})
            return
        if scope["path"] == "/early":
            await answer(send, 413)
            return
        if scope["path"] == "/busy":
            await asyncio.sleep(3 * limits.body_seconds)
        body = await body_of(receive, seen)
        if body is None:
            return
        if scope["path"] == "/slow":
            await asyncio.sleep(0.2)
        seen.append(body)
        seen.extend(name for name, _ in scope["headers"] if name.startswith(b"x-"))
        if scope["path"] == "/large":
            await answer(send, content=bytes(ANSWER_BYTES))
        elif scope["path"].startswith("/echo"):
            named = [value for name, value in scope["headers"] if name == b"x-name"]
            told = [scope["method"].encode(), scope["raw_path"], *named, body]
            await answer(send, content=b"|".join(told))
        else:
            await answer(send)

    factory: Any = partial(
        HttpProtocol, clock=ConnectionClock(limits), render_problem=render_problem
    )
    config = uvicorn.Config(
        app,
        port=0,
        http=factory,
        loop="app.server.listener:Loop",
        lifespan="on",
        log_config=None,
        timeout_keep_alive=1,
    )
    with in_a_thread(config) as address:
        yield address


@contextmanager
def connected(seen: Seen, limits: ConnectionLimits = LIMITS) -> Iterator[socket.socket]:
    """A connection to `serving`."""
    with (
        serving(seen, limits) as address,
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
    ("target", "expected"),
    [
        (b"http://a", b"http://a/"),
        (b"HTTPS://[::1]:8000", b"HTTPS://[::1]:8000/"),
        (b"http://a?b=http://c", b"http://a/?b=http://c"),
        (b"http://a/b", b"http://a/b"),
        (b"/b?c=http://d", b"/b?c=http://d"),
    ],
)
def test_a_whole_url_has_a_path(target: bytes, expected: bytes) -> None:
    assert with_path(target) == expected


@pytest.mark.parametrize("authority", ["a", "a:8000", "user@a", "[::1]:8000"])
def test_a_request_for_a_whole_url_without_a_path_is_answered(authority: str) -> None:
    seen: Seen = []
    with connected(seen) as connection:
        for query in ("", "?a=b"):
            head = f"GET http://{authority}{query} HTTP/1.1\r\nhost: a\r\n\r\n"
            connection.sendall(head.encode())
            assert reply(connection)[0] == 200
    assert seen == [b"", b""]


@pytest.mark.parametrize(
    ("segments", "status"),
    [
        pytest.param([b"nonsense\r\n\r\n"], 400, id="not HTTP"),
        pytest.param([b"GET / HTTP/1.1\r\n\r\n"], 400, id="no host"),
        pytest.param([post("/", "host: b", "content-length: 0")], 400, id="two hosts"),
        pytest.param([post("/", "x: a", " folded", "content-length: 0")], 400, id="folded"),
        pytest.param([b"GET / HTTP/1.1\nhost: a\n\n"], 400, id="bare line feeds"),
        pytest.param(
            [post("/", "transfer-encoding: chunked"), b"3\r\nabc\r\nzz\r\n"], 400, id="chunk size"
        ),
        pytest.param(
            [post("/", "transfer-encoding: chunked"), b"0\r\ncontent-length: 5\r\n\r\n"],
            400,
            id="length in the trailer",
        ),
        pytest.param([post("/", f"x-a: {'b' * 2000}")], 431, id="headers at once"),
        pytest.param([post("/", "x-a: b")[:-2], *[b"x: y\r\n" * 20] * 40], 431, id="one by one"),
        pytest.param([b"GET /", *[b"a" * 1500] * 4], 431, id="address"),
        pytest.param(
            [post("/", "transfer-encoding: chunked"), b"1;", *[b"x" * 1500] * 4],
            431,
            id="chunk extension",
        ),
        pytest.param(
            [post("/", "transfer-encoding: chunked"), b"0\r\n", *[b"x: y\r\n" * 20] * 40],
            431,
            id="trailers",
        ),
        pytest.param(
            [
                post("/", "transfer-encoding: chunked"),
                b"1\r\nx\r\n0\r\n" + b"x: y\r\n" * 1200,
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
    patient = replace(LIMITS, header_seconds=3600, body_seconds=3600)
    with connected([], LIMITS if status == 408 else patient) as connection:
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


def answers(connection: socket.socket, methods: Sequence[str]) -> list[tuple[int, bytes]]:
    """Each answer's status and content, in order, on a connection that is closed at the end."""
    received = io.BytesIO(b"".join(iter(lambda: connection.recv(65536), b"")))
    found = []
    for method in methods:
        response = http.client.HTTPResponse(Received(received), method=method)  # type: ignore[arg-type]
        response.begin()
        found.append((response.status, response.read()))
    assert received.read() == b""
    return found


class Received:
    """What was received, as http.client wants a socket; read on where the last answer ended."""

    def __init__(self, received: io.BytesIO) -> None:
        self.received = received

    def makefile(self, mode: str) -> io.BufferedIOBase:
        return Unclosed(self.received)


class Unclosed(io.BufferedIOBase):
    """A reader that leaves what it reads from open."""

    def __init__(self, inner: io.BytesIO) -> None:
        self.inner = inner

    def read(self, size: int | None = -1) -> bytes:
        return self.inner.read(size)

    def readline(self, size: int | None = -1) -> bytes:
        return self.inner.readline(size)


UPGRADES = [
    ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQA"),
    ("connection: upgrade", "upgrade: websocket"),
    ("connection: keep-alive, Upgrade", "upgrade: TLS/1.2"),
]


@pytest.mark.parametrize("headers", UPGRADES, ids=lambda headers: headers[1])
@pytest.mark.parametrize("framing", ["content-length: 4", "transfer-encoding: chunked"])
def test_an_upgrade_is_declined_and_the_body_kept(headers: tuple[str, ...], framing: str) -> None:
    body = b"4\r\nbody\r\n0\r\n\r\n" if "chunked" in framing else b"body"
    with connected([]) as connection:
        connection.sendall(post("/echo", *headers, framing) + body)
        assert reply(connection) == (200, b"POST|/echo|body")
        connection.sendall(post("/echo/next", "content-length: 0", "connection: close"))
        assert reply(connection) == (200, b"POST|/echo/next|")


@pytest.mark.parametrize("space", ["", " ", "\t", " \t  "])
def test_white_space_around_a_value_is_not_of_it(space: str) -> None:
    spaces = " " * len(space)
    headers = (f"x-name:{space}me{space}", f"transfer-encoding:{space}chunked{spaces}")
    with connected([]) as connection:
        connection.sendall(post("/echo", *headers) + b"4\r\nbody\r\n0\r\n\r\n")
        assert reply(connection) == (200, b"POST|/echo|me|body")


def test_a_request_that_has_begun_is_answered_though_the_server_stops() -> None:
    limits = replace(LIMITS, header_seconds=SECONDS)
    with ExitStack() as opened:
        with serving([], limits) as address:
            begun, idle = (
                opened.enter_context(socket.create_connection(address, timeout=SECONDS))
                for _ in range(2)
            )
            begun.sendall(post("/", "content-length: 0")[:-2])
            idle.sendall(post("/", "content-length: 0"))
            assert reply(idle) == (200, b"answered")
            rest = threading.Timer(
                0.3, begun.sendall, (b"\r\n",)
            )  # the server is told to stop first
            rest.start()
        assert reply(begun) == (200, b"answered")
        assert is_closed(begun)
        assert is_closed(idle)
        rest.join()


def test_connect_is_refused() -> None:
    with connected([]) as connection:
        connection.sendall(b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert reply(connection)[0] == 405
        assert is_closed(connection)


def test_more_requests_than_may_wait_are_read_later_and_answered_in_order() -> None:
    count = 20 * LIMITS.max_pipelined_requests
    with connected([]) as connection:
        for number in range(count):
            connection.sendall(post(f"/echo/{number}", "content-length: 2") + b"ab")
        connection.sendall(post("/echo/last", "content-length: 0", "connection: close"))
        expected = [(200, b"POST|/echo/%d|ab" % number) for number in range(count)]
        found = answers(connection, ["POST"] * (count + 1))
    assert found == [*expected, (200, b"POST|/echo/last|")]


def test_a_refusal_has_its_turn_behind_the_answers_that_are_owed() -> None:
    with connected([]) as connection:
        two = post("/slow", "content-length: 0") + post("/echo", "content-length: 0")
        connection.sendall(two + b"nonsense\r\n\r\n" + post("/echo", "content-length: 0"))
        first, second, third = answers(connection, ["POST"] * 3)
    assert (first, second) == ((200, b"answered"), (200, b"POST|/echo|"))
    assert third[0] == 400


def test_http_1_0_has_one_answer_no_coding_and_no_interim() -> None:
    old = post("/echo", "expect: 100-continue", "connection: keep-alive", "content-length: 2")
    with connected([]) as connection:
        connection.sendall(old.replace(b"HTTP/1.1", b"HTTP/1.0"))
        connection.sendall(b"ab" + post("/echo", "content-length: 0"))
        assert answers(connection, ["POST"]) == [(200, b"POST|/echo|ab")]
    with connected([]) as connection:
        chunked = post("/echo", "transfer-encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0")
        connection.sendall(chunked + b"0\r\n\r\n")
        assert reply(connection)[0] == 400


def test_who_asks_first_is_told_to_go_on() -> None:
    with connected([]) as connection:
        connection.sendall(post("/echo", "expect: 100-continue", "content-length: 2"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert reply(connection) == (200, b"POST|/echo|ab")
        connection.sendall(post("/echo/next", "content-length: 0"))
        assert reply(connection) == (200, b"POST|/echo/next|")


def test_who_asks_first_and_is_refused_can_not_have_a_request_taken_for_the_body() -> None:
    seen: Seen = []
    with connected(seen) as connection:
        connection.sendall(post("/early", "expect: 100-continue", "content-length: 2000"))
        assert reply(connection)[0] == 413
        assert is_closed(connection)
    assert seen == []


@pytest.mark.parametrize(
    "excess",
    [b"x" * 10**6, post("/echo", "content-length: 0") * 10_000],
    ids=["nonsense", "requests"],
)
def test_bytes_behind_the_last_request_do_not_reset_its_answer(excess: bytes) -> None:
    seen: Seen = []
    with connected(seen) as connection:
        connection.sendall(post("/slow", "content-length: 0", "connection: close") + excess)
        assert answers(connection, ["POST"]) == [(200, b"answered")]
    assert seen == [b""]


def test_a_body_that_comes_more_slowly_than_it_may_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "RATE_SECONDS", 0.05)
    limits = replace(LIMITS, body_seconds=3600, min_body_bytes_per_second=10**6)
    seen: Seen = []
    with connected(seen, limits) as connection:
        connection.sendall(post("/", "content-length: 100000"))
        with suppress(ConnectionError):
            while not select.select([connection], [], [], 0.01)[0]:
                connection.sendall(b"x")
        assert reply(connection)[0] == 408
    assert seen == ["gone"]


def test_a_body_that_the_application_does_not_take_is_not_late() -> None:
    body = bytes(2**20)  # more than is received ahead
    with connected([]) as connection:
        connection.sendall(post("/busy", f"content-length: {len(body)}") + body)
        assert reply(connection) == (200, b"answered")


def test_a_client_has_its_time_for_what_was_written_by_then() -> None:
    transport = Mock()
    connection: Any = SimpleNamespace(
        transport=transport, limits=LIMITS, _writing_since=0.0, _write_mark=0
    )

    def is_cut_off(now: float, written: int, unread: int) -> bool:
        transport.written_bytes = written
        transport.get_write_buffer_size.return_value = unread
        HttpProtocol._check_writing(connection, now)
        return bool(transport.abort.called)

    seconds = LIMITS.write_seconds
    assert not is_cut_off(0.0, 100, 100)
    assert not is_cut_off(0.9 * seconds, 200, 110)
    assert not is_cut_off(1.0 * seconds, 300, 200)  # never empty, but the first 100 are read
    assert not is_cut_off(1.9 * seconds, 300, 50)
    assert is_cut_off(2.1 * seconds, 300, 50)


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    seen: Seen = []
    with connected(seen) as connection:
        with suppress(ConnectionError):
            for _ in range(20):
                connection.sendall(post("/large", "content-length: 0"))
        time.sleep(3 * LIMITS.write_seconds)  # what it has not read by now is given up
        received = 0
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                received += len(part)
    assert received < 20 * ANSWER_BYTES


LENGTHS = [
    ("content-length: 4", "transfer-encoding: chunked"),
    ("content-length: 4", "content-length: 4"),
    ("transfer-encoding: gzip, chunked",),
    ("transfer-encoding: chunked", "transfer-encoding: chunked"),
    ("transfer-encoding: \x0bchunked",),
    ("transfer-encoding: chunked\x0b",),
    ("connection: upgrade", "upgrade: h2c", "content-length: 4", "transfer-encoding: chunked"),
    ("content-length: 4", "content-length: 5"),
    ("content-length: 4, 4",),
    ("content-length: +4",),
    ("content-length: 0x4",),
    ("transfer-encoding: chunked, identity",),
]


@pytest.mark.parametrize("headers", LENGTHS, ids=" ".join)
def test_a_body_of_two_lengths_is_refused_and_smuggles_nothing(headers: tuple[str, ...]) -> None:
    seen: Seen = []
    with connected(seen) as connection:
        inner = post("/echo/smuggled", "content-length: 0")
        connection.sendall(post("/echo", *headers) + b"0\r\n\r\n" + inner)
        assert reply(connection)[0] == 400
        assert is_closed(connection)
    assert b"" not in seen


@dataclass(frozen=True)
class Exchange:
    """A request as it is sent, and its answer."""

    raw: bytes
    method: str
    answer: bytes


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """A request with a name of its own, of any framing."""
    method = draw(st.sampled_from(["POST", "PUT", "GET"]))
    name, path = draw(st.text("abc", max_size=3)), draw(st.text("xyz", max_size=3))
    body = draw(st.binary(max_size=40))
    lines = [f"{method} /echo/{path} HTTP/1.1", "host: a", f"x-name: {name}"]
    if draw(st.booleans()):
        lines += ["transfer-encoding: chunked"]
        cut = draw(st.integers(0, len(body)))
        sent = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part
        )
        sent += b"0\r\n\r\n"
    else:
        lines += [f"content-length: {len(body)}"]
        sent = body
    if draw(st.booleans()):
        lines += ["connection: upgrade", "upgrade: h2c"]
    raw = "\r\n".join([*lines, "", ""]).encode() + sent
    return Exchange(
        raw, method, b"|".join([method.encode(), b"/echo/" + path.encode(), name.encode(), body])
    )


LAST = post("/echo/end", "content-length: 0", "connection: close")


@settings(max_examples=40)
@given(st.lists(exchanges(), min_size=1, max_size=7), st.lists(st.integers(0, 600), max_size=6))
def test_requests_are_answered_alike_however_they_come(
    shared: tuple[str, int], sent: list[Exchange], cuts: list[int]
) -> None:
    """One by one, pipelined at once, and split anywhere: the same answers in the same order."""
    expected = [(200, exchange.answer) for exchange in sent]
    with socket.create_connection(shared, timeout=SECONDS) as connection:
        for exchange in sent:
            connection.sendall(exchange.raw)
            assert reply(connection) == (200, exchange.answer)
    stream = b"".join(exchange.raw for exchange in sent) + LAST
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [[stream], [stream[start:end] for start, end in pairwise(edges)]]
    for parts in pieces:
        with socket.create_connection(shared, timeout=SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                connection.sendall(part)
            methods = [*(exchange.method for exchange in sent), "POST"]
            assert answers(connection, methods) == [*expected, (200, b"POST|/echo/end|")]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[str, int]]:
    with serving([]) as address:
        yield address


HEADS = st.builds(
    lambda path, pad, length, stop: post(
        path, f"x-pad: {'p' * pad}", "x-name: stranger", f"content-length: {length}"
    )[:stop],
    st.sampled_from(["/echo", "/early", "/echo/x"]),
    st.integers(0, 1500),
    st.integers(0, 2000),
    st.integers(1, 2500),
)


@settings(max_examples=20)
@given(exchanges(), st.lists(st.tuples(HEADS, st.binary(max_size=2000)), min_size=1, max_size=3))
def test_requests_of_strangers_do_not_change_an_answer(
    shared: tuple[str, int], sent: Exchange, strangers: list[tuple[bytes, bytes]]
) -> None:
    """Heads and bodies cut anywhere, held or given up, on other connections."""
    with ExitStack() as held:
        for head, body in strangers:
            stranger = held.enter_context(socket.create_connection(shared, timeout=SECONDS))
            stranger.sendall(head + body)
            with socket.create_connection(shared, timeout=SECONDS) as connection:
                connection.sendall(sent.raw)
                assert reply(connection) == (200, sent.answer)
    with socket.create_connection(shared, timeout=SECONDS) as connection:
        connection.sendall(sent.raw)
        assert reply(connection) == (200, sent.answer)
