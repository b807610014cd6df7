"""gRPC calls as requests of the ASGI application: what holds for requests holds for calls.

A call is what it is on the wire: a POST to `/package.Service/Method` by HTTP/2, its metadata the
headers, its deadline one of them. The answer's status becomes gRPC's, its headers metadata.

    call ──▶ scope ──▶ application ──▶ message, or status and details

Calls are answered in the event loop of the other requests: the budgets are the loop's, and what
comes together by either way is worked off together. It is not held up, for gRPC's own threads read
and write the connections, and a message is handed on as bytes, to be parsed where bodies are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

import grpc
import structlog
from starlette.types import ASGIApp, Message, Scope

from ..errors import RequestTimeout

log = structlog.get_logger()

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""gRPC's codes of the statuses with which the application answers; of any other, INTERNAL."""
NO_METADATA = (b"connection", b"content-")
"""What headers begin with that are the connection's or the body's; metadata has none of them."""
LEAST_SECONDS = 0.001
"""Deadline of a call that has hardly any left."""


class CallServer:
    """Answers the calls of a service; made and used on one event loop.

    Args:
        app: Takes them as requests with the HTTP version 2; a refusal's body is its text.
        service: Its full name; calls of others, and of other methods, are UNIMPLEMENTED.
        methods: Names of its methods, each of one message and one answer.
        state: Of each request's scope.
        max_message_bytes: Of one message, decompressed.
        max_metadata_bytes: Of a call's metadata.
        max_calls: Calls in work at once; others are refused before their messages are read.
        read_seconds: That a message may take to arrive.
        idle_seconds: After which a connection without calls is closed.
        shared: Whether other processes may listen at the address, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: str,
        methods: Collection[str],
        *,
        state: dict[str, Any],
        max_message_bytes: int,
        max_metadata_bytes: int,
        max_calls: int,
        read_seconds: float,
        idle_seconds: float,
        shared: bool,
    ) -> None:
        self._app = app
        self._state = state
        self._read_seconds = read_seconds
        self._requests: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._server = grpc.aio.server(
            handlers=[
                grpc.method_handlers_generic_handler(
                    service, {method: self._handler(f"/{service}/{method}") for method in methods}
                )
            ],
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", max_metadata_bytes),
                ("grpc.max_connection_idle_ms", int(1000 * idle_seconds)),
                ("grpc.so_reuseport", int(shared)),
            ],
            maximum_concurrent_rpcs=max_calls,
        )

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address is another process's, or none of this machine.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(f"{address} can't be listened at.") from None
        await self._server.start()
        log.info("gRPC is ready", address=address)

    def stop(self, seconds: float) -> None:
        """Take no new calls, and give those that were taken up to `seconds`."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._server.stop(seconds))

    async def stopped(self) -> None:
        """Wait until all calls are answered, or were given up."""
        self.stop(0.0)
        if self._stopping:
            await self._stopping
        if self._requests:
            await asyncio.wait(self._requests)

    def _handler(self, path: str) -> grpc.RpcMethodHandler:
        # With messages as a stream, a call is admitted before its one message is read.
        async def answer(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return await self._answer(path, context)

        return grpc.stream_unary_rpc_method_handler(answer)

    async def _answer(self, path: str, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        exchange = _Exchange(context, self._read_seconds)
        request = asyncio.create_task(self._request(_scope(path, context, self._state), exchange))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        try:
            await asyncio.shield(request)
        except asyncio.CancelledError:  # the client is gone, or the time to drain is over
            exchange.gone.set()
            raise
        return await exchange.finish()

    async def _request(self, scope: Scope, exchange: _Exchange) -> None:
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """A call as ASGI's two channels."""

    def __init__(
        self, context: grpc.aio.ServicerContext[bytes, bytes], read_seconds: float
    ) -> None:
        self.gone = asyncio.Event()
        self._context = context
        self._read_seconds = read_seconds
        self._is_read = False
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    async def receive(self) -> Message:
        """The one message as a body; after it, that the client has gone, once it has."""
        if not self._is_read:
            self._is_read = True
            message = await self._read()
            if message is not grpc.aio.EOF:
                return {"type": "http.request", "body": message}
        else:
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _read(self) -> Any:
        reading = asyncio.ensure_future(self._context.read())
        leaving = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait(
                (reading, leaving),
                timeout=self._read_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reading.done():
                return grpc.aio.EOF if reading.exception() else reading.result()
            if leaving.done():
                return grpc.aio.EOF
            raise RequestTimeout
        finally:
            reading.cancel()
            leaving.cancel()

    async def send(self, message: Message) -> None:
        """Take the answer."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
        else:
            self._body += message.get("body", b"")

    async def finish(self) -> bytes:
        """The answer's message; a refusal is raised as gRPC has it."""
        metadata = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._headers
            if not name.startswith(NO_METADATA)
        )
        if self._status != 200:
            code = CODES.get(self._status, grpc.StatusCode.INTERNAL)
            await self._context.abort(code, self._body.decode(), metadata)
        self._context.set_trailing_metadata(metadata)
        return self._body


def _scope(
    path: str, context: grpc.aio.ServicerContext[bytes, bytes], state: dict[str, Any]
) -> Scope:
    """The scope of the request that a call is."""
    metadata = [
        (name.encode("latin-1"), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in context.invocation_metadata() or ()
    ]
    headers = [header for header in metadata if not header[0].startswith(NO_METADATA)]
    remaining = context.time_remaining()
    if remaining is not None:
        headers.append((b"x-deadline-seconds", b"%f" % max(remaining, LEAST_SECONDS)))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "state": state | {"received_at": time.monotonic()},
    }
