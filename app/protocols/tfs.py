"""TensorFlow Serving's REST API, of which KServe's V1 protocol is a part.

Images come as rows (`instances`) or as a column (`inputs`): numbers, or `{"b64": …}` of a file.
Source: https://www.tensorflow.org/tfx/serving/api_rest, and for the wording of errors, which
clients look at, `http_rest_api_handler.cc` and `json_tensor.cc` of tensorflow/serving.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from simdjson import Array, Object
from starlette.requests import Request
from starlette.responses import Response

from ..api.formats import json_cost
from ..api.formats.pixels import fields_of, load, to_images
from ..api.response import json_response
from ..api.services import services_of
from ..errors import BadPixels, BadRequest, MalformedBody, NotFound
from ..inference.classifier import Classifier
from ..inference.registry import ModelRegistry
from ..serving.predictions import Predictions
from ..serving.predictor import RawImages
from ..vision.digit import SIDE
from .inference import TENSORS, check_count, infer
from .route import ProtocolRoute

TARGET = re.compile(r"([\w.-]{1,128})(?:/versions/(\d{1,18})|/labels/([\w.-]{1,128}))?", re.ASCII)
"""A model, and its version by number or label; of other names, none could be ours."""
SIGNATURE = "serving_default"
INPUT_NAMES = ("images", "image_bytes")
"""Names that the one input goes by: the signature's, and that which files have elsewhere."""
INPUT_TYPE = ("DT_UINT8", (-1, SIDE, SIDE))
OUTPUT_TYPES = {
    "label": ("DT_INT64", (-1,)),
    "confidence": ("DT_FLOAT", (-1,)),
    "probabilities": ("DT_FLOAT", (-1, 10)),
    "rejected": ("DT_STRING", (-1,)),
}
PREDICT_PATHS = ("/v1/models/{target:path}:predict",)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ADDRESSES = "/v1/models/MODEL[/versions/VERSION|/labels/LABEL][:predict|/metadata]"


class Target(NamedTuple):
    """The model that a path names, and its version where it names that."""

    name: str
    version: int | None
    label: str | None

    @property
    def is_specific(self) -> bool:
        """Whether it names a version, rather than that which is live when it is asked."""
        return (self.version, self.label) != (None, None)

    def find(self, registry: ModelRegistry) -> Classifier | None:
        """The version that is named, else the live one; None where there is no such model.

        Raises:
            BadRequest: no version has that label.
        """
        if self.name != registry.live.name:
            return None
        if self.label is not None:
            try:
                return registry.labels[self.label]
            except KeyError:
                raise BadRequest(f"Unrecognized servable version label: {self.label}") from None
        return registry.live if self.version is None else registry.versions.get(str(self.version))


@dataclass(frozen=True, slots=True)
class PredictInputs:
    """What a request to predict holds."""

    images: RawImages
    is_columnar: bool
    normalize: bool | None = None


async def predict(request: Request) -> Response:
    """Read the images of a request."""
    services = services_of(request.scope)
    target = _target(request)
    classifier = _served(target, services.registry)
    read = partial(read_inputs, max_images=services.settings.max_images)
    named = classifier if target.is_specific else None
    inputs, predictions = await infer(request, read, json_cost, classifier_of=lambda _: named)
    return json_response(_answer(predictions, is_columnar=inputs.is_columnar))


async def status(request: Request) -> Response:
    """Say which versions are served, and whether they are ready, as KServe's clients ask."""
    services = services_of(request.scope)
    target, registry = _target(request), services.registry
    named = target.find(registry)
    if named is None:
        version = "any versions" if target.version is None else f"version {target.version}"
        raise NotFound(f"Could not find {version} of model {target.name}")
    return json_response(
        {
            "name": named.name,
            "ready": services.health.unready_reason() is None,
            "model_version_status": [
                {
                    "version": version,
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for version in ([named.version] if target.is_specific else registry.versions)
            ],
        }
    )


async def metadata(request: Request) -> Response:
    """Describe the inputs and outputs."""
    classifier = _served(_target(request), services_of(request.scope).registry)
    signature = {
        "inputs": {INPUT_NAMES[0]: _tensor_info(INPUT_NAMES[0], *INPUT_TYPE)},
        "outputs": {name: _tensor_info(name, *kind) for name, kind in OUTPUT_TYPES.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return json_response(
        {
            "model_spec": {
                "name": classifier.name,
                "signature_name": "",
                "version": classifier.version,
            },
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        }
    )


async def models(request: Request) -> Response:
    """List the models, as KServe does."""
    return json_response({"models": [services_of(request.scope).registry.live.name]})


async def malformed(request: Request) -> Response:
    """Refuse what is none of the API's addresses."""
    raise BadRequest(f"Malformed request: {request.method}; there is {ADDRESSES}.")


routes = [
    *(ProtocolRoute(path, predict, methods=["POST"]) for path in PREDICT_PATHS),
    ProtocolRoute("/v1/models/{target:path}/metadata", metadata),
    ProtocolRoute("/v1/models/{target:path}", status),
    ProtocolRoute("/v1/models", models),
    ProtocolRoute("/v1/{rest:path}", malformed, methods=METHODS),
]


def read_inputs(body: bytes, *, max_images: int) -> PredictInputs:
    """The images in a body, in order.

    Raises:
        MalformedBody: it is no document of this API.
        EmptyBatch, TooManyImages: there are none, or more than `max_images`.
        BadPixels: an image is none.
    """
    try:
        document, lists = load(body)
    except MalformedBody as error:
        raise MalformedBody(f"JSON Parse error: {error.detail}") from None
    if not isinstance(document, Object):
        raise MalformedBody("JSON Value: Is not object")
    fields = fields_of(document)
    if fields.get("signature_name", SIGNATURE) not in ("", SIGNATURE):
        raise MalformedBody(f'Serving signature name: not found; there is "{SIGNATURE}".')
    values = _values(fields)
    check_count(len(values), max_images)
    _refuse_rows(values, "inputs" if "inputs" in fields else "instances")
    images = [_image(_named(value), index) for index, value in enumerate(values)]
    return PredictInputs(to_images(images, lists - 1), is_columnar="inputs" in fields)


def _values(fields: dict[str, Any]) -> Array:
    """The list of images in a document's fields."""
    keys = {"instances", "inputs"} & fields.keys()
    if len(keys) == 2:
        raise MalformedBody(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in keys:
        values = fields["instances"]
        if not isinstance(values, Array):
            raise MalformedBody("Excepting 'instances' to be an list/array")
    elif "inputs" in keys:
        values = _named(fields["inputs"])
        if not isinstance(values, Array):
            raise MalformedBody("'inputs' is a list of images, also for one of them.")
    else:
        raise MalformedBody("Missing 'inputs' or 'instances' key")
    return values


def _refuse_rows(values: Array, key: str) -> None:
    """Refuse the rows of a single image, which stand where images are to stand."""
    first: Any = values[0]
    is_row = isinstance(first, Array) and len(first) not in (0, SIDE * SIDE)
    if is_row and isinstance(first[0], int | float):
        raise BadPixels(
            f"`{key}` is a list of images, and a single one is in a list, too: here are rows alone."
        )


def _named(value: Any) -> Any:
    """The value of the one input, where it is given by its name."""
    if not isinstance(value, Object) or "b64" in value:
        return value
    match list(value):
        case [name] if name in INPUT_NAMES:
            return value[name]
        case _:
            raise MalformedBody(
                f"JSON object: does not have named input: {INPUT_NAMES[0]}, and it alone"
            )


def _image(value: Any, index: int) -> Any:
    """The text of a file that is given as such; all else as it is."""
    if not isinstance(value, Object):
        return value
    if list(value) == ["b64"] and isinstance(text := value["b64"], str):
        return text
    raise BadPixels(f'Image {index} is an object; there is {{"b64": "…"}}.')


def _answer(predictions: Predictions, *, is_columnar: bool) -> dict[str, Any]:
    columns = {name: tensor(predictions) for name, tensor in TENSORS.items()}
    columns["rejected"] = columns["rejected"].tolist()
    if is_columnar:
        return {"outputs": columns}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def _target(request: Request) -> Target:
    match = TARGET.fullmatch(request.path_params["target"])
    if match is None:
        raise BadRequest(f"Malformed request: {request.method}; there is {ADDRESSES}.")
    name, version, label = match.groups()
    return Target(name, None if version is None else int(version), label)


def _served(target: Target, registry: ModelRegistry) -> Classifier:
    classifier = target.find(registry)
    if classifier is None:
        name, version, _ = target
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {wanted}")
    return classifier


def _tensor_info(name: str, dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {
        "dtype": dtype,
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": f"{SIGNATURE}_{name}:0",
    }
