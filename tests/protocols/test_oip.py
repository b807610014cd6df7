from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app.api.formats.pixels import working_bytes
from app.errors import BadPixels, PayloadError
from app.protocols.oip import MAX_SMALL_BYTES, read_inputs
from app.protocols.tensors import NUMBER_TYPES, OUTPUTS
from app.serving.predictor import places_of
from tests.api.calls import SEVEN, services_in
from tests.conftest import png, spoken

INFER = "/v2/models/digits/infer"
AS_IS = f"{INFER}?normalize=false"
LENGTH = "inference-header-content-length"
PAIR = np.stack([spoken(3), spoken(1)])
FILES = [png(image) for image in PAIR]


def tensor(data: Any, shape: list[int] | None = None, datatype: str = "UINT8") -> dict[str, Any]:
    return {"name": "images", "shape": shape or [2, 28, 28], "datatype": datatype, "data": data}


def texts(data: Any, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": "image_bytes", "shape": shape or [2], "datatype": "BYTES", "data": data}


def elements(*contents: bytes) -> bytes:
    """A binary BYTES tensor."""
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


def binary_request(
    section: bytes, datatype: str, shape: list[int], **others: Any
) -> tuple[bytes, dict[str, str]]:
    """A body with one binary tensor, and its header."""
    name = "image_bytes" if datatype == "BYTES" else "images"
    parameters = {"binary_data_size": len(section)}
    one = {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}
    text = json.dumps({"inputs": [one], **others}).encode()
    return text + section, {LENGTH: str(len(text))}


def outputs(client: TestClient, document: Any, path: str = AS_IS) -> dict[str, list[Any]]:
    """The data of each output by its name."""
    response = client.post(path, json=document)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert (answer["model_name"], answer["model_version"]) == ("digits", "1")
    return {output["name"]: output["data"] for output in answer["outputs"]}


def error(client: TestClient, body: bytes, path: str = AS_IS, **headers: str) -> tuple[int, str]:
    response = client.post(path, content=body, headers=headers)
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(tensor(PAIR.tolist()), id="nested"),
        pytest.param(tensor(PAIR.ravel().tolist()), id="flat"),
        pytest.param(tensor(PAIR.reshape(2, 784).tolist()), id="flat images"),
        pytest.param(tensor(PAIR[..., None].tolist(), [2, 28, 28, 1]), id="with channels"),
        pytest.param(tensor(PAIR.ravel().tolist(), [2, 28, 28, 1]), id="flat with channels"),
        pytest.param(tensor((PAIR / 255).tolist(), datatype="FP32"), id="0 to 1"),
        pytest.param(tensor(PAIR.tolist(), datatype="INT64"), id="INT64"),
        pytest.param(tensor(PAIR.astype(float).tolist(), datatype="INT64"), id="with points"),
        pytest.param(texts([base64.b64encode(file).decode() for file in FILES]), id="base64"),
        pytest.param(
            texts([[base64.b64encode(file).decode()] for file in FILES], [2, 1]), id="a column"
        ),
        pytest.param(
            texts([f"data:;base64,{base64.b64encode(file).decode()}" for file in FILES]), id="URI"
        ),
    ],
)
def test_images_in_json(client: TestClient, one: dict[str, Any]) -> None:
    answer = outputs(client, {"inputs": [one]})
    assert answer["label"] == [3, 1]
    assert answer["rejected"] == ["", ""]
    assert len(answer["probabilities"]) == 20
    assert answer["confidence"] == [max(answer["probabilities"][:10]), answer["probabilities"][11]]


def test_an_id_in_any_language_is_given_back(client: TestClient) -> None:
    document = {"inputs": [tensor(PAIR.tolist())], "id": "zähler-1 😀", "note": "ü"}
    body = json.dumps(document, ensure_ascii=False).encode()
    assert client.post(AS_IS, content=body).json()["id"] == "zähler-1 😀"


@pytest.mark.parametrize("shape", [[2, 28, 28], [2, 28, 28, 1]])
@pytest.mark.parametrize("datatype", NUMBER_TYPES)
def test_images_as_binary_tensors(client: TestClient, datatype: str, shape: list[int]) -> None:
    section = PAIR.astype(NUMBER_TYPES[datatype]).tobytes()
    body, headers = binary_request(section, datatype, shape)
    answer = client.post(AS_IS, content=body, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [3, 1]


def test_long_json_before_a_tensor_says_the_same_as_short(client: TestClient) -> None:
    answers = []
    for unknown in ("x", "x" * MAX_SMALL_BYTES):
        body, headers = binary_request(
            PAIR.tobytes(), "UINT8", [2, 28, 28], id="a", parameters={"unknown": unknown}
        )
        answers.append(client.post(AS_IS, content=body, headers=headers))
    short, long = answers
    assert short.status_code == 200
    assert short.content == long.content


def test_files_as_a_binary_tensor(client: TestClient) -> None:
    body, headers = binary_request(elements(*FILES), "BYTES", [2])
    answer = client.post(AS_IS, content=body, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [3, 1]


def test_the_documentation_s_request_in_json(client: TestClient) -> None:
    """As the protocol's page writes it, with the order of its keys."""
    body = b"""{
  "id" : "42",
  "inputs" : [
    {
      "name" : "images",
      "shape" : [ 1, 28, 28 ],
      "datatype" : "UINT8",
      "data" : %b
    }
  ],
  "outputs" : [
    {
      "name" : "label"
    }
  ]
}"""
    data = json.dumps(spoken(7).ravel().tolist()).encode()
    response = client.post(AS_IS, content=body % data, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert response.json() == {
        "model_name": "digits",
        "model_version": "1",
        "id": "42",
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}],
    }


def test_the_documentation_s_request_with_a_binary_tensor(client: TestClient) -> None:
    """As the page of the binary tensor data extension writes it, unknown keys and all."""
    text = b"""{
  "model_name" : "mymodel",
  "inputs" : [
    {
      "name" : "images",
      "shape" : [ 1, 28, 28 ],
      "datatype" : "UINT8",
      "parameters" : {
        "binary_data_size" : 784
      }
    }
  ],
  "outputs" : [
    {
      "name" : "label",
      "parameters" : {
        "binary_data" : true
      }
    }
  ]
}"""
    headers = {"content-type": "application/octet-stream", LENGTH: str(len(text))}
    response = client.post(AS_IS, content=text + spoken(7).tobytes(), headers=headers)
    assert response.status_code == 200
    length = int(response.headers[LENGTH])
    document = json.loads(response.content[:length])
    assert document["outputs"] == [
        {
            "name": "label",
            "datatype": "INT64",
            "shape": [1],
            "parameters": {"binary_data_size": 8},
        }
    ]
    assert response.content[length:] == struct.pack("<q", 7)


def test_outputs_in_the_order_and_form_that_is_asked_for(client: TestClient) -> None:
    document = {
        "id": "42",
        "inputs": [tensor(PAIR.tolist())],
        "parameters": {"binary_data_output": True, "unknown": [1]},
        "outputs": [
            {"name": "rejected"},
            {"name": "label", "parameters": {"binary_data": False}},
            {"name": "probabilities"},
        ],
    }
    response = client.post(AS_IS, json=document)
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[LENGTH])
    answer = json.loads(response.content[:length])
    assert answer["id"] == "42"
    rejected, label, probabilities = answer["outputs"]
    assert (rejected["datatype"], rejected["shape"]) == ("BYTES", [2])
    assert rejected["parameters"] == {"binary_data_size": 8}
    assert label == {"name": "label", "datatype": "INT64", "shape": [2], "data": [3, 1]}
    assert (probabilities["datatype"], probabilities["shape"]) == ("FP32", [2, 10])
    section = response.content[length:]
    assert section[:8] == bytes(8)
    assert np.frombuffer(section[8:], "<f4").reshape(2, 10).argmax(axis=1).tolist() == [3, 1]


def test_binary_and_json_outputs_are_bit_identical(client: TestClient) -> None:
    document: dict[str, Any] = {"inputs": [tensor(PAIR.tolist())]}
    in_json = outputs(client, document)
    document["parameters"] = {"binary_data_output": True}
    response = client.post(AS_IS, json=document)
    length = int(response.headers[LENGTH])
    at = length
    for output in json.loads(response.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        section = response.content[at : at + size]
        at += size
        if output["name"] == "rejected":
            assert section == elements(b"", b"")
        else:
            dtype = NUMBER_TYPES[output["datatype"]]
            assert section == np.array(in_json[output["name"]], dtype).tobytes()
    assert at == len(response.content)


def test_classification(client: TestClient) -> None:
    document = {
        "inputs": [tensor(PAIR.tolist())],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
    }
    response = client.post(AS_IS, json=document)
    [output] = response.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    first, second, third, _ = (text.split(":") for text in output["data"])
    assert (first[1], third[1]) == ("3", "1")
    assert float(first[0]) > float(second[0])
    document["outputs"][0]["parameters"] = {"classification": 99}
    assert client.post(AS_IS, json=document).json()["outputs"][0]["shape"] == [2, 10]


def test_a_blank_image_has_no_label(client: TestClient) -> None:
    answer = outputs(client, {"inputs": [tensor([0] * 784, [1, 28, 28])]})
    assert answer == {
        "label": [-1],
        "confidence": [0.1],
        "probabilities": [0.1] * 10,
        "rejected": ["blank"],
    }


@pytest.mark.parametrize(
    ("query", "parameter"), [("", False), ("?normalize=false", None), ("?normalize=true", False)]
)
def test_normalize_is_a_parameter_or_of_the_query(
    client: TestClient, query: str, parameter: bool | None
) -> None:
    document: dict[str, Any] = {"inputs": [tensor(PAIR.tolist())]}
    normalized = outputs(client, document, INFER)
    document["parameters"] = {} if parameter is None else {"normalize": parameter}
    answer = outputs(client, document, INFER + query)
    assert answer["label"] == [3, 1]
    assert answer != normalized
    document["parameters"] = {"normalize": True}
    assert outputs(client, document, AS_IS) == normalized


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_body(client: TestClient, encoding: str, compress: Any) -> None:
    body, headers = binary_request(PAIR.tobytes(), "UINT8", [2, 28, 28])
    headers |= {"content-encoding": encoding}
    answer = client.post(AS_IS, content=compress(body), headers=headers)
    assert answer.json()["outputs"][0]["data"] == [3, 1]


ONE = tensor(PAIR.tolist())
SHAPES = "`images` is UINT8, INT32, INT64, FP32, FP64 of shape [n,28,28] or [n,28,28,1]; "


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "Expected `inputs`: a list of one tensor"),
        ({}, "Expected `inputs`: a list of one tensor"),
        ({"inputs": []}, "Expected `inputs`: a list of one tensor"),
        ({"inputs": [ONE, ONE]}, "Expected `inputs`: a list of one tensor"),
        ({"inputs": [{"name": "images"}]}, "Expected `inputs`: a list of one tensor"),
        (
            {"inputs": [ONE | {"name": "x"}]},
            "unexpected inference input; there are images, image_bytes",
        ),
        ({"inputs": [ONE | {"shape": [2, 27, 28]}]}, SHAPES),
        ({"inputs": [ONE | {"shape": []}]}, SHAPES),
        ({"inputs": [ONE | {"shape": [28, 28]}]}, SHAPES),
        ({"inputs": [ONE | {"datatype": "BYTES"}]}, SHAPES),
        ({"inputs": [ONE | {"datatype": "FP16"}]}, SHAPES),
        ({"inputs": [texts(["x"]) | {"datatype": "UINT8"}]}, SHAPES),
        ({"inputs": [texts(["x"], [1, 2])]}, SHAPES),
        ({"inputs": [texts([]) | {"shape": []}]}, SHAPES),
        ({"inputs": [ONE | {"shape": [2, 28, 28.0]}]}, "A shape is a list of at most 4 whole"),
        ({"inputs": [ONE | {"shape": [2, 28, 28, 1, 1]}]}, "A shape is a list of at most 4 whole"),
        ({"inputs": [ONE | {"shape": [True, 28, 28]}]}, "A shape is a list of at most 4 whole"),
        (
            {"inputs": [ONE | {"shape": [-1, 28, 28]}]},
            "A shape is a list of at most 4 whole numbers, none of",
        ),
        ({"inputs": [ONE | {"shape": [10**30, 28, 28]}]}, "A number is not finite, or larger"),
        ({"inputs": [ONE | {"shape": [0, 28, 28]}]}, "The request holds no image."),
        ({"inputs": [ONE | {"shape": [9, 28, 28]}]}, "A request has at most 8 images"),
        ({"inputs": [ONE | {"shape": [3, 28, 28]}]}, "`data` has 2 entries"),
        ({"inputs": [tensor(None)]}, "An input has `data`, or a `binary_data_size`."),
        ({"inputs": [tensor([1, 2, 3])]}, "`data` has 3 entries"),
        ({"inputs": [tensor([1, 2])]}, "Image 0 is neither rows of numbers nor text."),
        ({"inputs": [tensor([[[1]], [[1]]])]}, "Image 0 is 1×1; `images` are 28×28."),
        ({"inputs": [tensor(["AAAA", "AAAA"])]}, "Image 0 is not of its tensor's datatype."),
        ({"inputs": [texts(PAIR.tolist())]}, "Image 0 is not of its tensor's datatype."),
        ({"inputs": [texts(["", ""])]}, "Image 0 is text that is neither base64"),
        ({"inputs": [texts(["AAAA", "AAAA"])]}, "Image 0: The bytes are no PNG"),
        ({"inputs": [tensor([256] * 1568)]}, "Image 0 has a value that is not from 0 to 255."),
        ({"inputs": [tensor([True] * 1568)]}, "Image 0 has rows of different lengths, or values"),
        *(
            ({"inputs": [tensor(data, datatype=datatype)]}, "Image 1 has a fraction, which")
            for datatype in ("UINT8", "INT32", "INT64")
            for data in ([0] * 1567 + [0.5], np.stack([PAIR[0], PAIR[1] * 0.7]).tolist())
        ),
        ({"inputs": [ONE], "id": 1}, "`id` is a string of at most 1,024 characters."),
        ({"inputs": [ONE], "id": "x" * 1025}, "`id` is a string of at most 1,024 characters."),
        ({"inputs": [ONE], "parameters": 1}, "`parameters` is an object."),
        ({"inputs": [ONE], "parameters": {"normalize": 0}}, "`normalize` is true or false."),
        (
            {"inputs": [ONE], "parameters": {"binary_data_output": "x"}},
            "`binary_data_output` is true or false.",
        ),
        ({"inputs": [ONE], "outputs": {}}, "`outputs` is a list of at most 4 outputs."),
        (
            {"inputs": [ONE], "outputs": [{"name": "label"}] * 5},
            "`outputs` is a list of at most 4 outputs.",
        ),
        ({"inputs": [ONE], "outputs": [1]}, "unexpected inference output; there are label"),
        ({"inputs": [ONE], "outputs": [{"name": []}]}, "unexpected inference output; there are"),
        ({"inputs": [ONE], "outputs": [{"name": "x"}]}, "unexpected inference output; there are"),
        (
            {"inputs": [ONE], "outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
            "`binary_data` is true or false.",
        ),
        *(
            (
                {"inputs": [ONE], "outputs": [{"name": name, "parameters": {"classification": k}}]},
                "`classification` is a number of digits, and of `probabilities` alone.",
            )
            for name, k in (("label", 1), ("probabilities", -1), ("probabilities", True))
        ),
        (
            {"inputs": [ONE | {"parameters": {"binary_data_size": 1568}}]},
            "The binary tensors have 0 bytes, `binary_data_size` says otherwise",
        ),
    ],
)
def test_a_bad_request(client: TestClient, document: Any, expected: str) -> None:
    status, text = error(client, json.dumps(document).encode())
    assert status == 400
    assert text.startswith(expected)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"PK\3\4"])
def test_what_is_no_json(client: TestClient, body: bytes) -> None:
    status, text = error(client, body)
    assert status == 400
    assert text.startswith("failed to parse the request JSON buffer: ")


@pytest.mark.parametrize(
    ("section", "datatype", "shape", "expected"),
    [
        (bytes(784), "UINT8", [2, 28, 28], "The binary tensor has 784 bytes; by its shape"),
        (bytes(1568), "FP32", [2, 28, 28], "The binary tensor has 1,568 bytes; by its shape"),
        (b"", "BYTES", [1], "The binary tensor does not hold 1 elements of BYTES."),
        (b"\1\0\0", "BYTES", [1], "The binary tensor does not hold 1 elements of BYTES."),
        (b"\xff\xff\xff\xffx", "BYTES", [1], "The binary tensor does not hold 1 elements"),
        (elements(b"x", b"y"), "BYTES", [1], "The binary tensor does not hold 1 elements"),
        (elements(b""), "BYTES", [1], "Image 0: There are no bytes;"),
        (elements(SEVEN, SEVEN[:50]), "BYTES", [2], "Image 1: The PNG is truncated."),
        (np.full(784, np.nan, "<f4").tobytes(), "FP32", [1, 28, 28], "Image 0 has a value"),
        (np.full(784, -1, "<i4").tobytes(), "INT32", [1, 28, 28], "Image 0 has a value"),
    ],
)
def test_a_bad_binary_tensor(
    client: TestClient, section: bytes, datatype: str, shape: list[int], expected: str
) -> None:
    body, headers = binary_request(section, datatype, shape)
    status, text = error(client, body, **headers)
    assert status == 400
    assert text.startswith(expected)


def test_bytes_that_no_tensor_has(client: TestClient) -> None:
    body, headers = binary_request(bytes(784), "UINT8", [1, 28, 28])
    for changed in (body + b"x", body[:-1]):
        status, text = error(client, changed, **headers)
        assert (status, "`binary_data_size` says otherwise" in text) == (400, True)
    plain = json.dumps({"inputs": [ONE]}).encode()
    status, text = error(client, plain + b"x", **{LENGTH: str(len(plain))})
    assert (status, "`binary_data_size` says otherwise" in text) == (400, True)


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "", "9" * 20, "²"])
def test_a_length_that_is_no_number(client: TestClient, length: str) -> None:
    response = client.post(AS_IS, content=b"{}", headers={LENGTH: length.encode()})
    assert response.status_code == 400
    assert response.json() == {"error": "Inference-Header-Content-Length is a number of bytes."}


def test_a_length_beyond_the_body(client: TestClient) -> None:
    for length in ("3", "99999999"):
        status, text = error(client, b"{}", **{LENGTH: length})
        assert (status, text) == (
            400,
            "Inference-Header-Content-Length is more than the body has.",
        )


def test_limits_on_bytes(client: TestClient) -> None:
    status, text = error(client, b" " * 100_001)
    assert (status, text.startswith("A JSON body has at most 100,000 bytes.")) == (413, True)
    status, text = error(client, b" " * 150_000, **{LENGTH: "100001"})
    assert (status, text.startswith("A JSON body has at most 100,000 bytes.")) == (413, True)
    status, text = error(client, b" " * 200_001)
    assert (status, text.startswith("A body has at most 200,000 bytes.")) == (413, True)
    bomb = gzip.compress(bytes(10**6))
    status, text = error(client, bomb, **{"content-encoding": "gzip"})
    assert (status, text) == (413, "A body has at most 100,000 bytes, decompressed.")
    status, text = error(client, bomb, **{"content-encoding": "gzip", LENGTH: "9"})
    assert (status, text) == (413, "A body has at most 200,000 bytes, decompressed.")


def test_a_binary_tensor_may_be_larger_than_json(client: TestClient) -> None:
    section = np.zeros((8, 28, 28), "<i8").tobytes() + bytes(0)
    padded = elements(png(np.zeros((8, 8), np.uint8)) + bytes(110_000))
    for content, datatype, shape in ((section, "INT64", [8, 28, 28]), (padded, "BYTES", [1])):
        body, headers = binary_request(content, datatype, shape)
        response = client.post(INFER, content=body, headers=headers)
        assert response.status_code == 200, response.text
        assert response.json()["outputs"][0]["data"] == [-1] * shape[0]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("other", "'other' is not found"),
        ("digits/versions/7", "'digits' version 7 is not found"),
        ("other/versions/1", "'other' version 1 is not found"),
        ("digits/versions/x", "its name is not found"),
        ("%3Cb%3E", "its name is not found"),
    ],
)
def test_another_model_or_version(client: TestClient, model: str, expected: str) -> None:
    wanted = {"error": f"Request for unknown model: {expected}"}
    answers = [
        client.post(f"/v2/models/{model}/infer", content=b"{}"),
        client.get(f"/v2/models/{model}"),
        client.get(f"/v2/models/{model}/ready"),
    ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, wanted)] * 3


def test_the_live_version_by_its_number(client: TestClient) -> None:
    path = "/v2/models/digits/versions/1"
    assert outputs(client, {"inputs": [ONE]}, f"{path}/infer?normalize=false")["label"] == [3, 1]
    assert client.get(path).json() == client.get("/v2/models/digits").json()
    assert client.get(f"{path}/ready").json() == {"name": "digits", "ready": True}


def test_a_version_that_goes_live_meanwhile_does_not_answer_for_another(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = services_in(client).registry
    before = registry.live

    def go_live(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(registry, "_live", dataclasses.replace(before, version="2"))
        return read_inputs(*args, **kwargs)

    monkeypatch.setattr("app.protocols.oip.read_inputs", go_live)
    answer = client.post("/v2/models/digits/versions/1/infer", json={"inputs": [ONE]})
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1")


def test_metadata(client: TestClient) -> None:
    server = client.get("/v2").json()
    assert server.keys() == {"name", "version", "extensions"}
    assert server["name"] == "digits"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get("/v2/models/digits").json()
    assert (model["name"], model["versions"]) == ("digits", ["1"])
    assert model["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]},
        {"name": "image_bytes", "datatype": "BYTES", "shape": [-1]},
    ]
    answer = client.post(AS_IS, json={"inputs": [ONE]}).json()
    described = {one["name"]: (one["datatype"], one["shape"][1:]) for one in model["outputs"]}
    assert described == {
        one["name"]: (one["datatype"], one["shape"][1:]) for one in answer["outputs"]
    }


def test_health_and_the_repository(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"name": "digits", "version": "1", "state": "READY", "reason": ""}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.post("/v2/repository/index", json={"ready": True}).json() == [entry]
    assert client.head("/v2/health/ready").status_code == 200
    health = services_in(client).health
    monkeypatch.setattr(type(health), "unready_reason", lambda self: "It stops.")
    assert client.get("/v2/health/live").json() == {"live": True}
    for path, more in (("/v2/health", {}), ("/v2/models/digits", {"name": "digits"})):
        response = client.get(f"{path}/ready")
        assert response.status_code == 503
        assert response.json() == {"ready": False, "error": "It stops.", **more}
    assert client.post("/v2/repository/index", json={"ready": True}).json() == []
    [unready] = client.post("/v2/repository/index", json={"ready": False}).json()
    assert client.post("/v2/repository/index").json() == [unready]
    assert unready == entry | {"state": "UNAVAILABLE", "reason": "It stops."}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/digits/config", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/digits/infer", 405),
        ("POST", "/v2/health/live", 405),
        ("DELETE", "/v2", 405),
    ],
)
def test_what_there_is_not(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.json().keys()) == (status, {"error"})
    assert "docs/protocols.md" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 400),
        (b"{", 400),
        (b'{"ready": 1}', 400),
        (b'{"x": "' + b"x" * 1024 + b'"}', 413),
    ],
)
def test_a_bad_request_for_the_repository(client: TestClient, body: bytes, status: int) -> None:
    assert error(client, body, "/v2/repository/index")[0] == status


def test_a_binary_tensor_is_charged_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_in(client)
    costs: list[int] = []
    memory: list[int] = []

    def submit(item: Any, cost: int) -> Any:
        costs.append(cost)
        return type(services.parser).submit(services.parser, item, cost)

    def try_acquire(amount: int, **options: int) -> bool:
        memory.append(amount)
        return type(working).try_acquire(working, amount, **options)

    working = services.admission.working
    monkeypatch.setattr(services.parser, "submit", submit)
    monkeypatch.setattr(working, "try_acquire", try_acquire)
    body, headers = binary_request(bytes(8 * 28 * 28 * 8), "FP64", [8, 28, 28])
    assert client.post(INFER, content=body, headers=headers).status_code == 200
    assert costs == [int(headers[LENGTH]) + 8 * 28 * 28 * 2]
    assert memory[0] == working_bytes(int(headers[LENGTH])) + 8 * 28 * 28 * 8


def test_four_times_as_many_arrays_as_files(client: TestClient) -> None:
    images = np.stack([spoken(label % 10) for label in range(33)])
    body, headers = binary_request(images[:32].tobytes(), "UINT8", [32, 28, 28])
    answer = client.post(AS_IS, content=body, headers=headers).json()
    assert answer["outputs"][0]["data"] == [label % 10 for label in range(32)]
    body, headers = binary_request(images.tobytes(), "UINT8", [33, 28, 28])
    assert error(client, body, **headers)[1].startswith("A request has at most 32 images")
    body, headers = binary_request(elements(*[FILES[0]] * 9), "BYTES", [9])
    assert error(client, body, **headers)[1].startswith("A request has at most 8 images")


@pytest.mark.parametrize("images", [PAIR, [*PAIR], FILES], ids=["array", "arrays", "files"])
def test_images_of_an_array_share_places(images: Any) -> None:
    assert places_of(images) == (1 if isinstance(images, np.ndarray) else 2)
    assert places_of(np.zeros((5, 28, 28), np.uint8)) == 2


def test_large_requests_go_to_threads(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    services = services_in(client)
    monkeypatch.setattr(services.parser, "inline_cost", 0)
    monkeypatch.setattr(services.predictions, "inline_cost", 0)
    images = np.stack([spoken(label) for label in range(8)])
    body, headers = binary_request(images.astype("<f8").tobytes(), "FP64", [8, 28, 28])
    response = client.post(
        AS_IS, content=gzip.compress(body), headers=headers | {"content-encoding": "gzip"}
    )
    assert response.json()["outputs"][0]["data"] == [*range(8)]


LEVELS = hnp.arrays(np.uint8, (2, 28, 28), elements=st.integers(0, 255), fill=st.integers(0, 2))
SHARES = hnp.arrays(np.float32, (1, 28, 28), elements=st.floats(0, 1, width=32))


def images_in(body: bytes, headers: dict[str, str]) -> list[NDArray[np.uint8]]:
    length = int(headers[LENGTH]) if headers else None
    images = read_inputs(body, json_bytes=length, max_images=8).images
    return [image for image in images if not isinstance(image, bytes)]


@given(LEVELS | SHARES)
@example(np.full((1, 28, 28), 0.0019607844296842813, np.float32)).via(
    "0.5 of 255 in float32, not in 64"
)
@settings(max_examples=50)
def test_binary_tensors_are_the_same_images_as_json(numbers: NDArray[Any]) -> None:
    shape = [*numbers.shape]
    document = {"inputs": [tensor(numbers.tolist(), shape, "FP64")]}
    wanted = images_in(json.dumps(document).encode(), {})
    for datatype, dtype in NUMBER_TYPES.items():
        if np.can_cast(numbers.dtype, dtype, "safe"):
            request = binary_request(numbers.astype(dtype).tobytes(), datatype, shape)
            assert np.array_equal(images_in(*request), wanted)


REQUEST_KEYS = ("inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data")
PARAMETERS = ("binary_data_size", "binary_data", "binary_data_output", "classification")
KEYS = st.sampled_from([*REQUEST_KEYS, *PARAMETERS, "normalize"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 784)
    | st.sampled_from(["images", "image_bytes", "BYTES", "UINT8", *OUTPUTS, [1, 28, 28], [1]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, st.binary(max_size=20))
@settings(max_examples=300)
def test_any_document_is_read_or_refused(document: Any, section: bytes) -> None:
    text = json.dumps(document).encode()
    with suppress(PayloadError):
        images = read_inputs(text + section, json_bytes=len(text), max_images=3).images
        assert 1 <= len(images) <= 3


@given(st.binary(max_size=900), st.sampled_from([*NUMBER_TYPES, "BYTES"]), st.integers(0, 3))
def test_any_binary_tensor_is_read_or_refused(section: bytes, datatype: str, count: int) -> None:
    shape = [count] if datatype == "BYTES" else [count, 28, 28]
    body, headers = binary_request(section, datatype, shape)
    with suppress(PayloadError):
        images = read_inputs(body, json_bytes=int(headers[LENGTH]), max_images=3).images
        assert len(images) == count


@given(st.binary(min_size=1, max_size=6272))
def test_any_floats_are_levels_or_refused(pattern: bytes) -> None:
    section = (pattern * 3136)[:3136]
    body, headers = binary_request(section, "FP32", [1, 28, 28])
    with suppress(BadPixels):
        [image] = images_in(body, headers)
        assert image.dtype == np.uint8
