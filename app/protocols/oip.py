"""The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it over HTTP.

Tensors come and go as JSON, or as bytes behind the JSON (the binary tensor data extension).
Source: https://github.com/kserve/open-inference-protocol, and Triton's extensions in
`docs/protocol` of triton-inference-server/server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from simdjson import Array, Object
from starlette.requests import Request
from starlette.responses import Response

from ..api.formats import ParseCost, json_cost
from ..api.formats.pixels import flat, load, to_images, to_levels
from ..api.response import encode, json_response
from ..api.services import services_of
from ..errors import BadParameter, BadPixels, MalformedBody, NotFound
from ..inference.classifier import Classifier
from ..serving.predictor import RawImage
from ..vision.normalize import SIDE
from .inference import check_count, infer, tensors_of
from .route import ProtocolRoute

MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
INFER_PATHS = tuple(f"{path}/infer" for path in MODEL_PATHS)
EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]
PLATFORM = "tensorflow_savedmodel"
JSON_LENGTH = "inference-header-content-length"
"""Header: bytes of the JSON where binary tensors follow it."""
IMAGES, IMAGE_BYTES = "images", "image_bytes"
NUMBER_TYPES = {"UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
"""Datatypes that `images` may have, and NumPy's names for them."""
BYTES = "BYTES"
LENGTH_BYTES = 4
"""Bytes of the length, least significant first, before each element of a binary BYTES tensor."""
MAX_ID_CHARACTERS = 1024
INPUTS = {IMAGES: ("UINT8", [-1, SIDE, SIDE]), IMAGE_BYTES: (BYTES, [-1])}
OUTPUTS = {
    "label": ("INT64", [-1]),
    "confidence": ("FP32", [-1]),
    "probabilities": ("FP32", [-1, 10]),
    "rejected": (BYTES, [-1]),
}
REPEATED = re.compile(r"'[\w.-]{1,128}'( version \d{1,18})?", re.ASCII)
"""A model and its version as an error repeats them; of other names, none could be ours."""
MAX_AXES = 4
LISTS_AROUND = 3
"""Lists in a document beside those of the images: its inputs, a shape, and the data itself."""
BINARY_BYTE_COST = 1 / 4
"""Cost of a byte of a binary tensor, in pixels: numbers are checked and rounded."""


class RequestedOutput(NamedTuple):
    """An output that is wanted, and in which form."""

    name: str
    is_binary: bool
    classes: int = 0
    """How many of the most probable digits, as text, in place of the numbers; 0: the numbers."""


@dataclass(frozen=True, slots=True)
class InferInputs:
    """What a request to infer holds."""

    images: list[RawImage]
    normalize: bool | None
    id: str | None
    outputs: list[RequestedOutput]


async def infer_images(request: Request) -> Response:
    """Read the images of a request."""
    services = services_of(request.scope)
    classifier = _served(request)
    json_bytes = _json_bytes(request)
    inputs, predictions = await infer(
        request,
        partial(read_inputs, json_bytes=json_bytes, max_images=services.settings.max_images),
        partial(_cost, json_bytes=json_bytes),
        classifier=classifier if "version" in request.path_params else None,
        json_bytes=json_bytes,
    )
    classifier = predictions.classifier
    document: dict[str, Any] = {
        "model_name": classifier.name,
        "model_version": classifier.version,
    }
    if inputs.id is not None:
        document["id"] = inputs.id
    tensors = tensors_of(predictions.items)
    return encode_outputs(document, inputs.outputs, tensors)


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
            "inputs": _described(INPUTS),
            "outputs": _described(OUTPUTS),
        }
    )


async def repository_index(request: Request) -> Response:
    """List the versions of the model."""
    services = services_of(request.scope)
    reason = services.health.unready_reason()
    state = {"state": "UNAVAILABLE" if reason else "READY", "reason": reason or ""}
    return json_response(
        [
            {"name": one.name, "version": one.version, **state}
            for one in services.registry.versions.values()
        ]
    )


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
    try:
        document, lists = load(text)
    except MalformedBody as error:
        raise MalformedBody(f"failed to parse the request JSON buffer: {error.detail}") from None
    tensor = _tensor(document)
    parameters = _parameters(document)
    identifier = document.get("id")
    if not isinstance(identifier, str | None) or len(identifier or "") > MAX_ID_CHARACTERS:
        raise MalformedBody(f"`id` is a string of at most {MAX_ID_CHARACTERS:,} characters.")
    requested = _plain(document.get("outputs"))
    outputs = _requested(requested, parameters)
    lists -= LISTS_AROUND + isinstance(requested, list)
    images = _images(tensor, lists, binary, max_images)
    return InferInputs(images, _flag(parameters, "normalize"), identifier, outputs)


def _tensor(document: Any) -> dict[str, Any]:
    """The fields of the one input; its shape is a list of Python's."""
    inputs = document.get("inputs") if isinstance(document, Object) else None
    first: Any = inputs[0] if isinstance(inputs, Array) and len(inputs) == 1 else None
    if isinstance(first, Object):
        match {name: first[name] for name in first} | {"shape": _plain(first.get("shape"))}:
            case {"name": str(), "shape": list(), "datatype": str()} as tensor:
                return tensor
    raise MalformedBody(
        "Expected `inputs`: a list of one tensor, with name, shape and datatype; it is "
        f"`{IMAGES}` or `{IMAGE_BYTES}`."
    )


def _plain(value: Any) -> Any:
    """A value of a document as Python has it."""
    if isinstance(value, Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, Array) else value


def encode_outputs(
    document: dict[str, Any],
    requested: Sequence[RequestedOutput],
    tensors: Mapping[str, NDArray[Any]],
) -> Response:
    """The response with these outputs: JSON, and the binary ones behind it.

    Args:
        document: What the response says beside its outputs.
        requested: The outputs, in order.
        tensors: All that there are, by name.
    """
    outputs, sections = [], []
    for name, is_binary, classes in requested:
        tensor, datatype = tensors[name], OUTPUTS[name][0]
        if classes:
            tensor, datatype = _classification(tensor, classes), BYTES
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": tensor.shape}
        if is_binary:
            section = _to_bytes(tensor)
            output["parameters"] = {"binary_data_size": len(section)}
            sections.append(section)
        else:
            flat = tensor.ravel()
            output["data"] = flat.tolist() if datatype == BYTES else flat
        outputs.append(output)
    text = encode(document | {"outputs": outputs})
    if not sections:
        return Response(text, media_type="application/json")
    headers = {JSON_LENGTH: str(len(text))}
    return Response(b"".join([text, *sections]), 200, headers, "application/octet-stream")


def _images(
    tensor: dict[str, Any], lists: int, binary: memoryview, max_images: int
) -> list[RawImage]:
    name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
    count = _count(name, datatype, shape)
    check_count(count, max_images)
    size = _parameters(tensor).get("binary_data_size")
    if size is None and not len(binary):
        images = _listed(tensor.get("data"), count, lists)
        _check_kinds(name, images)
        return images
    if size != len(binary) or isinstance(size, bool):
        raise MalformedBody(
            f"The binary tensors have {len(binary):,} bytes, `binary_data_size` says otherwise; "
            "Inference-Header-Content-Length is the length of the JSON before them."
        )
    return _elements(binary, count) if datatype == BYTES else _arrays(binary, datatype, count)


def _count(name: str, datatype: str, shape: list[Any]) -> int:
    """The number of images in a tensor."""
    if len(shape) > MAX_AXES or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise MalformedBody(f"A shape is a list of at most {MAX_AXES} whole numbers.")
    if name not in INPUTS:
        raise BadPixels(f"unexpected inference input; there are {', '.join(INPUTS)}")
    if name == IMAGES:
        fits = datatype in NUMBER_TYPES and shape[1:] in ([SIDE, SIDE], [SIDE, SIDE, 1])
    else:
        fits = datatype == BYTES and shape[1:] in ([], [1])
    if not (fits and shape):
        raise BadPixels(
            f"`{IMAGES}` is {', '.join(NUMBER_TYPES)} of shape [n,28,28] or [n,28,28,1]; "
            f"`{IMAGE_BYTES}` is {BYTES} of shape [n]."
        )
    return int(shape[0])


def _listed(data: Any, count: int, lists: int) -> list[RawImage]:
    """The images in a list of JSON: texts, or numbers that are nested or flat."""
    if not isinstance(data, Array):
        raise MalformedBody("An input has `data`, or a `binary_data_size`.")
    values: list[Any] = [_unwrapped(value) for value in data] if len(data) == count else []
    if values:
        return to_images(values, lists)
    if len(data) == count * SIDE * SIDE and not lists:
        numbers = flat(data, len(data), 0).reshape(count, SIDE, SIDE)
        return [to_levels(image, index) for index, image in enumerate(numbers)]
    raise MalformedBody(f"`data` has {len(data):,} entries, which is not as its shape says.")


def _unwrapped(value: Any) -> Any:
    """A text out of a tensor [n,1]; all else as it is."""
    only: Any = value[0] if isinstance(value, Array) and len(value) == 1 else None
    return only if isinstance(only, str) else value


def _elements(binary: memoryview, count: int) -> list[RawImage]:
    """The elements of a binary BYTES tensor: each has its length before it."""
    elements: list[RawImage] = []
    at = 0
    for _ in range(count):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(binary[at:start], "little")
        elements.append(bytes(binary[start:at]))
    if at != len(binary):
        raise MalformedBody(f"The binary tensor does not hold {count:,} elements of {BYTES}.")
    return elements


def _arrays(binary: memoryview, datatype: str, count: int) -> list[RawImage]:
    dtype = np.dtype(NUMBER_TYPES[datatype])
    expected = prod((count, SIDE, SIDE, dtype.itemsize))
    if len(binary) != expected:
        raise MalformedBody(
            f"The binary tensor has {len(binary):,} bytes; by its shape and datatype it would have "
            f"{expected:,}."
        )
    numbers = np.frombuffer(binary, dtype).reshape(count, SIDE, SIDE)
    # In float64, as numbers in JSON are: the same levels by either way. Signaling NaNs would warn.
    with np.errstate(invalid="ignore"):
        numbers = numbers.astype(np.float64) if numbers.dtype.kind == "f" else numbers
        return [to_levels(image, index) for index, image in enumerate(numbers)]


def _check_kinds(name: str, images: Sequence[RawImage]) -> None:
    for index, image in enumerate(images):
        if isinstance(image, bytes) != (name == IMAGE_BYTES):
            raise BadPixels(f"Image {index} is not of its tensor's datatype.")
        if not isinstance(image, bytes) and image.shape != (SIDE, SIDE):
            height, width = image.shape
            raise BadPixels(f"Image {index} is {height}×{width}; `{IMAGES}` are {SIDE}×{SIDE}.")


def _requested(outputs: Any, parameters: dict[str, Any]) -> list[RequestedOutput]:
    """The outputs that are asked for; without a list, all."""
    all_binary = _flag(parameters, "binary_data_output") or False
    match outputs:
        case None | []:
            return [RequestedOutput(name, all_binary) for name in OUTPUTS]
        case list() if len(outputs) <= len(OUTPUTS):
            return [_output(output, all_binary) for output in outputs]
        case _:
            raise MalformedBody(f"`outputs` is a list of at most {len(OUTPUTS)} outputs.")


def _output(output: Any, all_binary: bool) -> RequestedOutput:
    name = output.get("name") if isinstance(output, dict) else None
    if not isinstance(name, str) or name not in OUTPUTS:
        raise MalformedBody(f"unexpected inference output; there are {', '.join(OUTPUTS)}")
    parameters = _parameters(output)
    binary = _flag(parameters, "binary_data")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0 or (classes and name != "probabilities"):
        raise BadParameter("`classification` is a number of digits, and of `probabilities` alone.")
    return RequestedOutput(name, all_binary if binary is None else binary, classes)


def _parameters(holder: Mapping[str, Any]) -> dict[str, Any]:
    parameters = _plain(holder.get("parameters"))
    if not isinstance(parameters, dict | None):
        raise MalformedBody("`parameters` is an object.")
    return parameters or {}


def _flag(parameters: dict[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if not isinstance(value, bool | None):
        raise BadParameter(f"`{name}` is true or false.")
    return value


def _classification(probabilities: NDArray[np.float32], classes: int) -> NDArray[Any]:
    """The most probable digits [n,classes] as `value:digit`, the most probable first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :classes]
    texts = [
        [f"{row[digit]:f}:{digit}" for digit in digits]
        for row, digits in zip(probabilities, order, strict=True)
    ]
    return np.array(texts, object)


def _to_bytes(tensor: NDArray[Any]) -> bytes:
    if tensor.dtype != object:
        return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
    elements = [text.encode() for text in tensor.ravel()]
    return b"".join(
        part for one in elements for part in (len(one).to_bytes(LENGTH_BYTES, "little"), one)
    )


def _json_bytes(request: Request) -> int | None:
    text = request.headers.get(JSON_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
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
    name, version = request.path_params["model"], request.path_params.get("version")
    if name == registry.live.name:
        if version is None:
            return registry.live
        if found := registry.versions.get(version) or registry.labels.get(version):
            return found
    wanted = f"'{name}'" if version is None else f"'{name}' version {version}"
    if not REPEATED.fullmatch(wanted):
        wanted = "its name"
    raise NotFound(f"Request for unknown model: {wanted} is not found")


def _ready(request: Request, content: dict[str, Any]) -> Response:
    reason = services_of(request.scope).health.unready_reason()
    if reason is None:
        return json_response(content | {"ready": True})
    return json_response(content | {"ready": False, "error": reason}, status=503)


def _described(tensors: dict[str, tuple[str, list[int]]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in tensors.items()
    ]
