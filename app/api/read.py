"""`POST /read`: numbers of several digits, by the same way as `/predict`."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from ..inference.grammar import Grammar
from ..serving.limits import Lease
from ..serving.predictor import RawImages
from .options import Options, ReadQuery, parse_options, parse_read_query
from .predict import answer, parse_images
from .response import Content, encode_numbers
from .services import Services, services_of


class NumberFacts(NamedTuple):
    """What a request's log line has of a number: not its text, which may be an account's."""

    length: int
    confidence: float
    rejected: str | None


class ReadEndpoint:
    """Answers `POST /read`; what fails raises.

    headers → options → lease → body → images → numbers → JSON
    """

    path = "/read"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self  # as FastAPI does for its own routes; the metrics are by route
        services = services_of(scope)
        deadline_seconds = services.settings.deadline_seconds
        options = parse_options(scope, parse_read_query, deadline_seconds=deadline_seconds)
        numbers = await answer(
            scope,
            receive,
            options,
            _parse,
            prepare=services.reader.prepare,
            batcher=services.numbers,
        )
        # Without the rows: a connection keeps this until its next request.
        scope["state"]["numbers"] = [
            NumberFacts(len(each.digits), each.confidence, each.rejected) for each in numbers.items
        ]
        services.metrics.observe_numbers(numbers.classifier.version, numbers.items)
        if services.shadow and numbers.classifier is services.registry.live:
            services.shadow.offer_numbers(numbers.items, options.query.grammar)
        seen = options.query.include_seen
        if services.settings.feedback_dir is None:
            body = encode_numbers(numbers, seen=seen)
        else:  # an id's strip takes too long for the event loop
            body = await asyncio.to_thread(encode_numbers, numbers, seen=seen, ids=True)
        await Content(body)(scope, receive, send)


async def _parse(
    services: Services,
    chunks: list[bytes],
    options: Options[ReadQuery],
    lease: Lease,
    receive: Receive,
) -> tuple[RawImages, Grammar]:
    images = await parse_images(services, chunks, options, lease, receive)
    return images, options.query.grammar
