"""A plain `POST /predict`, answered on its connection: the way that nearly all requests go.

ASGI's layers, messages and copies of headers took longer than all that is done for a small image.
Plain is a body of declared length that is parsed on the event loop, without headers that ask for
something. What is not plain, or would be turned away before its body is looked at, takes
the application's way, which has the same answers and problems: `api.predict` reads with the same
parts.

    plain headers ──▶ body … whole ──▶ its turn: parse, read, answer ──▶ response
         └ not plain: ASGI    └ client gone: forgotten    └ client gone: not read, or abandoned
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

import structlog
from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..api import payload
from ..api.middleware import knows
from ..api.response import answer
from ..errors import (
    PROBLEMS,
    ClientGone,
    DeadlineExceeded,
    DigitsError,
    Draining,
    QueueFull,
    Unavailable,
    problem_for,
    problem_json,
)
from ..inference.loading import Classifier
from ..observe.metrics import record, request_id_of
from ..serving.batcher import Job
from ..serving.deadlines import EXPIRED
from ..serving.predictor import Asked, Reading
from ..serving.state import State

if TYPE_CHECKING:
    from .protocol import Connection

log = structlog.get_logger()

ROUTE = "/predict"
TARGETS = {b"/predict": False, b"/predict?normalize=false": True}
"""Addresses, and whether images are taken as they are."""
JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
PARTICULAR = frozenset(
    (
        b"content-encoding",
        b"expect",
        b"origin",
        b"transfer-encoding",
        b"upgrade",
        b"x-deadline-seconds",
    )
)
"""Headers that ask for something of their own."""

GONE = "The client went away before its answer."

RequestHeaders = dict[bytes, bytes]


def plain_length(headers: RequestHeaders, here: State) -> int | None:
    """The length of the body that such headers announce; None where the request is not plain."""
    if not PARTICULAR.isdisjoint(headers) or b"content-length" not in headers:
        return None
    length = int(headers[b"content-length"])  # the parser has seen to it that it is a number
    if length > min(payload.IN_LOOP_BYTES, here.settings.max_body_bytes):
        return None
    if here.key_hashes and not knows(Headers(raw=[*headers.items()]), here.key_hashes):
        return None
    return length


class Exchange:
    """One request and its response. Stands where uvicorn's connection has its own cycle, so it has
    the attributes of that which the connection reads and writes, and is its `message_event`, too.
    """

    response_started = False
    response_complete = False
    disconnected = False
    more_body = True

    def __init__(
        self,
        connection: Connection,
        here: State,
        headers: RequestHeaders,
        hold: payload.Hold,
        *,
        as_is: bool,
        keep_alive: bool,
    ) -> None:
        self.connection = connection
        self.here = here
        self.headers = headers
        self.hold = hold
        self.as_is = as_is
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.began = time.perf_counter()
        self.request_id = request_id_of(headers.items())
        self.job: Job | None = None

    @property
    def message_event(self) -> Self:
        # Not an attribute: that would be a circle, and nothing of it freed until the collector
        # came, for 20 ms at a time.
        return self

    def receive(self, part: bytes) -> None:
        """More of the body."""
        if self.response_complete:
            return
        try:
            self.hold.grow(len(part))
        except QueueFull as error:
            self.fail(error)
        else:
            self.parts.append(part)

    def set(self) -> None:
        """Something has come: of the body, its end, or the end of the connection."""
        if self.disconnected:
            self._forget()
        elif not self.more_body:  # told once
            self.here.turn.add(self)

    def _forget(self) -> None:
        if self.job:
            self.job.abandon(ClientGone(GONE))
        elif self.more_body and not self.response_complete:
            self._complete(499)

    def parse(self) -> Asked | None:
        """What is asked; None where that failed and is answered."""
        here, settings = self.here, self.here.settings
        try:
            here.batcher.admit(1)  # before it is parsed in vain
            images = payload.parse(
                b"".join(self.parts),
                self.headers.get(b"content-type", b""),
                max_images=settings.max_images,
                max_pixels=settings.max_pixels,
            )
        except Exception as error:  # noqa: BLE001 -- told apart there
            self.fail(error)
            return None
        return Asked(images, self.as_is)

    def is_over(self) -> bool:
        """Whether it is too late to read it; it is answered then."""
        if self.disconnected:
            self.fail(ClientGone(GONE))
        elif time.perf_counter() - self.began > self.here.settings.deadline_seconds:
            self.fail(DeadlineExceeded(EXPIRED))
        return self.response_complete

    def wait_for(self, asked: Asked) -> None:
        """Have it read by threads, and answer then."""
        try:
            self.job = self.here.batcher.reserve(len(asked.images))
        except Unavailable as error:
            self.fail(error)
            return
        tasks = self.connection.tasks
        task = self.connection.loop.create_task(self._read(asked, self.job))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _read(self, asked: Asked, job: Job) -> None:
        here = self.here
        try:
            with job:
                here.deadlines.add(job)
                try:
                    classifier, readings = await here.recognizer.read(asked, job)
                finally:
                    here.deadlines.discard(job)
        except BaseException as error:  # noqa: BLE001 -- told apart there
            self.fail(error)
        else:
            self.succeed(classifier, readings)

    def succeed(self, classifier: Classifier, readings: list[Reading]) -> None:
        response = self.respond(classifier, readings)
        if response is not None:
            self.send(200, response)

    def respond(self, classifier: Classifier, readings: list[Reading]) -> bytes | None:
        """The response, to be sent; None where it can't be made, and that is answered."""
        try:
            body = answer(classifier, readings)
        except Exception as error:  # noqa: BLE001 -- others wait behind this one
            self.fail(error)
            return None
        metrics = self.here.metrics
        metrics.count_predictions(classifier.version, [one.rejected for one in readings])
        return self._response(200, JSON, body)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):  # the drain's time is over, or its patience
            error = Draining(PROBLEMS[Draining].remedy)
        problem, request_id = problem_for(error), self.request_id.decode()
        if isinstance(error, DigitsError):
            detail = str(error)
            if problem.status == 500:
                log.error("failed", request_id=request_id, reason=detail)
        else:
            detail = problem.remedy
            log.error("failed", request_id=request_id, exc_info=error)
        retry = b""
        if isinstance(error, Unavailable):
            retry = b"retry-after: %d\r\n" % self.here.settings.retry_after_seconds
        body = problem_json(problem, detail, request_id=request_id)
        self.send(problem.status, self._response(problem.status, PROBLEM_JSON, body, retry))

    def _response(self, status: int, kind: bytes, body: bytes, more: bytes = b"") -> bytes:
        """`more` headers are whole lines."""
        for name, value in self.connection.server_state.default_headers:
            more += b"%b: %b\r\n" % (name, value)
        if not self.keep_alive:
            more += b"connection: close\r\n"
        return (
            b"%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
            b"x-content-type-options: nosniff\r\n%b\r\n%b"
            % (STATUS_LINE[status], kind, len(body), self.request_id, more, body)
        )

    def send(self, status: int, response: bytes) -> None:
        transport = self.connection.transport
        if not transport.is_closing():
            transport.write(response)
            if not self.keep_alive:
                transport.close()
        self._complete(status)

    def _complete(self, status: int) -> None:
        self.hold.release()
        self.parts, self.job = [], None  # the connection keeps its last exchange
        self.response_started = self.response_complete = True
        seconds = time.perf_counter() - self.began
        record(self.here.metrics, ROUTE, status, seconds, told=self.here.settings.log_requests)
        self.connection.on_response_complete()
