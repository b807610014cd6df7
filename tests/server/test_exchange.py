"""Plain requests on a real server's connections, and the same ones by the application's way."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.payload import Intake
from app.main import create_app
from app.observe.metrics import Metrics
from app.server.exchange import Exchange
from app.server.protocol import Connection
from app.settings import Settings
from tests.conftest import export_stand_in, in_a_thread, plain_stand_in, png, spoken
from tests.faults.conftest import slow_stand_in
from tests.faults.server import (
    GOLDEN,
    Reply,
    Server,
    file_part,
    multipart,
    read_reply,
    request,
    serving,
    wait_until,
)

ROUNDABOUT = {"x-deadline-seconds": "9"}
"""A header that only the application understands."""
KIND = {"content-type": "image/png"}
AS_IS = "/predict?normalize=false"
FAILING = png(np.pad(np.full((1, 2), 255, np.uint8), ((0, 27), (11, 15))))
"""At one of its two pixels the call fails, at the other its figures are none."""
FORM, FORM_KIND = multipart(file_part(GOLDEN), file_part(png(spoken(3, score=0.1))))


@pytest.fixture(scope="module", params=[False, True], ids=["by threads", "at once"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With a model that is run as it is, in a thread, and with one that is compiled."""
    models = tmp_path_factory.mktemp("exchange")
    compiled: bool = request.param
    export_stand_in(models / "1", plain_stand_in if compiled else None, compiled=compiled)
    limits = {"max_body_bytes": 50_000, "max_images": 4, "max_held_bytes": 100_000}
    with serving(models, models / "log", inference_threads=1, **limits) as server:
        yield server


def ask(server: Server, body: bytes, headers: dict[str, str], path: str = AS_IS) -> Reply:
    return server.exchange(request("POST", path, headers, body))


def look(reply: Reply) -> tuple[object, ...]:
    """What has to be alike, whichever way a request went."""
    headers = {name: value for name, value in reply.headers.items() if name != "date"}
    identity = headers.pop("x-request-id").encode()
    assert reply.headers["date"]
    return reply.status, headers, reply.body.replace(identity, b"?")


@pytest.mark.parametrize(
    ("body", "kind", "path", "status"),
    [
        (GOLDEN, "image/png", AS_IS, 200),
        (GOLDEN, "image/png", "/predict", 200),
        (FORM, FORM_KIND, AS_IS, 200),
        (json.dumps({"image": spoken(4).tolist()}).encode(), "application/json", AS_IS, 200),
        (png(np.zeros((28, 28), np.uint8)), "image/png", "/predict", 200),
        (b"{", "application/json", AS_IS, 400),
        (b"no image", "image/png", "/predict", 415),
        (GOLDEN, "text/plain", AS_IS, 415),
        (GOLDEN[:-20], "image/png", AS_IS, 422),
        (b"", "image/png", AS_IS, 422),
        (png(np.zeros((30, 30), np.uint8)), "image/png", AS_IS, 422),
        (bytes(60_000), "image/png", AS_IS, 413),
        (FAILING, "image/png", AS_IS, 500),
    ],
    ids=[
        "an image", "a blank to normalize", "a form", "numbers", "a blank", "no JSON", "no image",
        "another type", "cut", "nothing", "another size", "too large", "a failure",
    ],
)  # fmt: skip
def test_both_ways_answer_alike(
    server: Server, body: bytes, kind: str, path: str, status: int
) -> None:
    headers = {"content-type": kind}
    plain = ask(server, body, headers, path)
    assert plain.status == status
    assert look(plain) == look(ask(server, body, headers, path))  # its head is known now
    assert look(plain) == look(ask(server, body, headers | ROUNDABOUT, path))


def test_without_a_content_type(server: Server) -> None:
    assert ask(server, GOLDEN, {}).problem == "unsupported-content-type"


def test_of_two_content_types_the_first_counts(server: Server) -> None:
    head = b"POST %b HTTP/1.1\r\nhost: digits\r\ncontent-length: %d\r\n"
    head %= AS_IS.encode(), len(GOLDEN)
    both = b"content-type: image/png\r\ncontent-type: text/plain\r\n"
    for more in (b"", b"x-deadline-seconds: 9\r\n"):
        assert server.exchange(head + both + more + b"\r\n" + GOLDEN).status == 200


def test_it_is_counted_as_its_route(server: Server) -> None:
    def count(status: int) -> float:
        text = server.get("/metrics").body.decode()
        label = rf'digits_requests_total{{route="/predict",status="{status}"}} (\S+)'
        found = re.search(label, text)
        return float(found[1]) if found else 0.0

    before = count(200), count(415)
    ask(server, GOLDEN, KIND)
    ask(server, b"no image", KIND)
    assert (count(200), count(415)) == (before[0] + 1, before[1] + 1)


def test_the_callers_name_for_it_is_kept_if_it_is_sane(server: Server) -> None:
    assert ask(server, GOLDEN, KIND | {"x-request-id": "mine"}).headers["x-request-id"] == "mine"
    other = ask(server, GOLDEN, KIND | {"x-request-id": "not\tmine"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", other)


def test_a_failure_is_logged_with_its_name(server: Server) -> None:
    reply = ask(server, FAILING, KIND)
    assert reply.problem == "internal-error"
    wait_until(lambda: reply.headers["x-request-id"] in server.log)


def test_a_kept_connection_answers_one_after_the_other(server: Server) -> None:
    with server.connect() as connection:
        for label in (3, 1, 4):
            connection.sendall(request("POST", AS_IS, KIND, png(spoken(label))))
            reply = read_reply(connection)
            assert reply.json["predictions"][0]["label"] == label
            assert reply.headers["connection"] is None


def test_a_known_head_within_a_message_begins_none(server: Server) -> None:
    whole = request("POST", AS_IS, KIND, GOLDEN)
    assert server.exchange(whole).status == server.exchange(whole).status == 200
    body = b"GET /livez HTTP/1.1\r\nhost: digits\r\ncontent-length: %d\r\n\r\n" % len(whole)
    for begun in (whole + b"GET /livez HTTP/1.1\r\na: ", whole + body):
        with server.connect() as connection:
            connection.sendall(begun)
            assert read_reply(connection).json["predictions"][0]["label"] == 7
            connection.sendall(whole)
            assert read_reply(connection).json["status"] == "ok"


@contextmanager
def in_this_process(models: Path, **settings: Any) -> Iterator[tuple[str, int]]:
    app = create_app(Settings(models_dir=models, max_batch=2, **settings))
    limits = {"max_header_bytes": 16_384, "header_seconds": 60, "body_seconds": 60}
    http: Any = partial(Connection, **limits)
    config = uvicorn.Config(app, port=0, http=http, lifespan="on", log_config=None)
    with in_a_thread(config) as address:
        yield address


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What the parser gets, and no head that is known from elsewhere."""
    monkeypatch.setattr(Connection, "known", {})
    monkeypatch.setattr("app.server.protocol.KNOWN_HEADS", 2)
    seen: list[bytes] = []
    data_received = HttpToolsProtocol.data_received

    def spy(self: HttpToolsProtocol, data: bytes) -> None:
        seen.append(data)
        data_received(self, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", spy)
    yield seen
    assert len(Connection.known) <= 2


def test_a_known_head_is_not_parsed_again(stand_in_models: Path, parsed: list[bytes]) -> None:
    one, other, third = (request("POST", AS_IS, KIND | {"a": name}, GOLDEN) for name in "abc")
    with (
        in_this_process(stand_in_models) as address,
        socket.create_connection(address) as connection,
    ):
        for whole in (one, one, other, one, other, third, one):  # the third is one too many
            connection.sendall(whole)
            assert read_reply(connection).json["predictions"][0]["label"] == 7
    assert parsed == [one, other, third, one]


def test_a_head_with_a_name_of_its_own_is_not_kept(
    stand_in_models: Path, parsed: list[bytes]
) -> None:
    whole = request("POST", AS_IS, KIND | {"x-request-id": "mine"}, GOLDEN)
    with (
        in_this_process(stand_in_models) as address,
        socket.create_connection(address) as connection,
    ):
        for _ in range(2):
            connection.sendall(whole)
            assert read_reply(connection).headers["x-request-id"] == "mine"
    assert parsed == [whole, whole]


def test_no_key_is_kept(stand_in_models: Path, tmp_path: Path, parsed: list[bytes]) -> None:
    (tmp_path / "keys").write_text(hashlib.sha256(b"mine").hexdigest())
    whole = request("POST", AS_IS, KIND | {"x-api-key": "mine"}, GOLDEN)
    with (
        in_this_process(stand_in_models, api_keys_file=tmp_path / "keys") as address,
        socket.create_connection(address) as connection,
    ):
        for _ in range(2):
            connection.sendall(whole)
            assert read_reply(connection).status == 200
    assert parsed == [whole, whole]
    assert not Connection.known


def test_a_body_in_pieces(server: Server) -> None:
    whole = request("POST", AS_IS, KIND, GOLDEN)
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(whole), 50):
            connection.sendall(whole[start : start + 50])
            time.sleep(0.001)
        assert read_reply(connection).json["predictions"][0]["label"] == 7


def test_what_is_sent_ahead_is_answered_in_order(server: Server) -> None:
    one, two, three, four = (png(spoken(label)) for label in (1, 2, 3, 4))
    ahead = (
        request("POST", AS_IS, KIND, one)
        + request("POST", AS_IS, KIND | ROUNDABOUT, four)
        + request("POST", AS_IS, KIND, two)
        + request("GET", "/livez")
        + request("POST", AS_IS, KIND | {"connection": "close"}, three)
    )
    with server.connect() as connection:
        connection.sendall(ahead)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb'"label":(\d)|"status":"(ok)"', answers) == [
        (b"1", b""), (b"4", b""), (b"2", b""), (b"", b"ok"), (b"3", b"")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "ask",
    [
        request("POST", AS_IS, KIND | {"connection": "close"}, GOLDEN),
        request("POST", AS_IS, KIND, GOLDEN).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["as asked for", "HTTP/1.0"],
)
def test_the_connection_is_closed(server: Server, ask: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(ask)
        reply = read_reply(connection)
        assert reply.status == 200
        assert reply.headers["connection"] == "close"
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://elsewhere.example"},
        {"content-encoding": "identity"},
        {"expect": "100-continue"},
        ROUNDABOUT,
    ],
    ids=["origin", "encoding", "expect", "deadline"],
)
def test_who_asks_for_something_of_their_own_is_answered_too(
    server: Server, headers: dict[str, str]
) -> None:
    assert ask(server, GOLDEN, KIND | headers).json["predictions"][0]["label"] == 7


def test_chunks_are_read(server: Server) -> None:
    head = b"POST %b HTTP/1.1\r\nhost: digits\r\ncontent-type: image/png\r\n" % AS_IS.encode()
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOLDEN), GOLDEN)
    reply = server.exchange(head + b"transfer-encoding: chunked\r\n\r\n" + chunks)
    assert reply.json["predictions"][0]["label"] == 7


@pytest.fixture
def exchange() -> Exchange:
    """One of a client that has gone, so that nobody reads the answer."""
    transport = SimpleNamespace(is_closing=lambda: True)
    connection: Any = SimpleNamespace(
        transport=transport,
        server_state=SimpleNamespace(default_headers=[]),
        on_response_complete=lambda: None,
    )
    settings = Settings(deadline_seconds=0.5)
    here: Any = SimpleNamespace(metrics=Metrics(), settings=settings)
    return Exchange(connection, here, {}, Intake(100).open(), as_is=True, keep_alive=True)


@pytest.mark.parametrize(
    ("missed", "status"),
    [({"disconnected": True}, "499"), ({"began": time.perf_counter() - 9}, "504")],
    ids=["gone", "too late"],
)
def test_who_missed_its_turn_is_not_read(
    exchange: Exchange, missed: dict[str, Any], status: str
) -> None:
    for name, value in missed.items():
        setattr(exchange, name, value)
    assert exchange.is_over()
    assert exchange.hold.held_bytes == 0
    counted = exchange.here.metrics.exposition().decode()
    assert f'digits_requests_total{{route="/predict",status="{status}"}} 1.0' in counted


def test_a_body_that_finds_no_room_any_more_is_refused_while_it_comes(exchange: Exchange) -> None:
    exchange.receive(bytes(60))
    assert exchange.hold.held_bytes == 60
    for _ in range(2):  # and what comes behind it is nobody's
        exchange.receive(bytes(60))
        assert exchange.hold.held_bytes == 0
        counted = exchange.here.metrics.exposition().decode()
        assert 'digits_requests_total{route="/predict",status="503"} 1.0' in counted


def test_what_can_not_be_written_is_a_failure_of_ours(exchange: Exchange) -> None:
    nothing: Any = None
    exchange.succeed(nothing, [])
    counted = exchange.here.metrics.exposition().decode()
    assert 'digits_requests_total{route="/predict",status="500"} 1.0' in counted


def test_an_answered_exchange_is_no_circle() -> None:
    connection: Any = SimpleNamespace(on_response_complete=lambda: None)
    here: Any = SimpleNamespace(metrics=Metrics(), settings=SimpleNamespace(log_requests=False))
    hold = Intake(100).open()
    hold.grow(3)
    exchange = Exchange(connection, here, {}, hold, as_is=True, keep_alive=True)
    gone = weakref.ref(exchange)
    exchange.disconnected = True
    exchange.message_event.set()
    assert hold.held_bytes == 0
    gc.disable()
    try:
        del exchange
        assert gone() is None
    finally:
        gc.enable()


def test_who_goes_before_the_body_is_whole_leaves_nothing_behind(server: Server) -> None:
    held = "digits_held_bytes"
    before = server.metric(held)
    with server.connect() as connection:
        connection.sendall(request("POST", AS_IS, KIND, GOLDEN)[:-10])
        wait_until(lambda: server.metric(held) == before + len(GOLDEN) - 10)
    wait_until(lambda: server.metric(held) == before)


def test_what_there_is_no_room_for_is_refused(server: Server) -> None:
    most = request("POST", AS_IS, KIND, bytes(49_000))[:-10]
    with server.connect() as one, server.connect() as two:
        for connection in (one, two):
            connection.sendall(most)
        wait_until(lambda: server.metric("digits_held_bytes") == 2 * 48_990)
        reply = ask(server, bytes(10_000), KIND)
        assert reply.problem == "queue-full"
        assert reply.headers["retry-after"] == "1"


def test_a_body_of_many_segments_is_whole(server: Server) -> None:
    images = {"images": [np.zeros((40, 40), np.uint8).tolist()] * 2}
    body = json.dumps(images, indent=1).encode()[:-1].ljust(49_999) + b"}"
    head = request("POST", AS_IS, {"content-type": "application/json"}, body)[: -len(body)]
    with server.connect() as connection:
        connection.sendall(head)
        for start in range(0, len(body), 9_000):
            connection.sendall(body[start : start + 9_000])
            time.sleep(0.002)
        reply = read_reply(connection)
    assert reply.problem == "bad-pixels"


def test_who_finds_no_room_any_more_is_told_so_and_asks_again(server: Server) -> None:
    whole = request("POST", AS_IS, KIND, bytes(49_000))
    with server.connect() as late, server.connect() as one, server.connect() as two:
        late.sendall(whole[:-49_000])
        for connection in (one, two):
            connection.sendall(whole[:-10])
        wait_until(lambda: server.metric("digits_held_bytes") == 2 * 48_990)
        late.sendall(whole[-49_000:])
        assert read_reply(late).problem == "queue-full"
        for connection in (one, two):
            connection.close()
        wait_until(lambda: server.metric("digits_held_bytes") == 0)
        late.sendall(request("POST", AS_IS, KIND, GOLDEN))
        assert read_reply(late).status == 200


def test_keys_are_asked_for(stand_in_models: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"let me in").hexdigest())
    with serving(stand_in_models, tmp_path / "log", api_keys_file=keys) as server:
        assert ask(server, GOLDEN, KIND).problem == "unauthorized"
        assert ask(server, GOLDEN, KIND | {"x-api-key": "wrong"}).problem == "forbidden"
        for known in ({"x-api-key": "let me in"}, {"authorization": "Bearer let me in"}):
            assert ask(server, GOLDEN, KIND | known).status == 200


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model takes its time, with little room and less patience."""
    models = tmp_path_factory.mktemp("slow")
    export_stand_in(models / "1", slow_stand_in)
    settings = {
        "inference_threads": 1, "max_batch": 1, "max_images": 204, "max_waiting_images": 204,
        "deadline_seconds": 0.3,
    }  # fmt: skip
    with serving(models, models / "log", **settings) as server:
        yield server


def occupied(slow: Server) -> socket.socket:
    """A connection whose request keeps the only inference thread busy."""
    many = json.dumps({"images": [spoken(7).tolist()] * 200}).encode()
    connection = slow.connect()
    connection.sendall(request("POST", AS_IS, {"content-type": "application/json"}, many))
    wait_until(lambda: slow.metric("digits_waiting_images") >= 200)
    return connection


def test_a_body_longer_than_uvicorn_would_hold_is_read(slow: Server) -> None:
    body = json.dumps({"image": spoken(7).tolist()}).encode()[:-1].ljust(200_000) + b"}"
    reply = ask(slow, body, {"content-type": "application/json"})
    assert reply.json["predictions"][0]["label"] == 7


def test_past_the_deadline_it_is_not_begun(slow: Server) -> None:
    with occupied(slow) as connection:
        assert ask(slow, GOLDEN, KIND).problem == "deadline-exceeded"
        assert read_reply(connection).status == 200


def test_a_full_queue_refuses_and_keeps_the_connection(slow: Server) -> None:
    five, kind = multipart(*[file_part(GOLDEN)] * 5)
    with occupied(slow) as connection, slow.connect() as other:
        other.sendall(request("POST", AS_IS, {"content-type": kind}, five))
        assert read_reply(other).problem == "queue-full"
        assert read_reply(connection).status == 200
        other.sendall(request("POST", AS_IS, KIND, GOLDEN))
        assert read_reply(other).status == 200


def test_who_goes_while_it_waits_is_not_computed_for(slow: Server) -> None:
    with occupied(slow) as connection:
        with slow.connect() as gone:
            gone.sendall(request("POST", AS_IS, KIND, GOLDEN))
            wait_until(lambda: slow.metric("digits_waiting_images") >= 201)
        wait_until(lambda: slow.metric("digits_waiting_images") <= 200)
        assert read_reply(connection).status == 200
    text = slow.get("/metrics").body.decode()
    assert 'digits_requests_total{route="/predict",status="499"} 1.0' in text
