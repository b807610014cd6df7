"""What the benchmarks send: request bodies made from a version's golden inputs.

Every peer gets the same images; in a multipart form where it takes one, else in the form that it
reads best.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.normalize import normalize

BOUNDARY = "digits-benchmark"
SURE = 0.9
HOLES = 0.3
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, and the headers that say what it is."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)


def digits(model: Path) -> NDArray[np.uint8]:
    """A version's golden inputs [n,28,28] less those that are no digits, as MNIST would have them:
    so the service and those who take an image as it is should give the same answers. The last is
    the second again, with holes: a model that looks twice at what it is not sure of does so at one
    in some twenty, as of MNIST's test digits."""
    with np.load(model / "golden.npz") as golden:
        drawn = golden["digit_score"] > SURE
        images = [image for image in golden["images"][drawn] if image.any()]
    holes = np.random.default_rng(0).random((28, 28)) < HOLES
    seen = [normalize(image).digit for image in images]
    return np.stack([*seen, normalize(np.where(holes, 0, seen[1])).digit])


def png(image: Image) -> bytes:
    """[h,w] grey or [h,w,4] as a PNG file."""
    return cv2.imencode(".png", image)[1].tobytes()


def canvas(digit: Image) -> Image:
    """The digit as a page's canvas sends it: black ink on nothing, 280×280 RGBA."""
    enlarged = cv2.resize(digit, (280, 280), interpolation=cv2.INTER_CUBIC)
    return np.dstack([np.zeros((280, 280, 3), np.uint8), enlarged])


def multipart(file: bytes) -> Body:
    """A form with the image as its one file."""
    head = (
        f"--{BOUNDARY}\r\ncontent-disposition: form-data; name=file; filename=digit.png\r\n"
        "content-type: image/png\r\n\r\n"
    ).encode()
    data = head + file + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Body(data, {"content-type": f"multipart/form-data; boundary={BOUNDARY}"})


def raw(file: bytes) -> Body:
    """The image is the body."""
    return Body(file, {"content-type": "image/png"})


def instances(file: bytes) -> Body:
    """TensorFlow Serving's and KServe's first protocol."""
    return _json({"instances": [{"b64": base64.b64encode(file).decode()}]})


def tensor(file: bytes) -> Body:
    """The open inference protocol: one tensor of bytes."""
    one = {"name": "file", "shape": [1, 1], "datatype": "BYTES"}
    return _json({"inputs": [one | {"data": [base64.b64encode(file).decode()]}]})


def arrays(digits: NDArray[np.uint8], count: int) -> Body:
    """So many 28×28 images as numbers in JSON."""
    return _json({"images": np.resize(digits, (count, 28, 28)).tolist()})


def _json(document: object) -> Body:
    return Body(json.dumps(document).encode(), {"content-type": "application/json"})
