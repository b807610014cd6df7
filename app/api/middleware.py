"""ASGI middleware: request IDs and figures, API keys.

`main.create_app` says in which order they stand. CORS is Starlette's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
from operator import attrgetter
from pathlib import Path

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import DigitsError, Draining, Forbidden, InternalError, Unauthorized
from ..observe.metrics import OTHER, Metrics
from ..observe.request_id import request_id_of
from ..observe.traces import WORK, Work, trace_id_of
from .problems import CALLS, NOSNIFF, error_response

log = structlog.get_logger()

LOCKED_PATHS = (
    "/predict",
    "/read",
    "/feedback",
    "/v1",
    "/v2/models",
    "/v2/repository",
    *(f"{CALLS}{method}" for method in ("ModelInfer", "ModelMetadata", "ModelReady")),
)
"""Paths that want a key, where keys are set at all; health, metrics, pages and documents do not."""

CLOSE = (b"connection", b"close")
"""Header of answers while the process drains: a connection that is kept would be closed just when
its client sends the next request, which would be lost (RFC 9112, section 9.6)."""

LOGGED_IMAGES = 16
"""Images of a request whose answers its log line has."""
LOGGED_ANSWERS = {
    "predictions": ("labels", attrgetter("label")),
    "numbers": ("lengths", attrgetter("length")),
}
"""What a log line says of each kind of answers; of a number its length alone, for it tells more."""

SHA256_HEX = re.compile(r"[0-9a-f]{64}")


class TelemetryMiddleware:
    """Gives every request its ID, counts and times it, and logs what failed in the service.

    It is the outermost, so that every response has the headers that all have.

    The ID is the client's `X-Request-ID` where that is sane, else a new one; it is in
    `scope["state"]["request_id"]`, in every log line and in the response.

    Args:
        app: The application.
        metrics: Counts and times the request.
        log_requests: Whether every request has a line, and not only those that fail here. A line
            for each refusal would cost more than the refusal.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log_requests: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        self.metrics.begin_request()
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        status = sent_bytes = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], NOSNIFF, (b"x-request-id", request_id)]
                if _is_draining(scope):
                    headers.append(CLOSE)
                message["headers"] = headers
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except (Exception, asyncio.CancelledError) as error:
            if status:
                raise
            # Not in a handler for Exception: Starlette would put that around all middleware, and
            # its answer would have no ID and not be counted.
            problem = _problem_of(error, request_id.decode())
            await error_response(problem, scope)(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - began, sent_bytes)
            for kind in LOGGED_ANSWERS:  # a connection keeps the scope until its next request
                scope["state"].pop(kind, None)

    def _record(self, scope: Scope, status: int, seconds: float, sent_bytes: int) -> None:
        # An unknown path is one label, or a scanner would make thousands.
        route = getattr(scope.get("route"), "path", OTHER)
        received_bytes = scope["state"].get("body_bytes", 0)
        self.metrics.observe_request(
            route, scope["method"], status, seconds, received_bytes, sent_bytes
        )
        if self.log_requests or status == InternalError.status:
            level = logging.WARNING if status >= InternalError.status else logging.INFO
            log.log(
                level,
                "request",
                request_id=scope["state"]["request_id"],
                route=route,
                status=status,
                seconds=round(seconds, 6),
                received_bytes=received_bytes,
                sent_bytes=sent_bytes,
                **_details(scope),
            )


def _details(scope: Scope) -> dict[str, object]:
    """What a request's line has where the request came so far: trace, steps and answers."""
    state, details = scope["state"], dict[str, object]()
    if trace_id := trace_id_of(scope["headers"]):
        details["trace_id"] = trace_id
    work: Work | None = state.get(WORK)
    if work and work.seconds:
        details["queue_seconds"] = round(work.waited, 6)
        for step in ("decode", "normalize", "inference"):
            details[f"{step}_seconds"] = round(getattr(work.seconds, step), 6)
    for kind, (name, said_of) in LOGGED_ANSWERS.items():
        if answers := state.get(kind):
            shown = answers[:LOGGED_IMAGES]
            details["images"] = len(answers)
            details[name] = [said_of(each) for each in shown]
            details["confidences"] = [round(float(each.confidence), 4) for each in shown]
            details["rejected"] = [each.rejected and str(each.rejected) for each in shown]
    return details


def _is_draining(scope: Scope) -> bool:
    services = scope["state"].get("services")  # none before the application has started
    return services is not None and services.health.is_draining


def _problem_of(error: BaseException, request_id: str) -> DigitsError:
    if isinstance(error, asyncio.CancelledError):  # the time to drain is over
        return Draining()
    log.error("failed", request_id=request_id, exc_info=error)
    return InternalError()


class ApiKeyMiddleware:
    """Lets requests in that present a key whose hash is known.

    A key comes as `Authorization: Bearer` (RFC 6750) or `X-API-Key`. Requests without get 401,
    those with another 403, before their body is read.
    """

    def __init__(self, app: ASGIApp, *, hashes: frozenset[str]) -> None:
        self.app = app
        self.hashes = hashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and is_locked(scope["path"]):
            key = _presented(Headers(scope=scope))
            if not self._is_known(key):
                error = Forbidden() if key else Unauthorized()
                response = error_response(error, scope)
                if not key:
                    response.headers["www-authenticate"] = 'Bearer realm="digits"'
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_known(self, key: str) -> bool:
        presented = hashlib.sha256(key.encode("latin-1")).hexdigest()
        # A list: all are compared, so that the time taken does not tell which was right.
        return any([hmac.compare_digest(presented, known) for known in self.hashes])  # noqa: C419


def is_locked(path: str) -> bool:
    """Whether a key is wanted at `path`, where keys are set at all."""
    return any(path == locked or path.startswith(locked + "/") for locked in LOCKED_PATHS)


def _presented(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def read_key_hashes(file: Path) -> frozenset[str]:
    """The SHA-256 hashes (hex, one a line, `#` begins a comment) in `file`.

    Raises:
        ValueError: it says which line is wrong without repeating it, for that may be a key.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} can't be read.") from error
    hashes = set()
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip().lower()
        if entry and not SHA256_HEX.fullmatch(entry):
            raise ValueError(f"{file}, line {number} is no SHA-256 in hex.")
        hashes.add(entry)
    hashes.discard("")
    if not hashes:
        raise ValueError(f"{file} holds no hash, so that no request would be let in.")
    return frozenset(hashes)
