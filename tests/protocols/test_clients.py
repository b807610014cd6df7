"""Other people's clients, as they are published."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import ROOT, spoken
from tests.faults.server import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is made for pydantic's first version
    from open_inference.openapi.client import (
        BadRequestError,
        InferenceRequest,
        NotFoundError,
        OpenInferenceClient,
    )

EXAMPLES = ("three.png", "five.png", "seven.jpg")
LABELS = [3, 5, 7]
OUTPUTS = ("label", "confidence", "probabilities", "rejected")


@pytest.fixture
def client(shipped: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{shipped.port}") as client:
        yield client


def files() -> Any:
    """The pictures of the documentation as an input."""
    contents = [(ROOT / "docs" / "examples" / name).read_bytes() for name in EXAMPLES]
    one = triton.InferInput("image_bytes", [len(contents)], "BYTES")
    return one.set_data_from_numpy(np.array(contents, object))


def arrays(*, binary: bool = True, datatype: str = "UINT8") -> Any:
    dtype = np.uint8 if datatype == "UINT8" else np.float32
    images = np.zeros((2, 28, 28), dtype)
    images[0, 4:24, 13:16] = 255
    one = triton.InferInput("images", [2, 28, 28], datatype)
    return one.set_data_from_numpy(images, binary_data=binary)


def test_triton_asks_what_there_is(client: Any, shipped: Server) -> None:
    version = shipped.live_version
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", version)
    assert not client.is_model_ready("digits", "999")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "digits"
    assert client.get_model_metadata("digits", version)["versions"] == [version]
    [entry] = client.get_model_repository_index()
    assert (entry["name"], entry["version"], entry["state"]) == ("digits", version, "READY")


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_triton_sends_files(client: Any, compression: str | None) -> None:
    answer = client.infer("digits", [files()], request_compression_algorithm=compression)
    assert answer.as_numpy("label").tolist() == LABELS
    assert answer.as_numpy("rejected").tolist() == [b""] * 3
    probabilities = answer.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    assert (answer.as_numpy("confidence") == probabilities.max(axis=1)).all()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_triton_sends_arrays(client: Any, datatype: str, binary: bool) -> None:
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "rejected")
    ]
    inputs = [arrays(binary=binary, datatype=datatype)]
    answer = client.infer("digits", inputs, outputs=wanted, request_id="42")
    assert answer.as_numpy("label").tolist() == [1, -1]
    rejected = [
        str(np.char.decode(text)) if binary else text for text in answer.as_numpy("rejected")
    ]
    assert rejected == ["", "blank"]
    assert answer.get_response()["id"] == "42"
    assert answer.as_numpy("probabilities") is None


def test_triton_asks_for_classes(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    answer = client.infer("digits", [files()], outputs=wanted).as_numpy("probabilities")
    assert answer.shape == (3, 2)
    assert [int(first.split(b":")[1]) for first, _ in answer] == LABELS


def test_triton_has_parameters(client: Any) -> None:
    image = triton.InferInput("images", [1, 28, 28], "UINT8").set_data_from_numpy(spoken(7)[None])
    answers = [
        client.infer("digits", [image], parameters={"normalize": normalize}, timeout=10**6)
        for normalize in (True, False)
    ]
    first, second = (answer.as_numpy("probabilities").tolist() for answer in answers)
    assert first != second


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"model_name": "other"}, "404", "Request for unknown model: 'other' is not found"),
        (
            {"model_version": "999"},
            "404",
            "Request for unknown model: 'digits' version 999 is not found",
        ),
        (
            {"outputs": [triton.InferRequestedOutput("x")]},
            "400",
            "unexpected inference output; there are label, confidence, probabilities, rejected",
        ),
    ],
)
def test_triton_understands_errors(
    client: Any, asked: dict[str, Any], status: str, message: str
) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer(**{"model_name": "digits", "inputs": [arrays()], **asked})
    assert (raised.value.status(), raised.value.message()) == (status, message)


@pytest.fixture
def caller(shipped: Server) -> Iterator[Any]:
    address = f"127.0.0.1:{shipped.grpc_port}"
    with tritonclient.grpc.InferenceServerClient(address) as client:
        yield client


def call_input(images: Any, name: str = "images", datatype: str = "UINT8") -> Any:
    one = tritonclient.grpc.InferInput(name, [*images.shape], datatype)
    return one.set_data_from_numpy(images)


def test_triton_asks_what_there_is_by_grpc(caller: Any, shipped: Server) -> None:
    version = shipped.live_version
    assert caller.is_server_live()
    assert caller.is_server_ready()
    assert caller.is_model_ready("digits")
    assert caller.is_model_ready("digits", version)
    assert caller.get_server_metadata().name == "digits"
    metadata = caller.get_model_metadata("digits", version, as_json=True)
    assert metadata["versions"] == [version]
    assert [one["name"] for one in metadata["outputs"]] == [*OUTPUTS]
    with pytest.raises(InferenceServerException) as raised:
        caller.is_model_ready("other")
    assert raised.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_triton_sends_files_by_grpc(caller: Any, compression: str | None) -> None:
    contents = [(ROOT / "docs" / "examples" / name).read_bytes() for name in EXAMPLES]
    one = call_input(np.array(contents, object), "image_bytes", "BYTES")
    answer = caller.infer(
        "digits", [one], request_id="42", client_timeout=60, compression_algorithm=compression
    )
    assert answer.get_response().id == "42"
    assert answer.as_numpy("label").tolist() == LABELS
    assert answer.as_numpy("rejected").tolist() == [b""] * 3
    probabilities = answer.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    assert (answer.as_numpy("confidence") == probabilities.max(axis=1)).all()


def test_triton_asks_for_classes_and_has_parameters_by_grpc(caller: Any) -> None:
    wanted = [tritonclient.grpc.InferRequestedOutput("probabilities", class_count=2)]
    image = call_input(spoken(7)[None])
    answers = [
        caller.infer("digits", [image], outputs=wanted, parameters={"normalize": normalize})
        for normalize in (True, False)
    ]
    first, second = (answer.as_numpy("probabilities") for answer in answers)
    assert first.shape == second.shape == (1, 2)
    assert first.tolist() != second.tolist()
    assert answers[0].as_numpy("label") is None


def test_triton_calls_without_waiting(shipped: Server) -> None:
    images = np.zeros((2, 28, 28), np.float32)
    images[0, 4:24, 13:16] = 1

    async def call() -> list[Any]:
        address = f"127.0.0.1:{shipped.grpc_port}"
        async with tritonclient.grpc.aio.InferenceServerClient(address) as client:
            one = call_input(images, datatype="FP32")
            return await asyncio.gather(*(client.infer("digits", [one]) for _ in range(8)))

    for answer in asyncio.run(call()):
        assert answer.as_numpy("label").tolist() == [1, -1]
        assert answer.as_numpy("rejected").tolist() == [b"", b"blank"]


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        ({"model_name": "other"}, "NOT_FOUND", "unknown model: 'other'"),
        ({"model_version": "999"}, "NOT_FOUND", "'digits' version 999"),
        (
            {"outputs": [tritonclient.grpc.InferRequestedOutput("x")]},
            "INVALID_ARGUMENT",
            "unexpected inference output",
        ),
        ({"parameters": {"normalize": "x"}}, "INVALID_ARGUMENT", "`normalize` is true or false"),
    ],
)
def test_triton_understands_errors_by_grpc(
    caller: Any, asked: dict[str, Any], code: str, message: str
) -> None:
    one = call_input(spoken(7)[None])
    with pytest.raises(InferenceServerException) as raised:
        caller.infer(**{"model_name": "digits", "inputs": [one], **asked})
    assert raised.value.status() == f"StatusCode.{code}"
    assert message in raised.value.message()


def test_the_client_of_the_protocol_s_own_description(shipped: Server) -> None:
    base_url = f"http://127.0.0.1:{shipped.port}"
    with httpx.Client(timeout=60) as http:
        client = OpenInferenceClient(base_url=base_url, httpx_client=http)
        check_all(client, shipped.live_version)


def check_all(client: OpenInferenceClient, version: str) -> None:
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("digits")
    client.check_model_version_readiness("digits", version)
    assert client.read_server_metadata().name == "digits"
    assert client.read_model_metadata("digits").versions == [version]
    image = np.zeros((1, 28, 28))
    image[0, 4:24, 13:16] = 0.7
    one = {"name": "images", "shape": [1, 28, 28], "datatype": "FP32", "data": image.tolist()}
    answer = client.model_infer("digits", request=InferenceRequest(id="42", inputs=[one]))
    assert answer.id == "42"
    label, _, probabilities, rejected = answer.outputs
    assert label.data.__root__ == [1]
    assert (probabilities.shape, rejected.data.__root__) == ([1, 10], [""])
    with pytest.raises(NotFoundError):
        client.check_model_readiness("other")
    with pytest.raises(BadRequestError) as raised:
        client.model_infer("digits", request=InferenceRequest(inputs=[]))
    assert raised.value.body["error"].startswith("Expected `inputs`")
