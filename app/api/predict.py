"""`POST /predict`: a plain ASGI endpoint, the one way from a request to its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from starlette.types import Receive, Scope, Send

from ..errors import BodyTooLarge, ClientGone, DeadlineExceeded
from ..inference.classifier import Classifier
from ..observe.traces import WORK, Work
from ..serving.limits import Lease
from ..serving.microbatch import MicroBatcher
from ..serving.predictions import Predictions
from ..serving.predictor import PredictRequest, RawImages, places_of
from ..serving.workers import Item
from ..settings import Settings
from .formats import Parseable, ParseCost, ParseRequest, cost_of, start_of
from .options import AnyQuery, Options, Query, parse_options, parse_query
from .response import Content, encode_predictions
from .services import Services, services_of

How = TypeVar("How")
Request = TypeVar("Request", bound=PredictRequest)
Result = TypeVar("Result")

Parse = Callable[
    [Services, list[bytes], Options[AnyQuery], Lease, Receive],
    Awaitable[tuple[RawImages, How]],
]
"""A protocol's way from a body in chunks to its images, and how they are to be read."""
Prepare = Callable[[RawImages, Lease, How], Request]
"""From images, and how they are to be read, to a request with its cost."""

DIRECT_COST = 4096
"""Cost up to which a body is parsed where it is received, in pixels: some 40 µs."""


class Reading(NamedTuple):
    """How the images of a request are to be read."""

    normalize: bool
    classifier: Classifier | None = None
    """The version that is asked for; None for the one that is live when they are read."""


class PredictEndpoint:
    """Answers `POST /predict`; what fails raises.

    headers → options → lease → body → images → predictions → JSON
    """

    path = "/predict"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self  # as FastAPI does for its own routes; the metrics are by route
        services = services_of(scope)
        settings = services.settings
        options = parse_options(scope, parse_query, deadline_seconds=settings.deadline_seconds)
        predictions = await predict(services, scope, receive, options, _parse)
        answer = encode_predictions(
            predictions,
            seen=options.query.include_seen,
            ids=settings.feedback_dir is not None,
        )
        await Content(answer)(scope, receive, send)


async def predict(
    services: Services,
    scope: Scope,
    receive: Receive,
    options: Options[Query],
    parse: Parse[Query, Reading],
) -> Predictions:
    """The predictions for a request of any protocol, admitted, bounded and counted."""

    def prepare(images: RawImages, lease: Lease, reading: Reading) -> PredictRequest:
        return services.predictor.prepare(images, lease, *reading)

    predictions = await answer(
        scope, receive, options, parse, prepare=prepare, batcher=services.predictions
    )
    is_live = predictions.classifier is services.registry.live
    scope["state"]["predictions"] = predictions
    services.metrics.observe_predictions(predictions.classifier.version, predictions)
    if services.sample and is_live:
        services.sample.offer(predictions)
    if services.shadow and is_live:
        services.shadow.offer(predictions)
    return predictions


async def answer(
    scope: Scope,
    receive: Receive,
    options: Options[AnyQuery],
    parse: Parse[AnyQuery, How],
    *,
    prepare: Prepare[How, Request],
    batcher: MicroBatcher[Request, Result],
) -> Result:
    """The result of a request about images, of any route, admitted and bounded.

    lease → body → images → result
    """
    services = services_of(scope)
    max_bytes = services.settings.max_body_bytes
    too_large = BodyTooLarge(
        f"A body has at most {max_bytes:,} bytes. Send fewer or smaller images."
    )
    received_at = scope["state"].get("received_at") or time.monotonic()
    with services.admission.open_lease(received_at + options.deadline_seconds) as lease:
        chunks = await read_body(receive, options, lease, max_bytes, too_large)
        scope["state"]["body_bytes"] = sum(map(len, chunks))
        images, how = await parse(services, chunks, options, lease, receive)
        lease.charge_images(places_of(images))
        request = prepare(images, lease, how)
        await lease.charge_working(request.working_bytes)
        try:
            return await process(batcher, request, request.cost, receive)
        finally:  # without the images: a connection keeps this until its next request
            scope["state"][WORK] = Work(request.prepared_at, request.waited, request.seconds)


async def read_body(
    receive: Receive,
    options: Options[Any],
    lease: Lease,
    max_bytes: int,
    too_large: BodyTooLarge,
) -> list[bytes]:
    """The request's body in chunks, charged before it is read where its length is declared.

    Args:
        receive: Gives the body.
        options: Of the request.
        lease: That the body is charged to.
        max_bytes: That it may have.
        too_large: Is raised where it has more.

    Raises:
        BodyTooLarge: before the first byte where the length is declared, else at the limit.
        QueueFull: there is no room for it.
        ClientGone: the client closed its connection.
    """
    declared = options.content_length
    if declared is not None:
        if declared > max_bytes:
            raise too_large
        await lease.charge_body(declared)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        if chunks:
            await lease.await_turn()
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        if declared is None:
            lease.charge_chunk(len(chunk))
        chunks.append(chunk)
    return chunks


async def _parse(
    services: Services,
    chunks: list[bytes],
    options: Options[Query],
    lease: Lease,
    receive: Receive,
) -> tuple[RawImages, Reading]:
    images = await parse_images(services, chunks, options, lease, receive)
    return images, Reading(options.query.normalize)


async def parse_images(
    services: Services, chunks: list[bytes], options: Options[Any], lease: Lease, receive: Receive
) -> RawImages:
    """The images in a body of `/predict`'s media types.

    Raises:
        BodyTooLarge: a JSON document is longer than they are parsed; and as `formats` raises.
    """
    settings = services.settings
    size = sum(map(len, chunks))
    cost = cost_of(start_of(chunks), size, options.content_type)
    if cost.is_json:
        check_json_size(size, settings)
    request = ParseRequest(chunks, options.content_type, settings.max_images, lease)
    return await parse_body(services, request, cost, receive)


def check_json_size(length: int, settings: Settings) -> None:
    """Refuse a JSON document of more bytes than are parsed.

    Raises:
        BodyTooLarge: it has more.
    """
    if length > settings.max_json_bytes:
        raise BodyTooLarge(
            f"A JSON body has at most {settings.max_json_bytes:,} bytes. Send the image itself, as "
            "a PNG or JPEG, or in multipart/form-data."
        )


async def parse_body(
    services: Services, request: Parseable[Result], cost: ParseCost, receive: Receive
) -> Result:
    """What the body of `request` holds, parsed where its cost belongs."""
    lease = request.lease
    lease.check()
    if cost.pixels <= DIRECT_COST:
        return request.parse()
    await lease.charge_working(cost.working_bytes)
    lease.reserve_images()
    parsed: Result = await process(services.parser, request, cost.pixels, receive)
    return parsed


async def process(
    batcher: MicroBatcher[Item, Result], item: Item, cost: int, receive: Receive
) -> Result:
    """The result of `item`, by way of `batcher`.

    Raises:
        DeadlineExceeded, ClientGone: the work was given up.
    """
    future = batcher.submit(item, cost)
    if batcher.runs_inline(cost):
        return await future
    return await cancel_on_disconnect(future, item.lease, receive)


async def cancel_on_disconnect(
    future: asyncio.Future[Result], lease: Lease, receive: Receive
) -> Result:
    """The result of work in a thread, unless the deadline passes or the client goes first.

    A running thread can't be interrupted; it sees at its next image that nobody waits.

    Raises:
        DeadlineExceeded, ClientGone: the work was given up.
    """
    disconnected = asyncio.ensure_future(receive())
    try:
        await asyncio.wait(
            (future, disconnected),
            timeout=lease.remaining_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if future.done():
            return future.result()
        reason = ClientGone() if disconnected.done() else DeadlineExceeded()
        lease.revoke(reason)
        raise reason
    finally:
        disconnected.cancel()
        future.cancel()
