"""Bodies carry the image unchanged, whatever form a server takes it in."""

from __future__ import annotations

import base64
import json
import struct
from email import message_from_bytes
from email.message import Message

import numpy as np
import pytest

from benchmarks import bodies
from benchmarks.bodies import Body

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def parts(body: Body) -> list[Message]:
    """Return a form's parts, by the standard library's parser."""
    head = f"Content-Type: {body.headers['content-type']}\r\n\r\n".encode()
    payload = message_from_bytes(head + body.data).get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def test_form_has_files_and_fields() -> None:
    found = parts(bodies.multipart(PNG, b"\xff\xd8jpeg", fields=[("note", b"hello")]))
    assert [part.get_payload(decode=True) for part in found] == [PNG, b"\xff\xd8jpeg", b"hello"]
    types = [part.get_content_type() for part in found]
    assert types == ["image/png", "image/jpeg", "text/plain"]
    names = [part.get_param("name", header="content-disposition") for part in found]
    assert names == ["file", "file", "note"]


def test_base64_forms_hold_the_file() -> None:
    instances = json.loads(bodies.instances(PNG).data)["instances"]
    tensor = json.loads(bodies.tensor(PNG).data)["inputs"][0]["data"]
    assert base64.b64decode(instances[0]["b64"]) == base64.b64decode(tensor[0]) == PNG


def test_binary_tensor_follows_its_header() -> None:
    body = bodies.binary_tensor(PNG)
    length = int(body.headers["inference-header-content-length"])
    header, content = json.loads(body.data[:length]), body.data[length:]
    assert header["inputs"][0]["parameters"]["binary_data_size"] == len(content)
    assert content == struct.pack("<I", len(PNG)) + PNG


def test_arrays_are_taken_in_turn() -> None:
    images = np.arange(3, dtype=np.uint8)[:, None, None] + np.zeros((1, 28, 28), np.uint8)
    sent = json.loads(bodies.arrays(images, 5).data)["images"]
    assert [image[0][0] for image in sent] == [0, 1, 2, 0, 1]


def test_request_is_whole() -> None:
    request = bodies.raw(PNG).request("localhost:80", "/predict")
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == PNG
    assert head.startswith(b"POST /predict HTTP/1.1\r\nhost: localhost:80\r\n")
    assert f"content-length: {len(PNG)}".encode() in head


@pytest.mark.parametrize(
    ("file", "expected"),
    [(b"RIFF....WEBP", "webp"), (b"GIF89a", "gif"), (b"BM..", "bmp"), (PNG, "png")],
)
def test_media_type_is_told_by_the_first_bytes(file: bytes, expected: str) -> None:
    assert bodies.media_type(file) == f"image/{expected}"
