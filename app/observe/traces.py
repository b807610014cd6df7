"""Traces: a span for each request and for each of its steps, for an OpenTelemetry collector.

Off unless `DIGITS_TRACES_ENDPOINT` names the collector: there is then no middleware, and a request
pays nothing. The extra `traces` has the packages. The caller's `traceparent`
(https://www.w3.org/TR/trace-context/) is the parent, and says whether the request is sampled.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import StepSeconds

TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
WORK = "work"
"""Where a request's state has its `Work`."""
NANO = 1_000_000_000


class Work(NamedTuple):
    """How long a request's steps took, without what they were about."""

    prepared_at: float
    """When it began to wait, in seconds of `time.perf_counter()`."""
    waited: float
    """Seconds in the queue."""
    seconds: StepSeconds | None
    """The steps of its batch; None where it did not come so far."""


class TracesUnavailable(Exception):
    """The packages of the extra `traces` are missing."""


def trace_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the ID of the trace in the caller's `traceparent`; None without a sane one."""
    for name, value in headers:
        if name == b"traceparent":
            found = TRACEPARENT.fullmatch(value)
            if found and found[1].strip(b"0") and found[2].strip(b"0"):
                return found[1].decode()
    return None


def provider_to(endpoint: str, *, version: str) -> Any:
    """Return a tracer provider that sends spans to a collector by OTLP over HTTP, in a thread.

    Args:
        endpoint: The collector's address, such as `http://collector:4318`.
        version: The program's.

    Raises:
        TracesUnavailable: A package is missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise TracesUnavailable(f"{error}; the extra `traces` has it") from error
    resource = Resource.create({"service.name": "digits", "service.version": version})
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class TraceMiddleware:
    """Gives every request a span; stands outside all other middleware.

    Args:
        app: The application.
        provider: An OpenTelemetry tracer provider.
    """

    def __init__(self, app: ASGIApp, *, provider: Any) -> None:
        from opentelemetry import trace  # noqa: PLC0415 -- for those who trace
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        self.app = app
        self._trace = trace
        self._tracer = provider.get_tracer("digits")
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        span = self._tracer.start_span(
            scope["method"],
            context=self._propagator.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
        )
        state = scope.setdefault("state", {})

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(self._trace.StatusCode.ERROR)
            await send(message)

        try:
            await self.app(scope, receive, send_traced)
        finally:
            route = getattr(scope.get("route"), "path", None)
            if route:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.request.method", scope["method"])
            span.set_attribute("digits.request_id", state.get("request_id", ""))
            if WORK in state:
                self._add_steps(span, state[WORK])
            span.end()

    def _add_steps(self, span: Any, work: Work) -> None:
        """Add a span for each step.

        Decode and normalize take turns where a request has much to decode; a span has the sum.
        """
        seconds = work.seconds
        if seconds is None:  # it failed before
            return
        context = self._trace.set_span_in_context(span)
        at = time.time_ns() - int((time.perf_counter() - work.prepared_at) * NANO)
        steps = {"queue": work.waited, "decode": seconds.decode, "normalize": seconds.normalize}
        for name, each in (steps | {"inference": seconds.inference}).items():
            step = self._tracer.start_span(name, context=context, start_time=at)
            at += int(each * NANO)
            step.end(at)
