"""The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it over HTTP.

Tensors come and go as JSON, or as bytes behind the JSON (the binary tensor data extension).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import orjson
from simdjson import Array, Object
from starlette.requests import Request
from starlette.responses import Response

from ..api.formats import ParseCost, json_cost
from ..api.formats.pixels import fields_of, flat, load, to_images
from ..api.response import Content, encode, json_response
from ..api.services import services_of
from ..errors import BadParameter, BadPixels, MalformedBody
from ..inference.classifier import Classifier
from ..serving.predictor import RawImages
from ..vision.digit import SIDE
from .inference import check_count, infer, small_body
from .route import ProtocolRoute
from .tensors import (
    BINARY_BYTE_COST,
    BYTES,
    EXTENSIONS,
    IMAGE_BYTES,
    IMAGES,
    INPUTS,
    OUTPUTS,
    PLATFORM,
    WHOLE_TYPES,
    InferInputs,
    Output,
    RequestedOutput,
    binary_images,
    check_id,
    count_of,
    described,
    find,
    flag,
    levels_of,
    most_images,
    outputs_of,
    parameters_of,
    repository,
    requested_outputs,
    to_bytes,
)

MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
INFER_PATHS = tuple(f"{path}/infer" for path in MODEL_PATHS)
JSON_LENGTH = "inference-header-content-length"
"""Header: bytes of the JSON where binary tensors follow it."""
MAX_SMALL_BYTES = 1024
"""JSON before binary tensors up to which all of it becomes Python's objects at once; what is longer
has data in it, which is not looked at."""
LISTS_AROUND = 3
"""Lists in a document beside those of the images: its inputs, a shape, and the data itself."""


class Head(NamedTuple):
    """What a request's JSON says."""

    tensor: dict[str, Any]
    """The fields of the one input."""
    lists: int
    """How many lists its data has."""
    normalize: bool | None
    id: str | None
    outputs: list[RequestedOutput]


async def infer_images(request: Request) -> Content:
    """Read the images of a request."""
    services = services_of(request.scope)
    served = _served(request)
    named = served if "version" in request.path_params else None
    json_bytes = _json_bytes(request)
    inputs, predictions = await infer(
        request,
        partial(read_inputs, json_bytes=json_bytes, max_images=services.settings.max_images),
        partial(_cost, json_bytes=json_bytes),
        classifier_of=lambda _: named,
        json_bytes=json_bytes,
    )
    classifier = predictions.classifier
    document: dict[str, Any] = {
        "model_name": classifier.name,
        "model_version": classifier.version,
    }
    if inputs.id is not None:
        document["id"] = inputs.id
    return encode_outputs(document, outputs_of(inputs.outputs, predictions))


async def server_metadata(request: Request) -> Response:
    """Say what serves, and which extensions it speaks."""
    app = request.app
    return json_response(
        {"name": app.title.lower(), "version": app.version, "extensions": EXTENSIONS}
    )


async def server_live(request: Request) -> Response:
    """200 whenever the event loop turns."""
    return json_response({"live": True})


async def server_ready(request: Request) -> Response:
    """200 while the process should be sent requests."""
    return _ready(request, {})


async def model_ready(request: Request) -> Response:
    """200 while the model should be sent requests."""
    return _ready(request, {"name": _served(request).name})


async def model_metadata(request: Request) -> Response:
    """Describe the inputs, of which a request has one, and the outputs."""
    name, versions = _served(request).name, services_of(request.scope).registry.versions
    return json_response(
        {
            "name": name,
            "versions": [*versions],
            "platform": PLATFORM,
            "inputs": described(INPUTS),
            "outputs": described(OUTPUTS),
        }
    )


async def repository_index(request: Request) -> Response:
    """List the versions of the model; `{"ready": true}` in the body leaves out those that are not.

    Raises:
        BodyTooLarge, MalformedBody, BadParameter: the body is something else.
    """
    body = await small_body(request)
    asked = _plain(load(body)[0]) if body else {}
    if not isinstance(asked, dict):
        raise MalformedBody('The body is empty, or {"ready": true}.')
    is_ready = flag(asked, "ready") or False
    return json_response(repository(services_of(request.scope), ready=is_ready))


routes = [
    *(ProtocolRoute(path, infer_images, methods=["POST"]) for path in INFER_PATHS),
    ProtocolRoute("/v2", server_metadata),
    ProtocolRoute("/v2/health/live", server_live),
    ProtocolRoute("/v2/health/ready", server_ready),
    ProtocolRoute("/v2/repository/index", repository_index, methods=["POST"]),
    *(ProtocolRoute(path, model_metadata) for path in MODEL_PATHS),
    *(ProtocolRoute(f"{path}/ready", model_ready) for path in MODEL_PATHS),
]


def read_inputs(body: bytes, *, json_bytes: int | None, max_images: int) -> InferInputs:
    """The images in a body, in order, and what is asked for them.

    Args:
        body: JSON, and binary tensors behind it.
        json_bytes: Bytes of the JSON; None where it is the whole body.
        max_images: Images that a request may have.

    Raises:
        MalformedBody: it is no document of this protocol.
        BadParameter: a parameter is not acceptable.
        EmptyBatch, TooManyImages: there are no images, or more than `max_images`.
        BadPixels: an image is none.
    """
    text = body if json_bytes is None else body[:json_bytes]
    binary = memoryview(body)[len(text) :]
    head = _read_head(text, _small if len(binary) and len(text) <= MAX_SMALL_BYTES else load)
    images = _images(head, binary, max_images)
    return InferInputs(images, head.normalize, head.id, head.outputs)


def _read_head(text: bytes, parse: Callable[[bytes], tuple[Any, int]]) -> Head:
    """What a request's JSON says; `parse` is `load`, or gives Python's own objects as it does."""
    try:
        document, lists = parse(text)
    except MalformedBody as error:
        raise MalformedBody(f"failed to parse the request JSON buffer: {error.detail}") from None
    fields = fields_of(document)
    tensor = _tensor(fields.get("inputs"))
    parameters = parameters_of(_plain(fields.get("parameters")))
    requested = _plain(fields.get("outputs"))
    return Head(
        tensor,
        lists - LISTS_AROUND - isinstance(requested, list),
        flag(parameters, "normalize"),
        check_id(fields.get("id")),
        requested_outputs(requested, parameters),
    )


def _small(text: bytes) -> tuple[Any, int]:
    """The document before binary tensors, as `load` gives it: no pixels, for which that is made.

    Raises:
        MalformedBody: it is no JSON.
    """
    try:
        return orjson.loads(text), 0
    except orjson.JSONDecodeError:
        raise MalformedBody("The body is not JSON.") from None


def _tensor(inputs: Any) -> dict[str, Any]:
    """The fields of the one input; its shape is a list of Python's."""
    tensor = fields_of(inputs[0]) if isinstance(inputs, Array | list) and len(inputs) == 1 else {}
    name, shape, datatype = (tensor.get(field) for field in ("name", "shape", "datatype"))
    shape = _plain(shape)
    if isinstance(name, str) and isinstance(shape, list) and isinstance(datatype, str):
        return tensor | {"shape": shape}
    raise MalformedBody(
        "Expected `inputs`: a list of one tensor, with name, shape and datatype; it is "
        f"`{IMAGES}` or `{IMAGE_BYTES}`."
    )


def _plain(value: Any) -> Any:
    """A value of a document as Python has it."""
    if isinstance(value, Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, Array) else value


def encode_outputs(document: dict[str, Any], outputs: Iterable[Output]) -> Content:
    """The response with these outputs: JSON, and the binary ones behind it.

    Args:
        document: What the response says beside its outputs.
        outputs: In order.
    """
    entries, sections = [], []
    for name, datatype, is_binary, tensor in outputs:
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": tensor.shape}
        if is_binary:
            section = to_bytes(tensor)
            entry["parameters"] = {"binary_data_size": len(section)}
            sections.append(section)
        else:
            flat = tensor.ravel()
            entry["data"] = flat.tolist() if datatype == BYTES else flat
        entries.append(entry)
    text = encode(document | {"outputs": entries})
    if not sections:
        return Content(text)
    length = (JSON_LENGTH.encode(), b"%d" % len(text))
    return Content(b"".join([text, *sections]), b"application/octet-stream", length)


def _images(head: Head, binary: memoryview, max_images: int) -> RawImages:
    tensor = head.tensor
    name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
    count = count_of(name, datatype, shape)
    size = parameters_of(_plain(tensor.get("parameters"))).get("binary_data_size")
    is_json = size is None and not len(binary)
    check_count(count, max_images if is_json else most_images(datatype, max_images))
    if is_json:
        images = _listed(tensor.get("data"), count, head.lists)
        _check_kinds(name, images)
        if datatype in WHOLE_TYPES:
            _check_whole(tensor["data"], count, datatype)
        return images
    if size != len(binary) or isinstance(size, bool):
        raise MalformedBody(
            f"The binary tensors have {len(binary):,} bytes, `binary_data_size` says otherwise; "
            "Inference-Header-Content-Length is the length of the JSON before them."
        )
    return binary_images(binary, datatype, count)


def _listed(data: Any, count: int, lists: int) -> RawImages:
    """The images in a list of JSON: texts, or numbers that are nested or flat."""
    if not isinstance(data, Array):
        raise MalformedBody("An input has `data`, or a `binary_data_size`.")
    values: list[Any] = [_unwrapped(value) for value in data] if len(data) == count else []
    if values:
        return to_images(values, lists)
    if len(data) == count * SIDE * SIDE and not lists:
        return levels_of(flat(data, len(data), 0), count)
    raise MalformedBody(f"`data` has {len(data):,} entries, which is not as its shape says.")


def _unwrapped(value: Any) -> Any:
    """A text out of a tensor [n,1]; all else as it is."""
    only: Any = value[0] if isinstance(value, Array) and len(value) == 1 else None
    return only if isinstance(only, str) else value


def _check_kinds(name: str, images: RawImages) -> None:
    for index, image in enumerate(images):
        if isinstance(image, bytes) != (name == IMAGE_BYTES):
            raise BadPixels(f"Image {index} is not of its tensor's datatype.")
        if not isinstance(image, bytes) and image.shape != (SIDE, SIDE):
            height, width = image.shape
            raise BadPixels(f"Image {index} is {height}×{width}; `{IMAGES}` are {SIDE}×{SIDE}.")


def _check_whole(data: Array, count: int, datatype: str) -> None:
    numbers = flat(data, count * SIDE * SIDE, 0)
    if numbers.dtype.kind == "f" and (fractions := numbers % 1).any():
        index = np.flatnonzero(fractions)[0] // (SIDE * SIDE)
        raise BadPixels(f"Image {index} has a fraction, which {datatype} has not; FP32 has.")


def _json_bytes(request: Request) -> int | None:
    text = dict(request.scope["headers"]).get(JSON_LENGTH.encode())
    if text is None:
        return None
    if not (text.isdigit() and len(text) < 20):
        raise BadParameter("Inference-Header-Content-Length is a number of bytes.")
    return int(text)


def _cost(length: int, *, json_bytes: int | None) -> ParseCost:
    """What it takes to parse a body of `length` bytes, some of them JSON."""
    if json_bytes is None:
        return json_cost(length)
    if json_bytes > length:
        raise MalformedBody("Inference-Header-Content-Length is more than the body has.")
    binary = length - json_bytes
    cost = json_cost(json_bytes)
    return cost._replace(
        pixels=cost.pixels + int(binary * BINARY_BYTE_COST),
        working_bytes=cost.working_bytes + binary,
    )


def _served(request: Request) -> Classifier:
    registry = services_of(request.scope).registry
    return find(registry, request.path_params["model"], request.path_params.get("version"))


def _ready(request: Request, content: dict[str, Any]) -> Response:
    reason = services_of(request.scope).health.unready_reason()
    if reason is None:
        return json_response(content | {"ready": True})
    return json_response(content | {"ready": False, "error": reason}, status=503)
