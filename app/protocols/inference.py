"""The way that all other protocols take: their bodies in, the same predictor, tensors out.

body → decompress → parse → `api.predict` → tensors → body
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.types import Receive

from ..api.formats import ParseCost, joined
from ..api.options import Options, Query, parse_options, parse_query
from ..api.predict import Reading, check_json_size, parse_body, predict
from ..api.services import Services, services_of
from ..errors import BadParameter, BodyTooLarge, EmptyBatch, TooManyImages
from ..inference.classifier import Classifier
from ..serving.limits import Lease
from ..serving.predictions import Predictions
from ..serving.predictor import RawImages
from .compression import ENCODINGS, CompressedBody

MAX_SMALL_BYTES = 1024
NO_LABEL = -1
"""Label of a blank image: tensors have no null."""


class Inputs(Protocol):
    """What a request's body holds, in any protocol."""

    @property
    def images(self) -> RawImages:
        """Files or gray levels, in order."""

    @property
    def normalize(self) -> bool | None:
        """Whether to normalize them; None leaves it to the query."""


Parsed = TypeVar("Parsed", bound=Inputs)


@dataclass(frozen=True, slots=True, eq=False)
class InferenceBody(Generic[Parsed]):
    """A body, and how a protocol reads it: parsed as any other (`api.formats.Parseable`)."""

    chunks: list[bytes]
    read: Callable[[bytes], Parsed]
    lease: Lease

    def parse(self) -> Parsed:
        """What it holds. Raises as the protocol says, or as the lease's `check`."""
        self.lease.check()
        return self.read(joined(self.chunks))


async def infer(
    request: Request,
    read: Callable[[bytes], Parsed],
    cost_of: Callable[[int], ParseCost],
    *,
    classifier_of: Callable[[Parsed], Classifier | None],
    json_bytes: int | None = None,
) -> tuple[Parsed, Predictions]:
    """Answer a request whose body `read` parses.

    Args:
        request: Its body has not been received yet.
        read: Body -> what it holds; it may run in a thread.
        cost_of: Bytes of a body -> what it takes to parse it.
        classifier_of: What the body holds -> the version that is named; None for the live one.
        json_bytes: Bytes of its JSON; None where all of it is JSON.
    """
    services = services_of(request.scope)
    settings = services.settings
    options = parse_options(
        request.scope,
        parse_query,
        deadline_seconds=settings.deadline_seconds,
        encodings=ENCODINGS,
    )
    if options.query.include_seen:
        raise BadParameter("`include` is a parameter of /predict and /read alone.")
    inputs: list[Parsed] = []

    async def parse(
        services: Services,
        chunks: list[bytes],
        options: Options[Query],
        lease: Lease,
        receive: Receive,
    ) -> tuple[RawImages, Reading]:
        if options.content_encoding:
            max_bytes = settings.max_json_bytes if json_bytes is None else settings.max_body_bytes
            compressed = CompressedBody(chunks, max_bytes, lease)
            chunks = [await _decompressed(services, compressed, receive)]
        size = sum(map(len, chunks))
        cost = cost_of(size)
        check_json_size(size if json_bytes is None else json_bytes, settings)
        parseable = InferenceBody(chunks, read, lease)
        parsed = await parse_body(services, parseable, cost, receive)
        inputs.append(parsed)
        normalize = options.query.normalize if parsed.normalize is None else parsed.normalize
        return parsed.images, Reading(normalize, classifier_of(parsed))

    predictions = await predict(services, request.scope, request.receive, options, parse)
    return inputs[0], predictions


async def _decompressed(services: Services, compressed: CompressedBody, receive: Receive) -> bytes:
    size = compressed.size
    body = await parse_body(services, compressed, compressed.cost, receive)
    compressed.lease.charge_chunk(max(0, len(body) - size))
    return body


async def small_body(request: Request) -> bytes:
    """The body of a request without images.

    Raises:
        BodyTooLarge: at MAX_SMALL_BYTES.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_SMALL_BYTES:
            raise BodyTooLarge(f"This request's body has at most {MAX_SMALL_BYTES:,} bytes.")
    return body


def check_count(count: int, max_images: int) -> None:
    """Refuse a request without images, or with too many, before any is read.

    Raises:
        EmptyBatch, TooManyImages: it is one.
    """
    if not count:
        raise EmptyBatch("The request holds no image.")
    if count > max_images:
        raise TooManyImages(f"A request has at most {max_images:,} images; send several requests.")


def _labels(predictions: Predictions) -> NDArray[np.int64]:
    labels = [NO_LABEL if label is None else label for label in predictions.labels]
    return np.array(labels, np.int64)


def _confidence(predictions: Predictions) -> NDArray[np.float32]:
    return predictions.confidences


def _probabilities(predictions: Predictions) -> NDArray[np.float32]:
    return np.ascontiguousarray(predictions.probabilities)


def _rejected(predictions: Predictions) -> NDArray[Any]:
    return np.array([str(reason or "") for reason in predictions.rejected], object)


TENSORS: dict[str, Callable[[Predictions], NDArray[Any]]] = {
    "label": _labels,
    "confidence": _confidence,
    "probabilities": _probabilities,
    "rejected": _rejected,
}
"""The outputs by name, each with an entry for every image: `label` int64 [n], `NO_LABEL` for a
blank; `confidence` float32 [n]; `probabilities` float32 [n,10]; `rejected` str [n], the reason not
to use the answer, empty where there is none."""
