"""The Open Inference Protocol, version 2, by gRPC: `inference.GRPCInferenceService`.

Its calls come as requests (`server.calls`), and go the way of those by HTTP. Tensors come as bytes
(`raw_input_contents`) or as lists of their type (`contents`), and go as they came.
The messages are those of the published `.proto`, as `open-inference-grpc` has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from open_inference.grpc import protocol
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from ..api.formats import ParseCost
from ..api.problems import CALLS
from ..api.services import services_of
from ..errors import MalformedBody
from ..inference.classifier import Classifier
from ..inference.registry import ModelRegistry
from ..serving.predictor import RawImages
from ..vision.digit import SIDE
from .fields import NOT_A_MESSAGE, Cut, cut
from .inference import check_count, infer, small_body
from .route import ProtocolRoute
from .tensors import (
    BYTES,
    EXTENSIONS,
    IMAGE_BYTES,
    IMAGES,
    INPUTS,
    OUTPUTS,
    PLATFORM,
    InferInputs,
    Output,
    binary_images,
    check_id,
    count_of,
    described,
    find,
    flag,
    levels_of,
    most_images,
    outputs_of,
    requested_outputs,
    to_bytes,
)

MEDIA_TYPE = "application/grpc"
INFER_PATH = f"{CALLS}ModelInfer"
SERVICE = CALLS.strip("/")
CONTENTS = {
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Where `contents` has the numbers of each datatype, or the files."""
INPUT, RAW = (
    protocol.ModelInferRequest.DESCRIPTOR.fields_by_name[name].number
    for name in ("inputs", "raw_input_contents")
)
TYPED = protocol.ModelInferRequest.InferInputTensor.DESCRIPTOR.fields_by_name["contents"].number
FILES = protocol.InferTensorContents.DESCRIPTOR.fields_by_name[CONTENTS[BYTES]].number
MAX_FIELDS = 64
"""Fields of a request and of its input, beside the elements of a list."""
MAX_REST_BYTES = 64 * 1024
"""Bytes of a request beside its tensor: names, shapes, parameters."""
MAX_TYPED_BYTES = 2 * 2**20
"""Bytes of numbers in `contents`: 334 images of FP64. It is parsed in 20 ms at most."""
MESSAGE_BYTE_COST = 1 / 2
"""Cost of a byte of a message, in pixels."""


@dataclass(frozen=True, slots=True)
class CallInputs(InferInputs):
    """What a call to infer holds."""

    classifier: Classifier | None
    """The version that it names; None for the live one."""


class Tensor(NamedTuple):
    """The input of a request: what it says of itself, and what it holds."""

    fields: Any
    raw: list[memoryview]
    contents: memoryview


class CallRoute(ProtocolRoute):
    """A route for calls alone."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match what did not come by HTTP/1.1, as another path."""
        return super().matches(scope) if scope["http_version"] == "2" else (Match.NONE, {})


async def model_infer(request: Request) -> Response:
    """Read the images of a call."""
    services = services_of(request.scope)
    read = partial(read_call, registry=services.registry, max_images=services.settings.max_images)
    inputs, predictions = await infer(
        request, read, _cost, classifier_of=lambda inputs: inputs.classifier, json_bytes=0
    )
    answer = protocol.ModelInferResponse(
        model_name=predictions.classifier.name,
        model_version=predictions.classifier.version,
        id=inputs.id,
    )
    add_outputs(answer, outputs_of(inputs.outputs, predictions))
    return _response(answer)


async def server_live(request: Request) -> Response:
    """True whenever the event loop turns."""
    return _response(protocol.ServerLiveResponse(live=True))


async def server_ready(request: Request) -> Response:
    """Whether the process should be sent calls."""
    return _response(protocol.ServerReadyResponse(ready=_is_ready(request)))


async def server_metadata(request: Request) -> Response:
    """Say what serves, and which extensions it speaks."""
    app = request.app
    return _response(
        protocol.ServerMetadataResponse(
            name=app.title.lower(), version=app.version, extensions=EXTENSIONS
        )
    )


async def model_ready(request: Request) -> Response:
    """Whether the model should be sent calls."""
    await _named(request, protocol.ModelReadyRequest)
    return _response(protocol.ModelReadyResponse(ready=_is_ready(request)))


async def model_metadata(request: Request) -> Response:
    """Describe the inputs, of which a call has one, and the outputs."""
    classifier = await _named(request, protocol.ModelMetadataRequest)
    return _response(
        protocol.ModelMetadataResponse(
            name=classifier.name,
            versions=[*services_of(request.scope).registry.versions],
            platform=PLATFORM,
            inputs=described(INPUTS),
            outputs=described(OUTPUTS),
        )
    )


METHODS = {
    "ModelInfer": model_infer,
    "ServerLive": server_live,
    "ServerReady": server_ready,
    "ServerMetadata": server_metadata,
    "ModelReady": model_ready,
    "ModelMetadata": model_metadata,
}
routes = [
    CallRoute(CALLS + method, endpoint, methods=["POST"]) for method, endpoint in METHODS.items()
]


def read_call(body: bytes, *, registry: ModelRegistry, max_images: int) -> CallInputs:
    """The images in a message, in order, and what is asked for them.

    Args:
        body: A `ModelInferRequest`.
        registry: Has the versions.
        max_images: Images that a call may have.

    Raises:
        MalformedBody: it is no message of this protocol.
        NotFound: there is no such model or version.
        BadParameter: a parameter is not acceptable.
        BodyTooLarge: it has more than is parsed.
        EmptyBatch, TooManyImages: there are no images, or more than `max_images`.
        BadPixels: an image is none.
    """
    rest, fields = _cut(body, INPUT, RAW)
    request = _parsed(protocol.ModelInferRequest, rest)
    version = request.model_version or None
    classifier = find(registry, request.model_name, version)
    tensor = _tensor(fields)
    parameters = _plain(request.parameters)
    parameters.setdefault("binary_data_output", bool(tensor.raw))
    requested = [
        {"name": output.name, "parameters": _plain(output.parameters)} for output in request.outputs
    ]
    return CallInputs(
        _images(tensor, max_images),
        flag(parameters, "normalize"),
        check_id(request.id),
        requested_outputs(requested, parameters),
        classifier if version else None,
    )


def add_outputs(answer: Any, outputs: Iterable[Output]) -> None:
    """Add outputs to a `ModelInferResponse`: all as bytes, or as lists, as the protocol wants it.

    They are bytes where any of them is wanted so.
    """
    outputs = [*outputs]
    are_raw = any(output.is_binary for output in outputs)
    for name, datatype, _, tensor in outputs:
        entry = answer.outputs.add(name=name, datatype=datatype, shape=tensor.shape)
        if are_raw:
            answer.raw_output_contents.append(to_bytes(tensor))
        elif datatype == BYTES:
            entry.contents.bytes_contents.extend(text.encode() for text in tensor.ravel())
        else:
            getattr(entry.contents, CONTENTS[datatype]).extend(tensor.ravel().tolist())


def _tensor(fields: dict[int, list[memoryview]]) -> Tensor:
    if len(fields[INPUT]) != 1:
        raise MalformedBody(f"Expected one input; it is `{IMAGES}` or `{IMAGE_BYTES}`.")
    rest, inner = _cut(fields[INPUT][0], TYPED)
    tensor = _parsed(protocol.ModelInferRequest.InferInputTensor, rest)
    return Tensor(tensor, fields[RAW], memoryview(b"".join(inner[TYPED])))


def _images(tensor: Tensor, max_images: int) -> RawImages:
    datatype = tensor.fields.datatype
    count = count_of(tensor.fields.name, datatype, [*tensor.fields.shape])
    check_count(count, most_images(datatype, max_images))
    if tensor.raw:
        if len(tensor.raw) > 1 or tensor.contents:
            raise MalformedBody("An input is in `raw_input_contents` or in `contents`, once.")
        return binary_images(tensor.raw[0], datatype, count)
    rest, fields = cut(
        tensor.contents, FILES, max_fields=count + MAX_FIELDS, max_rest_bytes=MAX_TYPED_BYTES
    )
    if datatype == BYTES:
        if rest or len(fields[FILES]) != count:
            raise MalformedBody(f"`{CONTENTS[BYTES]}` is not as the input's shape says.")
        return [bytes(file) for file in fields[FILES]]
    contents = _parsed(protocol.InferTensorContents, rest)
    numbers = np.array(getattr(contents, CONTENTS[datatype]))
    if fields[FILES] or numbers.size != count * SIDE * SIDE:
        raise MalformedBody(
            f"`{CONTENTS[datatype]}` has {numbers.size:,} numbers, which is not as the input's "
            "datatype and shape say."
        )
    return levels_of(numbers, count)


def _cut(message: bytes | memoryview, *numbers: int) -> Cut:
    view = memoryview(message)
    return cut(view, *numbers, max_fields=MAX_FIELDS, max_rest_bytes=MAX_REST_BYTES)


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise MalformedBody(NOT_A_MESSAGE) from None


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as Python has them; of a type that is not known, None."""
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: kind and getattr(parameters[name], kind) for name, kind in kinds.items()}


def _cost(length: int) -> ParseCost:
    return ParseCost(int(length * MESSAGE_BYTE_COST), length, is_json=False)


async def _named(request: Request, kind: Any) -> Classifier:
    """The version that a message of this kind names."""
    message = _parsed(kind, await small_body(request))
    return find(services_of(request.scope).registry, message.name, message.version or None)


def _is_ready(request: Request) -> bool:
    return services_of(request.scope).health.unready_reason() is None


def _response(answer: Any) -> Response:
    return Response(answer.SerializeToString(), media_type=MEDIA_TYPE)
