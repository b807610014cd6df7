"""What the Open Inference Protocol says of tensors and models, however they travel.

Source: https://github.com/kserve/open-inference-protocol, and Triton's extensions in
`docs/protocol` of triton-inference-server/server.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..api.formats.pixels import to_levels
from ..api.services import Services
from ..errors import BadParameter, BadPixels, MalformedBody, NotFound
from ..inference.classifier import Classifier, Images
from ..inference.registry import ModelRegistry
from ..serving.predictions import Predictions
from ..serving.predictor import ARRAYS_A_PLACE, RawImage, RawImages
from ..vision.digit import SIDE
from .inference import TENSORS

EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]
PLATFORM = "tensorflow_savedmodel"
IMAGES, IMAGE_BYTES = "images", "image_bytes"
NUMBER_TYPES = {"UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
"""Datatypes that `images` may have, and NumPy's names for them."""
WHOLE_TYPES = ("UINT8", "INT32", "INT64")
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
PART_IMAGES = 64
"""Images whose numbers become gray levels together: their float64 copies fit a core's cache."""
BINARY_BYTE_COST = 1 / 4
"""Cost of a byte of a binary tensor, in pixels: numbers are checked and rounded."""


class RequestedOutput(NamedTuple):
    """An output that is wanted, and in which form."""

    name: str
    is_binary: bool
    classes: int = 0
    """How many of the most probable digits, as text, in place of the numbers; 0: the numbers."""


class Output(NamedTuple):
    """An output as it is sent."""

    name: str
    datatype: str
    is_binary: bool
    tensor: NDArray[Any]


@dataclass(frozen=True, slots=True)
class InferInputs:
    """What a request to infer holds."""

    images: RawImages
    normalize: bool | None
    id: str | None
    outputs: list[RequestedOutput]


def find(registry: ModelRegistry, name: str, version: str | None) -> Classifier:
    """The version that is named, by number or label, else the live one.

    Raises:
        NotFound: there is none.
    """
    if name == registry.live.name:
        if version is None:
            return registry.live
        if found := registry.versions.get(version) or registry.labels.get(version):
            return found
    wanted = f"'{name}'" if version is None else f"'{name}' version {version}"
    if not REPEATED.fullmatch(wanted):
        wanted = "its name"
    raise NotFound(f"Request for unknown model: {wanted} is not found")


def repository(services: Services, *, ready: bool = False) -> list[dict[str, str]]:
    """The versions of the model, and whether they answer; those alone that do, where `ready`."""
    reason = services.health.unready_reason()
    if ready and reason:
        return []
    state = {"state": "UNAVAILABLE" if reason else "READY", "reason": reason or ""}
    return [
        {"name": one.name, "version": one.version, **state}
        for one in services.registry.versions.values()
    ]


def described(tensors: Mapping[str, tuple[str, list[int]]]) -> list[dict[str, Any]]:
    """Tensors as the metadata of a model has them."""
    return [
        {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in tensors.items()
    ]


def check_id(identifier: Any) -> str | None:
    """The name that a request gives itself, if it does.

    Raises:
        MalformedBody: it is none.
    """
    if isinstance(identifier, str | None) and len(identifier or "") <= MAX_ID_CHARACTERS:
        return identifier
    raise MalformedBody(f"`id` is a string of at most {MAX_ID_CHARACTERS:,} characters.")


def count_of(name: str, datatype: str, shape: list[Any]) -> int:
    """The number of images in a tensor.

    Raises:
        MalformedBody: the shape is none.
        BadPixels: it is no tensor that is read.
    """
    if len(shape) > MAX_AXES or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise MalformedBody(
            f"A shape is a list of at most {MAX_AXES} whole numbers, none of them below 0."
        )
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


def most_images(datatype: str, max_images: int) -> int:
    """Images that a tensor may have which is no text: by their cost, more arrays than files."""
    return max_images if datatype == BYTES else max_images * ARRAYS_A_PLACE


def binary_images(binary: memoryview, datatype: str, count: int) -> RawImages:
    """The `count` images in a tensor as bytes.

    Raises:
        MalformedBody: it has more or fewer bytes.
        BadPixels: a number of it is no level.
    """
    return _elements(binary, count) if datatype == BYTES else _arrays(binary, datatype, count)


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


def _arrays(binary: memoryview, datatype: str, count: int) -> Images:
    dtype = np.dtype(NUMBER_TYPES[datatype])
    expected = prod((count, SIDE, SIDE, dtype.itemsize))
    if len(binary) != expected:
        raise MalformedBody(
            f"The binary tensor has {len(binary):,} bytes; by its shape and datatype it would have "
            f"{expected:,}."
        )
    return levels_of(np.frombuffer(binary, dtype), count)


def levels_of(numbers: NDArray[Any], count: int) -> Images:
    """All numbers of `count` images, one after the other, as gray levels [n,28,28].

    Raises:
        BadPixels: a number is no level; it says of which image.
    """
    numbers = numbers.reshape(count, SIDE, SIDE)
    if numbers.dtype.kind != "f":
        return to_levels(numbers, 0)
    levels = np.empty(numbers.shape, np.uint8)
    # In float64, as numbers in JSON are: the same levels by either way. Signaling NaNs would warn.
    with np.errstate(invalid="ignore"):
        for start in range(0, count, PART_IMAGES):
            part = numbers[start : start + PART_IMAGES].astype(np.float64)
            levels[start : start + PART_IMAGES] = to_levels(part, start)
    return levels


def requested_outputs(outputs: Any, parameters: dict[str, Any]) -> list[RequestedOutput]:
    """The outputs that are asked for; without a list, all.

    Raises:
        MalformedBody: one of them is none.
        BadParameter: a parameter is not acceptable.
    """
    all_binary = flag(parameters, "binary_data_output") or False
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
    parameters = parameters_of(output.get("parameters"))
    binary = flag(parameters, "binary_data")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0 or (classes and name != "probabilities"):
        raise BadParameter("`classification` is a number of digits, and of `probabilities` alone.")
    return RequestedOutput(name, all_binary if binary is None else binary, classes)


def parameters_of(parameters: Any) -> dict[str, Any]:
    """The parameters of a request, a tensor or an output; none where it has none.

    Raises:
        MalformedBody: they are no object.
    """
    if parameters is None:
        return {}
    if isinstance(parameters, dict):
        return parameters
    raise MalformedBody("`parameters` is an object.")


def flag(parameters: dict[str, Any], name: str) -> bool | None:
    """Whether a parameter is set; None where it is not there.

    Raises:
        BadParameter: it is neither true nor false.
    """
    value = parameters.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise BadParameter(f"`{name}` is true or false.")


def outputs_of(requested: Sequence[RequestedOutput], predictions: Predictions) -> Iterator[Output]:
    """The outputs that were asked for, in order."""
    for name, is_binary, classes in requested:
        tensor, datatype = TENSORS[name](predictions), OUTPUTS[name][0]
        if classes:
            tensor, datatype = _classification(tensor, classes), BYTES
        yield Output(name, datatype, is_binary, tensor)


def _classification(probabilities: NDArray[np.float32], classes: int) -> NDArray[Any]:
    """The most probable digits [n,classes] as `value:digit`, the most probable first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :classes]
    texts = [
        [f"{row[digit]:f}:{digit}" for digit in digits]
        for row, digits in zip(probabilities, order, strict=True)
    ]
    return np.array(texts, object)


def to_bytes(tensor: NDArray[Any]) -> bytes:
    """A tensor in binary."""
    if tensor.dtype != object:
        return (tensor if sys.byteorder == "little" else tensor.byteswap()).tobytes()
    elements = [text.encode() for text in tensor.ravel()]
    return b"".join(
        part for one in elements for part in (len(one).to_bytes(LENGTH_BYTES, "little"), one)
    )
