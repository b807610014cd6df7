"""Lengths that lie, forms that don't end; clients that are slow, silent or gone."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tests.faults.server import (
    ECHO,
    GOLDEN,
    Reply,
    Server,
    assert_unharmed,
    file_part,
    multipart,
    read_reply,
    request,
    wait_until,
)

MAX_BODY_BYTES = 12 * 2**20
SETTINGS = {
    "max_body_bytes": MAX_BODY_BYTES,
    "header_seconds": 2,
    "body_seconds": 3,
    "keep_alive_seconds": 2,
}
SLOW_CLIENTS = 500

PREDICT = b"POST /predict HTTP/1.1\r\nhost: digits\r\ncontent-type: image/png\r\n"
GET = b"GET /livez HTTP/1.1\r\nhost: digits\r\n"


def chunked(data: bytes, size: int = 65_536) -> list[bytes]:
    """`data` in chunks, with the last one that ends a body."""
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


HTTP_FAULTS: list[tuple[str, list[bytes], str]] = [
    ("1 GB announced", [PREDICT + b"content-length: 1073741824\r\n\r\n"], "body-too-large"),
    (
        "1 GB announced, asking first",
        [PREDICT + b"content-length: 1073741824\r\nexpect: 100-continue\r\n\r\n"],
        "body-too-large",
    ),
    (
        "chunked over the limit",
        [PREDICT + b"transfer-encoding: chunked\r\n\r\n", *chunked(bytes(MAX_BODY_BYTES + 1))],
        "body-too-large",
    ),
    (
        "length and chunks",
        [PREDICT + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", *chunked(b"abcde")],
        "bad-request",
    ),
    ("negative length", [PREDICT + b"content-length: -1\r\n\r\n"], "bad-request"),
    ("length with a sign", [PREDICT + b"content-length: +5\r\n\r\nabcde"], "bad-request"),
    ("length in words", [PREDICT + b"content-length: five\r\n\r\n"], "bad-request"),
    (
        "length of 100 digits",
        [PREDICT + b"content-length: " + b"9" * 100 + b"\r\n\r\n"],
        "bad-request",
    ),
    (
        "two lengths",
        [PREDICT + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcde"],
        "bad-request",
    ),
    (
        "the same length twice",
        [PREDICT + b"content-length: 5\r\ncontent-length: 5\r\n\r\nabcde"],
        "bad-request",
    ),
    ("a list of lengths", [PREDICT + b"content-length: 5, 5\r\n\r\nabcde"], "bad-request"),
    (
        "chunks not last",
        [PREDICT + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"],
        "bad-request",
    ),
    (
        "no hexadecimal chunk size",
        [PREDICT + b"transfer-encoding: chunked\r\n\r\n", ECHO.encode() + b"\r\n"],
        "bad-request",
    ),
    (
        "chunk size of 40 digits",
        [PREDICT + b"transfer-encoding: chunked\r\n\r\n", b"f" * 40 + b"\r\n"],
        "bad-request",
    ),
    ("unknown method", [b"FOO / HTTP/1.1\r\nhost: digits\r\n\r\n"], "unknown-method"),
    ("longer method", [b"GETS /livez HTTP/1.1\r\nhost: digits\r\n\r\n"], "unknown-method"),
    ("unknown method of no HTTP", [b"FOO / RTSP/1.0\r\n\r\n"], "bad-request"),
    ("method of no token", [b"FO(O) / HTTP/1.1\r\nhost: digits\r\n\r\n"], "bad-request"),
    *(
        (f"host {host}", [f"GET /livez HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()], "bad-request")
        for host in ("a b/@", "a/b", "me@digits", "[::1", "digits:port", "a,b:1:2", "dígits")
    ),
    ("not HTTP", [ECHO.encode() + b"\r\n\r\n"], "bad-request"),
    ("TLS", [bytes.fromhex("16030100a5010000a10303") + bytes(160)], "bad-request"),
    ("path not ascii", [b"GET /\xff\xfe HTTP/1.1\r\nhost: digits\r\n\r\n"], "bad-request"),
    ("space in a header's name", [GET + b"x y: z\r\n\r\n"], "bad-request"),
    ("NUL in a header's value", [GET + b"x: a\0b\r\n\r\n"], "bad-request"),
    ("connect", [b"CONNECT digits:443 HTTP/1.1\r\nhost: digits\r\n\r\n"], "method-not-allowed"),
    ("64 KB of headers at once", [GET + b"x: y\r\n" * 11_000 + b"\r\n"], "headers-too-large"),
    ("64 KB of headers in 1,000 segments", [GET, *[b"x: y\r\n" * 11] * 1000], "headers-too-large"),
    ("one header of 64 KB", [GET + b"x: ", *[b"y" * 640] * 100], "headers-too-large"),
    ("address of 64 KB", [b"GET /", *[b"y" * 640] * 100], "headers-too-large"),
    (
        "trailers of 64 KB",
        [
            PREDICT + b"transfer-encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n0\r\n",
            *[b"x: y\r\n" * 40] * 280,
        ],
        "headers-too-large",
    ),
    (
        "chunk extension of 64 KB",
        [PREDICT + b"transfer-encoding: chunked\r\n\r\n", b"1;", *[b"y" * 640] * 100],
        "headers-too-large",
    ),
    ("unknown path", [request("GET", f"/{ECHO}")], "not-found"),
    ("path with NUL", [request("GET", "/predict%00")], "not-found"),
    ("path outside", [request("GET", "/web/..%2f..%2fetc/passwd")], "not-found"),
    ("GET /predict", [request("GET", "/predict")], "method-not-allowed"),
    ("DELETE /healthz", [request("DELETE", "/healthz")], "method-not-allowed"),
    ("unknown problem", [request("GET", f"/problems/{ECHO}")], "not-found"),
    ("no body", [request("POST", "/predict", {"content-type": "image/png"})], "empty-batch"),
    (
        "gzip",
        [request("POST", "/predict", {"content-encoding": "gzip"}, b"\x1f\x8b")],
        "unsupported-encoding",
    ),
    (
        "a million form fields",
        [
            request(
                "POST",
                "/predict",
                {"content-type": "application/x-www-form-urlencoded"},
                b"a=b&" * 1_000_000,
            )
        ],
        "not-an-image",
    ),
    ("unknown parameter value", [request("POST", f"/predict?normalize={ECHO}")], "bad-parameter"),
    (
        "deadline that is no number",
        [request("POST", "/predict", {"x-deadline-seconds": ECHO})],
        "bad-parameter",
    ),
    (
        "deadline in the past",
        [request("POST", "/predict", {"x-deadline-seconds": "-1"})],
        "bad-parameter",
    ),
]


@pytest.mark.parametrize(
    ("segments", "slug"), [pytest.param(*case[1:], id=case[0]) for case in HTTP_FAULTS]
)
def test_refused(server: Server, segments: list[bytes], slug: str) -> None:
    reply = server.exchange(*segments)
    assert reply.problem == slug
    assert_unharmed(server, [reply])


def disposition(value: str) -> tuple[str, bytes]:
    return f"Content-Disposition: form-data; {value}", GOLDEN


def of_type(kind: str) -> Callable[[], tuple[bytes, str]]:
    return lambda: (multipart(file_part(GOLDEN))[0], kind)


FORM_FAULTS: list[tuple[str, Callable[[], tuple[bytes, str]], str]] = [
    ("no boundary", of_type("multipart/form-data"), "malformed-body"),
    ("empty boundary", of_type("multipart/form-data; boundary="), "malformed-body"),
    ("another boundary", of_type("multipart/form-data; boundary=other"), "malformed-body"),
    (
        "boundary of 257 bytes",
        lambda: multipart(file_part(GOLDEN), boundary="b" * 257),
        "malformed-body",
    ),
    ("no end", lambda: multipart(file_part(GOLDEN), end=False), "malformed-body"),
    (
        "no form at all",
        lambda: (ECHO.encode(), "multipart/form-data; boundary=b"),
        "malformed-body",
    ),
    ("no part", multipart, "empty-batch"),
    ("wrong field", lambda: multipart(disposition(f'name="{ECHO}"')), "empty-batch"),
    ("no name", lambda: multipart(disposition("")), "empty-batch"),
    ("1,001 parts", lambda: multipart(*[disposition('name="x"')] * 1001), "malformed-body"),
    (
        "10,000 headers in a part",
        lambda: multipart(("x: y\r\n" * 10_000 + file_part(b"")[0], GOLDEN)),
        "malformed-body",
    ),
    (
        "header of 1 MB in a part",
        lambda: multipart((f"x: {'y' * 1_000_000}\r\n" + file_part(b"")[0], GOLDEN)),
        "malformed-body",
    ),
    (
        "preamble of 10 MB",
        lambda: (b"x" * 10_000_000 + b"\r\n" + multipart(file_part(GOLDEN))[0], multipart()[1]),
        "malformed-body",
    ),
    ("257 files", lambda: multipart(*[file_part(GOLDEN)] * 257), "too-many-images"),
]


@pytest.mark.parametrize(
    ("make", "slug"), [pytest.param(*case[1:], id=case[0]) for case in FORM_FAULTS]
)
def test_forms_refused(server: Server, make: Callable[[], tuple[bytes, str]], slug: str) -> None:
    reply = server.predict(*make())
    assert reply.problem == slug
    assert_unharmed(server, [reply])


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(file_part(GOLDEN, f"../../{ECHO}/passwd"), id="path"),
        pytest.param(file_part(GOLDEN, f"{ECHO}\0.png"), id="NUL"),
        pytest.param(disposition(f"name=\"file\"; filename*=UTF-8''%2e%2e%2f{ECHO}"), id="star"),
        pytest.param(disposition('name="file"'), id="none"),
        pytest.param(disposition('name=file; filename="\xff\xfe"'), id="not ascii"),
        pytest.param(disposition(f'name="file"; filename="{"x" * 2000}"'), id="long"),
    ],
)
def test_file_names_do_not_matter(server: Server, part: tuple[str, bytes]) -> None:
    reply = server.predict(*multipart(part), query="?normalize=false")
    # llhttp knows nothing of parts: the parser of forms may refuse a NUL, and nothing else happens.
    assert reply.status == 200 or ("\0" in part[0] and reply.problem == "malformed-body")
    assert_unharmed(server, [reply])


def test_chunks_and_trailers_are_read(server: Server) -> None:
    head = b"POST /predict?normalize=false HTTP/1.1\r\nhost: digits\r\ncontent-type: image/png\r\n"
    *pieces, _ = chunked(GOLDEN, 10)
    trailer = b"0\r\nx-request-id: from-the-trailer\r\n\r\n"
    reply = server.exchange(head + b"transfer-encoding: chunked\r\n\r\n", *pieces, trailer)
    assert reply.status == 200
    assert reply.headers["x-request-id"] != "from-the-trailer"
    assert_unharmed(server, [reply])


def test_continue_is_said_to_who_asks(server: Server) -> None:
    head = PREDICT + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(GOLDEN)
    with server.connect() as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(GOLDEN)
        assert read_reply(connection).status == 200
    assert_unharmed(server)


def test_continue_is_not_said_before_a_refusal(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(PREDICT + b"expect: 100-continue\r\ncontent-length: 999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert_unharmed(server)


def test_requests_in_a_row_are_answered_in_order(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(
            request("GET", "/livez")
            + request("POST", "/predict", {"content-type": "image/png"}, GOLDEN)
            + request("GET", "/nowhere", {"connection": "close"})
        )
        # All of them, for two may come in one segment, and a reader of one would swallow the next.
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"200", b"404"]
    assert_unharmed(server)


def test_nonsense_behind_a_request_does_not_cost_its_answer(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", {"content-type": "image/png"}, GOLDEN))
        connection.sendall(ECHO.encode() + b"\r\n\r\n")
        assert read_reply(connection).status == 200
    assert_unharmed(server)


def test_an_answer_before_the_body_leaves_no_silent_connection(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/nowhere", body=b"x" * 1000)[:-500])
        assert read_reply(connection).status == 404
        connection.sendall(b"x" * 500)
        assert connection.recv(1) == b""  # closed when keep_alive_seconds have passed
    assert_unharmed(server)


async def drip(server: Server, first: bytes, piece: bytes) -> bytes:
    """What is answered to a client that sends `piece` after `piece`, with its problem."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = asyncio.ensure_future(reader.readuntil(b"}"))
    with suppress(ConnectionError):
        writer.write(first)
        while not answer.done():
            writer.write(piece)
            await writer.drain()
            await asyncio.wait([answer], timeout=0.5)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return await answer


async def dripping(server: Server, first: bytes, piece: bytes) -> list[bytes]:
    """The same from SLOW_CLIENTS at once, while others are served."""
    clients = [asyncio.ensure_future(drip(server, first, piece)) for _ in range(SLOW_CLIENTS)]
    await asyncio.sleep(1)
    await asyncio.to_thread(assert_unharmed, server)
    return await asyncio.gather(*clients)


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        pytest.param(GET, b"x: y\r\n", id="header by header"),
        pytest.param(PREDICT + b"content-length: 1000\r\n\r\n", b"x", id="byte by byte"),
        pytest.param(
            PREDICT + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunk by chunk"
        ),
    ],
)
def test_slow_clients_are_cut_off(server: Server, first: bytes, piece: bytes) -> None:
    for answer in asyncio.run(dripping(server, first, piece)):
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"/problems/request-timeout" in answer
    assert_unharmed(server)
    assert server.metric("digits_body_bytes") == 0


def test_silent_connections_are_closed(server: Server) -> None:
    with ExitStack() as held:
        connections = [held.enter_context(server.connect()) for _ in range(SLOW_CLIENTS)]
        assert_unharmed(server)
        for connection in connections:
            assert connection.recv(1) == b""


def test_idle_connections_are_closed(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("GET", "/livez"))
        assert read_reply(connection).status == 200
        assert connection.recv(1) == b""


def test_clients_that_vanish_mid_upload_leave_nothing(server: Server) -> None:
    for _ in range(50):
        with server.connect() as connection:
            connection.sendall(PREDICT + b"content-length: 1000000\r\n\r\n" + bytes(500_000))
    wait_until(lambda: server.metric("digits_body_bytes") == 0)
    assert server.metric("digits_waiting_images") == 0
    assert_unharmed(server)


def test_clients_that_reset_leave_nothing(server: Server) -> None:
    for _ in range(50):
        connection = server.connect()
        linger = (1).to_bytes(4, "little") + bytes(4)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sendall(request("POST", "/predict", {"content-type": "image/png"}, GOLDEN))
        connection.close()
    wait_until(lambda: server.metric("digits_waiting_images") == 0)
    assert server.metric("digits_body_bytes") == 0
    assert_unharmed(server)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        pytest.param("from-the_caller.1", "from-the_caller.1", id="sane"),
        pytest.param("x" * 129, None, id="too long"),
        pytest.param("a b", None, id="space"),
        pytest.param("<script>", None, id="markup"),
    ],
)
def test_request_ids(server: Server, sent: str, received: str | None) -> None:
    reply: Reply = server.exchange(request("GET", "/livez", {"x-request-id": sent}))
    assert (reply.headers["x-request-id"] == sent) is (received is not None)


def test_no_header_makes_the_address_that_a_client_is_sent_to(server: Server) -> None:
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-host": "elsewhere.example"}
    reply = server.exchange(request("GET", "/healthz/", forwarded))
    assert reply.headers["location"] == "../healthz"
