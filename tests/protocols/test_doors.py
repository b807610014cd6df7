"""The same digits by every way in give the same bits."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.conftest import png
from tests.faults.server import Server

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
TFS = "/v1/models/digits:predict"
OIP = "/v2/models/digits/infer"
PROBABILITIES = {"name": "probabilities"}
LENGTH = "inference-header-content-length"


def drawn() -> Images:
    """A one, a zero, a seven, a blank and a frame, none where MNIST would have put it."""
    images = np.zeros((5, 28, 28), np.uint8)
    images[0, 3:20, 5:8] = 180
    images[1, 8:24, 9:21] = 255
    images[1, 11:21, 12:18] = 0
    images[2, 2:5, 4:18] = 90
    images[2, 4:20, 15:18] = 90
    images[4, 1:27, 1:27] = np.arange(26) * 9
    return images


def wanted(client: httpx.Client, images: Images) -> Probabilities:
    answer = client.post("/predict", json={"images": images.tolist()}).json()
    return np.array([one["probabilities"] for one in answer["predictions"]], np.float32)


def as_files(client: httpx.Client, images: Images) -> Any:
    files = [("file", ("a.png", png(image), "image/png")) for image in images]
    answer = client.post("/predict", files=files).json()
    return [one["probabilities"] for one in answer["predictions"]]


def as_rows(client: httpx.Client, images: Images) -> Any:
    answer = client.post(TFS, json={"instances": images.tolist()}).json()
    return [one["probabilities"] for one in answer["predictions"]]


def as_named_shares(client: httpx.Client, images: Images) -> Any:
    instances = [{"images": (image / 255).tolist()} for image in images]
    answer = client.post(TFS, json={"instances": instances}).json()
    return [one["probabilities"] for one in answer["predictions"]]


def as_b64(client: httpx.Client, images: Images) -> Any:
    instances = [{"b64": base64.b64encode(png(image)).decode()} for image in images]
    answer = client.post(TFS, json={"instances": instances}).json()
    return [one["probabilities"] for one in answer["predictions"]]


def as_a_column(client: httpx.Client, images: Images) -> Any:
    answer = client.post(TFS, json={"inputs": {"images": images.tolist()}}).json()
    return answer["outputs"]["probabilities"]


def infer(client: httpx.Client, one: dict[str, Any], section: bytes = b"", **headers: str) -> Any:
    """The probabilities that the Open Inference Protocol gives, as a binary tensor."""
    if section:
        one["parameters"] = {"binary_data_size": len(section)}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    text = json.dumps({"inputs": [one], "outputs": outputs}).encode()
    headers |= {LENGTH: str(len(text))}
    body = text + section
    if headers.get("content-encoding") == "gzip":
        body = gzip.compress(body)
    response = client.post(OIP, content=body, headers=headers)
    assert response.status_code == 200, response.text
    return np.frombuffer(response.content[int(response.headers[LENGTH]) :], "<f4").reshape(-1, 10)


def as_a_tensor(client: httpx.Client, images: Images) -> Any:
    shape = [*images.shape]
    data = images.ravel().tolist()
    return infer(client, {"name": "images", "shape": shape, "datatype": "UINT8", "data": data})


def as_bytes(client: httpx.Client, images: Images) -> Any:
    one = {"name": "images", "shape": [*images.shape], "datatype": "UINT8"}
    return infer(client, one, images.tobytes())


def as_floats(client: httpx.Client, images: Images) -> Any:
    one = {"name": "images", "shape": [*images.shape, 1], "datatype": "FP32"}
    return infer(client, one, (images.astype(np.float32) / 255).tobytes())


def as_compressed_floats(client: httpx.Client, images: Images) -> Any:
    one = {"name": "images", "shape": [*images.shape], "datatype": "FP32"}
    section = images.astype("<f4").tobytes()
    return infer(client, one, section, **{"content-encoding": "gzip"})


def as_binary_files(client: httpx.Client, images: Images) -> Any:
    files = [png(image) for image in images]
    section = b"".join(struct.pack("<I", len(file)) + file for file in files)
    return infer(
        client, {"name": "image_bytes", "shape": [len(files)], "datatype": "BYTES"}, section
    )


def as_texts(client: httpx.Client, images: Images) -> Any:
    data = [base64.b64encode(png(image)).decode() for image in images]
    shape = [len(data)]
    one = {"name": "image_bytes", "shape": shape, "datatype": "BYTES", "data": data}
    return infer(client, one)


def as_json(client: httpx.Client, images: Images) -> Any:
    shape = [*images.shape]
    one = {"name": "images", "shape": shape, "datatype": "UINT8", "data": images.tolist()}
    answer = client.post(OIP, json={"inputs": [one]}).json()
    [output] = [output for output in answer["outputs"] if output["name"] == "probabilities"]
    return np.array(output["data"]).reshape(output["shape"])


DOORS = (
    as_files,
    as_rows,
    as_named_shares,
    as_b64,
    as_a_column,
    as_a_tensor,
    as_bytes,
    as_floats,
    as_compressed_floats,
    as_binary_files,
    as_texts,
    as_json,
)


def call(stub: Any, tensor: dict[str, Any], *raw: bytes) -> Any:
    """The probabilities that a gRPC call gives, in the form in which its images went."""
    request = messages.ModelInferRequest(
        model_name="digits", inputs=[tensor], raw_input_contents=raw, outputs=[PROBABILITIES]
    )
    answer = stub.ModelInfer(request, timeout=60)
    numbers = (
        np.frombuffer(answer.raw_output_contents[0], "<f4")
        if raw
        else np.array(answer.outputs[0].contents.fp32_contents, np.float32)
    )
    return numbers.reshape(answer.outputs[0].shape)


def as_raw_bytes(stub: Any, images: Images) -> Any:
    tensor = {"name": "images", "shape": images.shape, "datatype": "UINT8"}
    return call(stub, tensor, images.tobytes())


def as_raw_floats(stub: Any, images: Images) -> Any:
    tensor = {"name": "images", "shape": [*images.shape, 1], "datatype": "FP32"}
    return call(stub, tensor, (images / 255).astype("<f4").tobytes())


def as_typed_bytes(stub: Any, images: Images) -> Any:
    contents = {"uint_contents": images.ravel().tolist()}
    tensor = {"name": "images", "shape": images.shape, "datatype": "UINT8", "contents": contents}
    return call(stub, tensor)


def as_typed_floats(stub: Any, images: Images) -> Any:
    contents = {"fp64_contents": (images / 255).ravel().tolist()}
    tensor = {"name": "images", "shape": images.shape, "datatype": "FP64", "contents": contents}
    return call(stub, tensor)


def as_raw_files(stub: Any, images: Images) -> Any:
    files = [png(image) for image in images]
    section = b"".join(struct.pack("<I", len(file)) + file for file in files)
    return call(stub, {"name": "image_bytes", "shape": [len(files)], "datatype": "BYTES"}, section)


def as_typed_files(stub: Any, images: Images) -> Any:
    tensor = {"name": "image_bytes", "shape": [len(images)], "datatype": "BYTES"}
    return call(stub, tensor | {"contents": {"bytes_contents": [png(one) for one in images]}})


CALLS = (
    as_raw_bytes,
    as_raw_floats,
    as_typed_bytes,
    as_typed_floats,
    as_raw_files,
    as_typed_files,
)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_the_same_digits_have_the_same_probabilities(
    shipped: Server, door: Callable[[httpx.Client, Images], Any]
) -> None:
    images = drawn()
    with httpx.Client(base_url=f"http://127.0.0.1:{shipped.port}", timeout=60) as client:
        expected = wanted(client, images)
        assert expected.shape == (5, 10)
        assert len(np.unique(expected.argmax(axis=1))) > 1
        assert np.asarray(door(client, images), np.float32).tobytes() == expected.tobytes()


@pytest.mark.parametrize("door", CALLS, ids=lambda door: door.__name__)
def test_the_same_digits_have_the_same_probabilities_by_grpc(
    shipped: Server, door: Callable[[Any, Images], Any]
) -> None:
    images = drawn()
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{shipped.port}", timeout=60) as client,
        grpc.insecure_channel(f"127.0.0.1:{shipped.grpc_port}") as channel,
    ):
        found = door(GRPCInferenceServiceStub(channel), images)
        assert found.tobytes() == wanted(client, images).tobytes()
