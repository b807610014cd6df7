"""uvicorn's HTTP/1.1 connection, with what it leaves out: time limits on what a client sends, a cap
on its headers, and refusals in the shape of all others.

    connected ─▶ headers ─▶ body ─▶ answer ─▶ idle ─▶ headers …
       └ header_seconds ┘ └ body_seconds    └ uvicorn's timeout_keep_alive

A limit on the whole of the headers, and on the whole of the body, can't be stretched by sending a
byte now and then.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ..errors import BAD_REQUEST, HEADERS_TOO_LARGE, REQUEST_TIMEOUT, Problem, problem_json
from ..observe.metrics import new_request_id
from ..serving.state import State
from .exchange import TARGETS, Exchange, RequestHeaders, plain_length

LINGER_SECONDS = 1.0
"""How long an early refusal is left to be read while the client still sends: closing at once would
reset the connection and lose it."""


KNOWN_HEADS, KNOWN_HEAD_BYTES = 512, 1024
"""How many heads are kept, and how long they may be: 2 MiB with what was parsed of them."""
ONCE = frozenset((b"x-request-id", b"traceparent"))
"""Headers that make a head another each time: kept, it would only push others out."""


class Head(NamedTuple):
    """What a request's line and headers say."""

    headers: RequestHeaders
    length: int
    as_is: bool
    keep_alive: bool


class Connection(HttpToolsProtocol):
    """One client's connection. The limits are those of `Settings`."""

    known: ClassVar[dict[bytes, Head]] = {}
    """Heads of plain requests as they came, byte for byte. Who sends many sends the same ones again
    and again, and to parse those took a tenth of the time that goes into a request."""

    def __init__(
        self,
        *args: Any,
        max_header_bytes: int,
        header_seconds: float,
        body_seconds: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.max_header_bytes = max_header_bytes
        self.header_seconds = header_seconds
        self.body_seconds = body_seconds
        self.header_bytes = 0  # since the last byte of a body: line, headers, trailers
        self.trailer_bytes = 0
        self.in_headers = True
        self.in_body = False
        self.in_message = False
        self.limit: asyncio.TimerHandle | None = None
        self.due: float | None = None
        self.parsing = False
        self.refusal = BAD_REQUEST
        self.refused = False
        self.head: Head | None = None
        self.idle_since: float | None = None
        self.idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unlimit()
        if self.idle_timer:
            self.idle_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.idle_since = None
        begins = not self.in_message
        end = data.find(b"\r\n\r\n", 0, KNOWN_HEAD_BYTES) + 4
        if begins and self._is_known(data, end):
            return
        self.head = None
        self.parsing = True
        if self.limit is None and self._is_idle():
            self._limit(self.header_seconds)
        self.header_bytes += len(data)
        super().data_received(data)
        self.parsing = False
        if self.due is not None:
            self._limit(self.due)
        if self.header_bytes > self.max_header_bytes:
            self._refuse(HEADERS_TOO_LARGE)
        if begins:
            self._know(data, end)

    def _is_known(self, data: bytes, end: int) -> bool:
        """Whether it is one whole request whose head is known and ends there. It is on its way
        then, and the parser, between two messages, need not hear of it.
        """
        head = self.known.get(data[:end])
        if head is None or head.length != len(data) - end:
            return False
        exchange = self._exchange(head)
        if exchange is None:
            return False
        self._unset_keepalive_if_required()
        self._unlimit()
        self.cycle = exchange  # type: ignore[assignment]
        exchange.receive(data[end:])
        if not exchange.response_complete:
            exchange.more_body = False
            exchange.set()
        return True

    def _know(self, data: bytes, end: int) -> None:
        """Keep the head that ends there, if that and its body are all the data."""
        head = self.head
        if head is None or not ONCE.isdisjoint(head.headers):
            return
        if self.app_state["digits"].key_hashes:  # keys are nothing to keep
            return
        if head.length == len(data) - end:
            if len(self.known) == KNOWN_HEADS:
                self.known.clear()
            self.known[data[:end]] = head

    def on_message_begin(self) -> None:
        self.in_headers = self.in_message = True
        self.trailer_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come this way too, and would become headers of a request that is under way.
        if self.in_headers:
            super().on_header(name, value)
            return
        # Counted here as well: a segment that ends a chunk begins `header_bytes` anew.
        self.trailer_bytes += len(name) + len(value) + 4
        if self.trailer_bytes > self.max_header_bytes:
            self.refusal = HEADERS_TOO_LARGE
            raise ValueError("trailers too large")  # as for headers, below

    def on_headers_complete(self) -> None:
        if self.header_bytes > self.max_header_bytes:  # a body may have come with them
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.max_header_bytes:
                self.refusal = HEADERS_TOO_LARGE
                raise ValueError("headers too large")  # the parser stops: send_400_response follows
        head = self._plain_head()
        exchange = self._exchange(head) if head else None
        if exchange:
            self.head = head
            self.cycle = exchange  # type: ignore[assignment]
        else:
            super().on_headers_complete()  # raises where the address is none
            if self._is_draining():
                self.cycle.keep_alive = False
        self.in_headers, self.in_body = False, True
        self._limit(self.body_seconds)

    def on_body(self, body: bytes) -> None:
        self.header_bytes = 0
        cycle = cast("Exchange | RequestResponseCycle", self.cycle)
        if isinstance(cycle, Exchange):
            cycle.receive(body)  # up to what is plain at once; uvicorn stops at 64 KiB
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.in_body = self.in_message = False
        self.header_bytes = 0
        self._unlimit()
        is_answered = self._is_idle()
        super().on_message_complete()
        if is_answered:  # and the rest of the body has stopped uvicorn's timer
            self._limit(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        if self.pipeline or self.in_body or self.transport.is_closing():
            super().on_response_complete()
            if self.in_body and not self.transport.is_closing():
                self._limit(LINGER_SECONDS)
            return
        # As uvicorn does, but with one timer a connection instead of one a response.
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self.idle_since = self.loop.time()
        if self.idle_timer is None:
            self.idle_timer = self.loop.call_later(self.timeout_keep_alive, self._on_idle)

    def _on_idle(self) -> None:
        self.idle_timer = None
        if self.idle_since is None:
            return  # not now; the next response sets the timer again
        end = self.idle_since + self.timeout_keep_alive
        if self.loop.time() < end:
            self.idle_timer = self.loop.call_at(end, self._on_idle)
        else:
            self.timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self.refusal)

    def _plain_head(self) -> Head | None:
        if self.url not in TARGETS or self.parser.get_method() != b"POST":
            return None
        headers = dict(reversed(self.headers))  # of one that comes twice, the first, as elsewhere
        length = headers.get(b"content-length")
        if length is None:
            return None
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        return Head(headers, int(length), TARGETS[self.url], keep_alive)

    def _exchange(self, head: Head) -> Exchange | None:
        """What answers this request without ASGI, if it is a plain one."""
        here: State | None = self.app_state.get("digits")
        if here is None or not self._is_idle() or self.flow.write_paused:
            return None  # ASGI waits for these
        length = plain_length(head.headers, here)
        if length is None or not here.intake.has_room(length):
            return None
        return Exchange(
            self,
            here,
            head.headers,
            here.intake.open(),
            as_is=head.as_is,
            keep_alive=head.keep_alive and not here.drain.began,
        )

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _is_draining(self) -> bool:
        return "digits" in self.app_state and self.app_state["digits"].drain.began

    def _limit(self, seconds: float) -> None:
        """Within a segment only the last one counts: most requests come in one, and need none."""
        self._unlimit()
        if self.parsing:
            self.due = seconds
        else:
            self.limit = self.loop.call_later(seconds, self._on_limit)

    def _unlimit(self) -> None:
        self.due = None
        if self.limit is not None:
            self.limit.cancel()
            self.limit = None

    def _on_limit(self) -> None:
        self._refuse(REQUEST_TIMEOUT)

    def _refuse(self, problem: Problem) -> None:
        """Answer, where nothing was answered, and close."""
        if self.refused or self.transport.is_closing():
            return
        if not self.in_body and not self._is_idle():
            # The request before this one waits for its answer; the connection ends with that.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        is_silent = not self.in_body and not self.header_bytes
        if is_silent or (self.in_body and self.cycle.response_started):
            self.transport.close()
            return
        self.refused = True
        self._write(problem)
        if self.in_body:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self._unlimit()
        self.limit = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _write(self, problem: Problem) -> None:
        request_id = new_request_id()
        body = problem_json(problem, problem.remedy, request_id=request_id)
        self.transport.write(
            STATUS_LINE[problem.status]
            + b"content-type: application/problem+json\r\nconnection: close\r\n"
            + b"x-content-type-options: nosniff\r\n"
            + b"x-request-id: %s\r\n" % request_id.encode()
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
