"""uvicorn's HTTP/1.1 protocol, and what it leaves out: limits on time, on heads, on pipelining.

    head ──▶ body ──▶ answer ──▶ idle ──▶ head …
     └ header_seconds  └ write_seconds └ keep_alive_seconds
             └ body_seconds, least rate

What can't be answered by the application is refused in its turn, after the answers that are owed
on the connection, and the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ..errors import (
    BadRequest,
    DigitsError,
    HeadersTooLarge,
    MethodNotAllowed,
    RequestTimeout,
    UnknownMethod,
)
from .transport import ResponseTransport

SLICE_BYTES = 1024
"""Received bytes that are parsed before the number of pipelined requests is looked at again."""
RATE_SECONDS = 10.0
"""Seconds in which a body has to arrive at the least rate, again and again until it is whole."""
CHECK_SECONDS = 0.5
"""Seconds between looks at the limits of all connections; less where a limit is shorter."""
HOP_BY_HOP = frozenset((b"upgrade", b"http2-settings"))
"""Headers of an upgrade that is declined, with their names among the tokens of `Connection`."""

BARE_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*(?=[?#]|\Z)")
"""The beginning of a URL without a path: scheme and authority."""

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~\w-]+) [\x21-\x7e]+ HTTP/1\.[01]\r?\n")
"""A request's first line, whatever its method (RFC 9112, section 3)."""
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE CONNECT OPTIONS TRACE".split())
"""Methods of RFC 9110, section 9.3, and RFC 5789."""
HOST = re.compile(rb"(\[[0-9A-Za-z:.]+\]|[\w.~!$&'()*+,;=%-]*)(:\d*)?")
"""A value of `Host`: a host, and perhaps a port (RFC 9110, section 7.2)."""

ProblemRenderer = Callable[[type[DigitsError]], tuple[list[tuple[bytes, bytes]], bytes]]
"""Give the headers and the body of a refusal."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may take of a connection; `app.settings` has the reasons."""

    max_header_bytes: int = 16 * 1024
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    min_body_bytes_per_second: int = 8 * 1024
    write_seconds: float = 30.0
    keep_alive_seconds: float = 75.0
    max_pipelined_requests: int = 16

    @property
    def check_seconds(self) -> float:
        """Seconds between two looks at the clock: a quarter of the shortest limit, at most."""
        shortest = min(
            self.header_seconds, self.body_seconds, self.write_seconds, self.keep_alive_seconds
        )
        return min(CHECK_SECONDS, shortest / 4)


class Stage(Enum):
    """How far the connection is with the request that it receives."""

    IDLE = auto()
    """No request has begun, and no answer is owed."""
    HEAD = auto()
    """A request's line and headers arrive."""
    BODY = auto()
    """A request's body arrives."""
    ANSWER = auto()
    """A request has been received, and its answer is owed."""
    REFUSED = auto()
    """Nothing more is taken; a refusal follows the answers that are owed, and ends it."""


RECEIVING = (Stage.HEAD, Stage.BODY)


class ConnectionClock:
    """Looks at the limits of all connections of a process, with one timer."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._connections: set[HttpProtocol] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: HttpProtocol) -> None:
        """Watch `connection` until `discard`."""
        self._connections.add(connection)
        if self._timer is None:
            self._start(connection.loop)

    def discard(self, connection: HttpProtocol) -> None:
        """The connection is closed."""
        self._connections.discard(connection)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self.limits.check_seconds, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = time.monotonic()
        for connection in [*self._connections]:
            connection.check(now)
        if self._connections:
            self._start(loop)


class ReadGate(FlowControl):
    """uvicorn's flow control, whose reading can be held although a request wants more."""

    held = False

    def hold(self) -> None:
        """Pause reading until `held` is unset."""
        self.held = True
        self.pause_reading()

    def resume_reading(self) -> None:
        """Read again, unless reading is held."""
        if not self.held:
            super().resume_reading()


def with_path(url: bytes) -> bytes:
    """Return a request's target with the path `/` where it is a whole URL and has none.

    The two are equal (RFC 9110, section 4.2.3); uvicorn would fail on the first.
    """
    match = BARE_AUTHORITY.match(url)
    return b"%b/%b" % (match[0], url[match.end() :]) if match else url


def begins_with_unknown_method(part: bytes) -> bool:
    """Return whether received bytes begin with a request that lacks nothing but a known method."""
    line = REQUEST_LINE.match(part)
    return line is not None and line[1] not in METHODS


class HttpProtocol(HttpToolsProtocol):
    """A client's connection. Every request is answered by uvicorn's own cycle.

    Args:
        clock: Watches the limits; one for all connections of a process.
        render_problem: Gives the headers and the body of a refusal.
    """

    def __init__(
        self, *args: Any, clock: ConnectionClock, render_problem: ProblemRenderer, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.clock = clock
        self.limits = clock.limits
        self.render_problem = render_problem
        self.stage = Stage.HEAD
        self.since = time.monotonic()
        self.flow: ReadGate
        self.transport: ResponseTransport
        self._received_at = self.since
        self._unparsed = b""
        self._offset = 0
        self._head_bytes = 0
        self._field_bytes = 0
        self._body_bytes = 0
        self._rate_since, self._rate_bytes = self.since, 0
        self._writing_since, self._write_mark = self.since, 0
        self._declines_upgrade = False
        self._has_excess = False
        self._is_last = False  # the request that is being received
        self._running: RequestResponseCycle | None = None
        self._fault: type[DigitsError] = BadRequest
        self._refusal: type[DigitsError] = BadRequest

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(ResponseTransport(transport, self.loop, self._may_receive))
        self.flow = ReadGate(self.transport)
        self.clock.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a closed connection; what runs for it learns that the client has gone."""
        self.clock.discard(self)
        self.pipeline.clear()
        self._unparsed, self._offset = b"", 0
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close when the requests that were received, or have begun to be, are answered."""
        self._is_last = True
        if not self._owes_answer():
            if self.stage is not Stage.HEAD:  # which has a limit of time of its own
                self.transport.close()
        elif self.pipeline:
            self.pipeline[0][0].keep_alive = False
        elif self._running is not None:
            self._running.keep_alive = False

    def _may_receive(self) -> bool:
        """Whether there may be bytes that the client has sent and nobody has read."""
        is_receiving = self.stage in (Stage.BODY, Stage.REFUSED)
        return is_receiving or self._has_excess or self.flow.read_paused

    def _owes_answer(self) -> bool:
        running = self._running
        return running is not None and not (running.response_complete or running.disconnected)

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Parse what the client has sent."""
        if self.stage is Stage.REFUSED or self.transport.is_closing():
            return
        self._received_at = time.monotonic()
        self._unparsed, self._offset = self._unparsed[self._offset :] + data, 0
        self._parse()

    def _parse(self) -> None:
        """Parse what was received, until too many requests wait for those before them."""
        while self._offset < len(self._unparsed):
            if self.stage is Stage.ANSWER and not self.cycle.keep_alive:
                self._has_excess = True  # behind the last request (RFC 9112, section 9.6)
                break
            if len(self.pipeline) >= self.limits.max_pipelined_requests:
                self.flow.hold()
                return
            part = self._unparsed[self._offset : self._offset + self._slice_bytes()]
            self._offset += self._feed(part)
            if self.stage is Stage.REFUSED or self.transport.is_closing():
                break
        self._unparsed, self._offset = b"", 0
        if self.stage is not Stage.REFUSED:
            self.flow.held = False

    def _slice_bytes(self) -> int:
        if self.stage is Stage.BODY:
            for name, value in self.headers:
                if name == b"content-length":
                    return max(1, int(value) - self._body_bytes)
        return SLICE_BYTES

    def _feed(self, part: bytes) -> int:
        """Parse `part`; returns how much of it was taken."""
        received = self._body_bytes
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade()
            return int(upgrade.args[0])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(UnknownMethod if begins_with_unknown_method(part) else BadRequest)
        except httptools.HttpParserError:
            self._refuse(self._fault)
        if self.stage is Stage.BODY and self._body_bytes > received:
            self._head_bytes = 0
        else:  # of a head, or of chunk sizes and extensions, which may not go on for ever, either
            self._head_bytes += len(part)
        # Twice the limit: of a head that is not whole, white space and line ends count, too.
        if self.stage in RECEIVING and self._head_bytes > 2 * self.limits.max_header_bytes:
            self._refuse(HeadersTooLarge)
        return len(part)

    def _limit_head(self, count: int) -> None:
        """Have the parser stop where a head, or the trailers, have more bytes than are allowed."""
        if count > self.limits.max_header_bytes:
            self._fault = HeadersTooLarge
            raise ValueError("head too large")

    def _decline_upgrade(self) -> None:
        """Go on as if no upgrade had been asked for (RFC 9110, section 7.8).

        The parser takes what follows such a head for another protocol and skips the body, so that
        a new one reads the head again, without the upgrade.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(MethodNotAllowed)
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                kept = [token for token in tokens if token.lower() not in HOP_BY_HOP]
                lines.append(b"connection: " + b", ".join(kept))
            elif name not in HOP_BY_HOP:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._declines_upgrade = False
        self._received_at = self.scope["state"]["received_at"]
        self._feed(b"\r\n".join((*lines, b"", b"")))

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._enter(Stage.HEAD)
        self._head_bytes = self._field_bytes = 0
        super().on_message_begin()
        self.scope["state"]["received_at"] = self._received_at

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer behind a chunked body."""
        self._field_bytes += len(name) + len(value)
        if self.stage is Stage.HEAD:  # llhttp leaves white space behind a value (RFC 9112, 5.1)
            super().on_header(name, value.rstrip(b" \t"))
        else:  # a trailer; uvicorn would add it to the headers of a request already answered
            self._limit_head(self._field_bytes)

    def on_headers_complete(self) -> None:
        """The head is whole: have the request answered, unless it asks for another protocol."""
        self._limit_head(len(self.url) + self._field_bytes)
        self._check_headers(self.parser.get_http_version())
        if self.parser.should_upgrade():
            self._declines_upgrade = True
            return
        if b"://" in self.url:
            self.url = with_path(self.url)
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False
        self._enter(Stage.BODY)
        self._body_bytes = self._rate_bytes = self._head_bytes = self._field_bytes = 0
        self._rate_since = self.since

    def _check_headers(self, version: str) -> None:
        """Have the parser stop where a head is not as RFC 9112 has it, and llhttp lets it pass.

        HTTP/1.1 wants one `Host`, of a host (section 3.2); codings other than `chunked` are not
        undone, and HTTP/1.0 has none (6.1), nor `Expect` (RFC 9110, section 10.1.1).
        """
        names = [name for name, _ in self.headers]
        if version == "1.0":
            self.expect_100_continue = False
            is_valid = b"transfer-encoding" not in names
        else:
            hosts = [value for name, value in self.headers if name == b"host"]
            is_valid = len(hosts) == 1 and HOST.fullmatch(hosts[0]) is not None
            if b"transfer-encoding" in names:
                codings = [value for name, value in self.headers if name == b"transfer-encoding"]
                is_valid &= [coding.lower() for coding in codings] == [b"chunked"]
        if not is_valid:
            raise ValueError("bad headers")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._declines_upgrade:
            return
        super().on_message_complete()
        self._enter(Stage.ANSWER if self._owes_answer() else Stage.IDLE)

    # Answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """The answer is whole: go on with the request that waits, or refuse."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.since = time.monotonic()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.stage is Stage.REFUSED:
            self._send_refusal()
            return
        elif self.stage is Stage.BODY and self.expect_100_continue and not self._body_bytes:
            # The client need not send it any more: what comes next may be a body or a request.
            self.transport.close()
            return
        elif self.stage is Stage.ANSWER:
            self.stage = Stage.IDLE
        if self._unparsed:
            self._parse()
        self.flow.resume_reading()

    # Limits

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.since = self._received_at

    def check(self, now: float) -> None:
        """Hold the connection against its limits; `now` is of `time.monotonic()`."""
        self._check_writing(now)
        if self.stage is Stage.BODY and self.flow.read_paused:
            self.since = now  # the server's delay; the application has a deadline for it
        seconds = now - self.since
        limits = self.limits
        match self.stage:
            case Stage.IDLE if seconds > limits.keep_alive_seconds:
                self.transport.close()
            case Stage.HEAD if seconds > limits.header_seconds and not self._owes_answer():
                self._time_out()
            case Stage.BODY if seconds > limits.body_seconds or self._is_too_slow(now):
                self._refuse(RequestTimeout)

    def _time_out(self) -> None:
        if self._head_bytes:
            self._refuse(RequestTimeout)
        else:
            self.transport.close()

    def _is_too_slow(self, now: float) -> bool:
        """Whether too little of the body has come in the last RATE_SECONDS."""
        if self.flow.read_paused:  # for want of memory or of answers: not the client's fault
            self._rate_since, self._rate_bytes = now, self._body_bytes
        seconds = now - self._rate_since
        if seconds < RATE_SECONDS:
            return False
        received = self._body_bytes - self._rate_bytes
        self._rate_since, self._rate_bytes = now, self._body_bytes
        return received < seconds * self.limits.min_body_bytes_per_second

    def _check_writing(self, now: float) -> None:
        """Cut a client off that leaves for too long unread what was written by then."""
        transport = self.transport
        if transport.written_bytes - transport.get_write_buffer_size() >= self._write_mark:
            self._writing_since, self._write_mark = now, transport.written_bytes
        elif now - self._writing_since > self.limits.write_seconds:
            transport.abort()

    # Refusing

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(BadRequest)

    def _refuse(self, problem: type[DigitsError]) -> None:
        """Answer with `problem`, after the answers that are owed, and close."""
        if self.stage is Stage.REFUSED or self.transport.is_closing():
            return
        is_in_body = self.stage is Stage.BODY
        self.stage = Stage.REFUSED
        self._refusal = problem
        if is_in_body and not self._withdraw():
            self.transport.close()
            return
        self.flow.hold()
        if not self._owes_answer():
            self._send_refusal()

    def _withdraw(self) -> bool:
        """Take back the request whose body does not arrive; False where its answer has begun."""
        cycle = self.cycle
        if cycle.response_started:
            return False
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
        return True

    def _send_refusal(self) -> None:
        headers, body = self.render_problem(self._refusal)
        lines = [
            b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)
        ]
        self.transport.write(
            b"%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (STATUS_LINE[self._refusal.status], b"".join(lines), len(body), body)
        )
        self.transport.close()
