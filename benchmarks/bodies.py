"""Request bodies: an encoded image in the form in which a server takes it."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BOUNDARY = "digits-benchmark"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, and the headers that describe it."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, host: str, target: str) -> bytes:
        """Return the whole HTTP/1.1 request that posts this body to a target."""
        headers = {"host": host, "content-length": str(len(self.data)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode() + self.data


Form = Callable[[bytes], Body]
"""Puts an encoded image into a request body."""


def media_type(file: bytes) -> str:
    """Return the media type of a PNG, JPEG, WebP, GIF or BMP by its first bytes."""
    if file[:4] == b"RIFF":
        return "image/webp"
    signatures = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"GI": "gif", b"BM": "bmp"}
    return f"image/{signatures[file[:2]]}"


def multipart(*files: bytes, fields: Sequence[tuple[str, bytes]] = ()) -> Body:
    """Return a form with images in fields `file`, as browsers and `curl -F` send them."""
    parts = [
        (f'name="file"; filename="{number}"\r\nContent-Type: {media_type(file)}', file)
        for number, file in enumerate(files)
    ]
    parts += [(f'name="{name}"', value) for name, value in fields]
    data = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for head, content in parts
    )
    return Body(
        data + f"--{BOUNDARY}--\r\n".encode(),
        {"content-type": f"multipart/form-data; boundary={BOUNDARY}"},
    )


def raw(file: bytes) -> Body:
    """Return a body that is the image itself."""
    return Body(file, {"content-type": media_type(file)})


def instances(file: bytes) -> Body:
    """Return KServe's first protocol, which is TensorFlow Serving's: the image in base64."""
    return as_json({"instances": [{"b64": base64.b64encode(file).decode()}]})


def tensor(file: bytes) -> Body:
    """Return the open inference protocol in JSON: a tensor of the image in base64."""
    image = {"name": "file", "shape": [1, 1], "datatype": "BYTES"}
    return as_json({"inputs": [image | {"data": [base64.b64encode(file).decode()]}]})


def binary_tensor(file: bytes) -> Body:
    """Return the open inference protocol with the image's bytes behind the JSON.

    Triton's clients send tensors so (the protocol's binary data extension).
    """
    content = struct.pack("<I", len(file)) + file
    image = {"name": "file", "shape": [1, 1], "datatype": "BYTES"}
    head = json.dumps(
        {
            "inputs": [image | {"parameters": {"binary_data_size": len(content)}}],
            "outputs": [{"name": name} for name in ("label", "probabilities")],
        }
    ).encode()
    return Body(
        head + content,
        {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(head)),
        },
    )


def arrays(images: NDArray[np.uint8], count: int) -> Body:
    """Return `count` images, taken in turn from `images` [n,28,28], as numbers in JSON."""
    return as_json({"images": np.resize(images, (count, 28, 28)).tolist()})


def as_json(document: object) -> Body:
    """Return a JSON document as a body, without spaces, as browsers write it."""
    return Body(json.dumps(document, separators=(",", ":")).encode(), JSON)
