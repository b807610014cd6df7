from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.errors import DeadlineExceeded, InternalError, PayloadError
from app.main import create_app
from app.protocols.inference import InferenceBody
from app.protocols.tfs import read_inputs
from app.serving.limits import Admission
from app.serving.predictor import ARRAYS_A_PLACE
from app.settings import Settings
from tests.api.calls import services_in
from tests.conftest import png, spoken

PREDICT = "/v1/models/digits:predict"
AS_IS = f"{PREDICT}?normalize=false"
ROWS = {label: spoken(label).tolist() for label in range(10)}
B64 = {label: {"b64": base64.b64encode(png(spoken(label))).decode()} for label in range(10)}


def predictions(client: TestClient, document: Any, path: str = AS_IS) -> list[dict[str, Any]]:
    response = client.post(path, json=document)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"predictions"}
    return list(response.json()["predictions"])


def labels(client: TestClient, document: Any, path: str = AS_IS) -> list[int]:
    return [one["label"] for one in predictions(client, document, path)]


def error(client: TestClient, body: bytes, path: str = AS_IS, **headers: str) -> tuple[int, str]:
    response = client.post(path, content=body, headers=headers)
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize(
    "instances",
    [
        pytest.param([ROWS[3], ROWS[1]], id="rows"),
        pytest.param([spoken(n).ravel().tolist() for n in (3, 1)], id="784 numbers"),
        pytest.param([spoken(n)[..., None].tolist() for n in (3, 1)], id="28×28×1"),
        pytest.param([(spoken(n) / 255).tolist() for n in (3, 1)], id="0 to 1"),
        pytest.param([{"images": ROWS[3]}, {"images": ROWS[1]}], id="named rows"),
        pytest.param([B64[3], B64[1]], id="files"),
        pytest.param([{"images": B64[3]}, {"image_bytes": B64[1]}], id="named files"),
        pytest.param([ROWS[3], B64[1]], id="both"),
    ],
)
def test_images_in_row_format(client: TestClient, instances: list[Any]) -> None:
    assert labels(client, {"instances": instances}) == [3, 1]


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([ROWS[3], ROWS[1]], id="rows"),
        pytest.param({"images": [ROWS[3], ROWS[1]]}, id="named rows"),
        pytest.param([B64[3], B64[1]], id="files"),
        pytest.param({"image_bytes": [B64[3], B64[1]]}, id="named files"),
    ],
)
def test_images_in_column_format(client: TestClient, inputs: Any) -> None:
    response = client.post(AS_IS, json={"inputs": inputs})
    assert response.status_code == 200, response.text
    outputs = response.json()["outputs"]
    assert outputs["label"] == [3, 1]
    assert outputs["rejected"] == ["", ""]
    assert [len(row) for row in outputs["probabilities"]] == [10, 10]
    assert outputs["confidence"] == [max(row) for row in outputs["probabilities"]]


def test_the_documentation_s_own_way_to_write_it(client: TestClient) -> None:
    """Row format as the page of the REST API shows it, with a client that sets no type."""
    body = b'{\n  "signature_name": "serving_default",\n  "instances": [\n    {\n      "images": '
    body += json.dumps(ROWS[7]).encode() + b"\n    }\n  ]\n}"
    headers = {"content-type": "application/x-www-form-urlencoded"}  # curl -d
    response = client.post(AS_IS, content=body, headers=headers)
    assert response.json()["predictions"][0]["label"] == 7


@pytest.mark.parametrize("signature", ["serving_default", ""])
def test_the_signature_may_be_named(client: TestClient, signature: str) -> None:
    assert labels(client, {"signature_name": signature, "instances": [ROWS[5]]}) == [5]


@pytest.mark.parametrize("target", ["digits", "digits/versions/1", "digits/labels/stable"])
def test_the_live_version_is_addressed(client: TestClient, target: str) -> None:
    path = f"/v1/models/{target}:predict?normalize=false"
    assert labels(client, {"instances": [ROWS[2]]}, path) == [2]


def test_a_blank_and_a_rejected_image_have_their_reasons(client: TestClient) -> None:
    blank = np.zeros((28, 28), int).tolist()
    unsure = spoken(4, share=0.3).tolist()
    first, second = predictions(client, {"instances": [blank, unsure]})
    assert first == {
        "label": -1,
        "confidence": 0.1,
        "probabilities": [0.1] * 10,
        "rejected": "blank",
    }
    assert (second["label"], second["rejected"]) == (4, "uncertain")


def test_arrays_are_normalized_unless_the_query_says_otherwise(client: TestClient) -> None:
    document = {"instances": [ROWS[7]]}
    answers = [
        client.post(path, json={"images": document["instances"]}).json()["predictions"]
        for path in ("/predict", "/predict?normalize=false")
    ]
    assert answers[0] != answers[1]
    for answer, path in zip(answers, (PREDICT, AS_IS), strict=True):
        assert (
            predictions(client, document, path)[0]["probabilities"] == (answer[0]["probabilities"])
        )


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_a_compressed_body(client: TestClient, compress: Any) -> None:
    body = compress(json.dumps({"instances": [ROWS[6]]}).encode())
    encoding = "gzip" if compress is gzip.compress else "deflate"
    response = client.post(AS_IS, content=body, headers={"content-encoding": encoding})
    assert response.json()["predictions"][0]["label"] == 6


def test_what_comes_out_of_a_compressed_body_is_charged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = services_in(client).admission.bodies
    charged: list[int] = []

    def try_acquire(amount: int, **options: int) -> bool:
        charged.append(amount)
        return type(bodies).try_acquire(bodies, amount, **options)

    monkeypatch.setattr(bodies, "try_acquire", try_acquire)
    body = json.dumps({"instances": [ROWS[6]]}).encode()
    for level, total in ((9, len(body)), (0, len(gzip.compress(body, 0)))):
        charged.clear()
        content = gzip.compress(body, level)
        answer = client.post(AS_IS, content=content, headers={"content-encoding": "gzip"})
        assert answer.status_code == 200
        assert (charged[0], sum(charged)) == (len(content), total)


def test_parsing_is_not_begun_when_the_deadline_has_passed() -> None:
    admission = Admission(max_waiting_images=1, body_bytes=1, working_bytes=1)
    body = InferenceBody([b"{}"], partial(read_inputs, max_images=1), admission.open_lease(0))
    with pytest.raises(DeadlineExceeded):
        body.parse()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ([], "JSON Value: Is not object"),
        (
            {"instances": [], "inputs": []},
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
        ),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "The request holds no image."),
        ({"inputs": []}, "The request holds no image."),
        ({"inputs": 7}, "'inputs' is a list of images, also for one of them."),
        ({"inputs": B64[1]}, "'inputs' is a list of images, also for one of them."),
        ({"inputs": {"x": []}}, "JSON object: does not have named input: images"),
        ({"inputs": {}}, "JSON object: does not have named input: images"),
        ({"instances": [{"x": 1}]}, "JSON object: does not have named input: images"),
        (
            {"instances": [{"images": ROWS[1], "x": 1}]},
            "JSON object: does not have named input: images, and it alone",
        ),
        ({"instances": [{"b64": 1}]}, 'Image 0 is an object; there is {"b64": "…"}.'),
        ({"instances": [ROWS[1], {"b64": "!"}]}, "Image 1 is text that is neither base64"),
        ({"instances": [B64[1], {"b64": "AAAA"}]}, "Image 1: The bytes are no PNG"),
        ({"instances": [[0, 0], [0, 0]]}, "`instances` is a list of images, and a single one is"),
        ({"inputs": [[0, 0], [0, 0]]}, "`inputs` is a list of images, and a single one is"),
        ({"instances": [{"images": [1, 2]}]}, "Image 0 has 2 numbers; a flat image has 784"),
        ({"instances": [ROWS[1], [1, 2]]}, "Image 1 has 2 numbers; a flat image has 784"),
        ({"instances": [[[1, True]]]}, "Image 0 has rows of different lengths, or values that"),
        ({"instances": [[[256]]]}, "Image 0 has a value that is not from 0 to 255."),
        ({"instances": [ROWS[1]] * 9}, "A request has at most 8 images"),
        (
            {"signature_name": "x", "instances": [ROWS[1]]},
            'Serving signature name: not found; there is "serving_default".',
        ),
        (
            {"signature_name": 1, "instances": [ROWS[1]]},
            'Serving signature name: not found; there is "serving_default".',
        ),
        ({"instances": [[[0] * 27] * 27]}, "Image 0: with normalize=false an image is 28×28"),
    ],
)
def test_a_bad_request(client: TestClient, document: Any, expected: str) -> None:
    status, text = error(client, json.dumps(document).encode())
    assert status == 400
    assert text.startswith(expected)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"{'instances': []}", b"\x89PNG\r\n"])
def test_what_is_no_json(client: TestClient, body: bytes) -> None:
    status, text = error(client, body)
    assert status == 400
    assert text.startswith("JSON Parse error: ")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("digits/versions/7", "Specific(digits, 7)"),
        ("digits/versions/0", "Specific(digits, 0)"),
        ("other", "Latest(other)"),
        ("other/versions/1", "Specific(other, 1)"),
    ],
)
def test_another_model_or_version(client: TestClient, target: str, expected: str) -> None:
    wanted = f"Servable not found for request: {expected}"
    assert error(client, b"{}", f"/v1/models/{target}:predict") == (404, wanted)
    metadata = client.get(f"/v1/models/{target}/metadata")
    assert (metadata.status_code, metadata.json()) == (404, {"error": wanted})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/digits:classify"),
        ("POST", "/v1/models/digits:regress"),
        ("POST", "/v1/models/digits"),
        ("POST", "/v1/models/digits/versions/x:predict"),
        ("POST", "/v1/models/digits/versions/١:predict"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/a b:predict"),
        ("POST", "/v1/models/digits:predict/"),
        ("GET", "/v1/models/digits:predict"),
        ("GET", "/v1/models/digits/versions"),
        ("DELETE", "/v1/models/digits"),
        ("GET", "/v1/other"),
    ],
)
def test_a_malformed_address(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"Malformed request: {method}; ")


def test_an_unknown_label(client: TestClient) -> None:
    status, text = error(client, b"{}", "/v1/models/digits/labels/canary:predict")
    assert (status, text) == (400, "Unrecognized servable version label: canary")


@pytest.mark.parametrize("target", ["digits", "digits/versions/1", "digits/labels/stable"])
def test_the_status_of_a_model(client: TestClient, target: str) -> None:
    response = client.get(f"/v1/models/{target}")
    assert response.status_code == 200
    assert response.json() == {
        "name": "digits",
        "ready": True,
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ],
    }
    assert client.head(f"/v1/models/{target}").status_code == 200


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("other", "Could not find any versions of model other"),
        ("digits/versions/2", "Could not find version 2 of model digits"),
    ],
)
def test_the_status_of_another_model(client: TestClient, target: str, expected: str) -> None:
    response = client.get(f"/v1/models/{target}")
    assert (response.status_code, response.json()) == (404, {"error": expected})


def test_a_model_that_should_not_be_sent_requests(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = services_in(client).health
    monkeypatch.setattr(type(health), "unready_reason", lambda self: "It stops.")
    assert client.get("/v1/models/digits").json()["ready"] is False


def test_the_models_are_listed(client: TestClient) -> None:
    assert client.get("/v1/models").json() == {"models": ["digits"]}


def test_the_metadata_are_those_of_the_answers(client: TestClient) -> None:
    document = client.get("/v1/models/digits/metadata").json()
    assert document["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    images = signature["inputs"]["images"]
    assert images["dtype"] == "DT_UINT8"
    assert [axis["size"] for axis in images["tensor_shape"]["dim"]] == ["-1", "28", "28"]
    assert signature["outputs"].keys() == predictions(client, {"instances": [ROWS[1]]})[0].keys()


def test_limits_on_bytes(client: TestClient) -> None:
    status, text = error(client, b" " * 100_001)
    assert (status, text.startswith("A JSON body has at most 100,000 bytes.")) == (413, True)
    status, text = error(client, b" " * 200_001)
    assert (status, text.startswith("A body has at most 200,000 bytes.")) == (413, True)
    bomb = gzip.compress(b" " * 100_001)
    status, text = error(client, bomb, **{"content-encoding": "gzip"})
    assert (status, text) == (413, "A body has at most 100,000 bytes, decompressed.")


def test_what_the_query_and_headers_may_not_say(client: TestClient) -> None:
    body = json.dumps({"instances": [ROWS[1]]}).encode()
    assert error(client, body, f"{PREDICT}?normalize=x")[0] == 400
    assert error(client, body, f"{PREDICT}?include=seen")[0] == 400
    assert error(client, body, AS_IS, **{"content-encoding": "br"})[0] == 400
    assert error(client, body, AS_IS, **{"x-deadline-seconds": "1e-9"})[0] == 504


def test_a_full_queue(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_in(client).admission.images, "limit", 1)
    response = client.post(AS_IS, json={"instances": [ROWS[1]] * (ARRAYS_A_PLACE + 1)})
    assert response.status_code == 503
    assert response.json() == {"error": "As many images wait as may wait; try again shortly."}
    assert response.headers["retry-after"] == "1"


def test_a_failing_model(client: TestClient) -> None:
    image = spoken(1)
    image[0, 11] = 255
    status, text = error(client, json.dumps({"instances": [image.tolist()]}).encode())
    assert (status, text) == (500, "The model failed.")


def test_a_failure_of_the_service(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("app.protocols.tfs.read_inputs", fail)
    status, text = error(client, b"{}")
    assert (status, text) == (500, InternalError.remedy)


def test_a_version_that_goes_live_meanwhile_does_not_answer_for_another(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = services_in(client).registry
    before = registry.live

    def go_live(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(registry, "_live", dataclasses.replace(before, version="2"))
        return read_inputs(*args, **kwargs)

    monkeypatch.setattr("app.protocols.tfs.read_inputs", go_live)
    metrics = services_in(client).metrics.registry
    series = ("digits_predictions_total", {"version": "1", "label": "8"})
    counted = metrics.get_sample_value(*series) or 0
    path = "/v1/models/digits/versions/1:predict?normalize=false"
    assert labels(client, {"instances": [ROWS[8]]}, path) == [8]
    assert metrics.get_sample_value(*series) == counted + 1


def test_a_large_document_goes_to_a_thread(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_in(client)
    monkeypatch.setattr(services.parser, "inline_cost", 0)
    monkeypatch.setattr(services.predictions, "inline_cost", 0)
    assert labels(client, {"instances": [ROWS[n] for n in range(8)]}) == [*range(8)]


def test_what_is_read_is_counted(client: TestClient) -> None:
    metrics = services_in(client).metrics.registry
    route = "/v1/models/{target:path}:predict"

    def counted() -> list[float]:
        return [
            metrics.get_sample_value(name, labels) or 0
            for name, labels in (
                (
                    "digits_http_request_duration_seconds_count",
                    {"route": route, "method": "POST", "status": "200"},
                ),
                ("digits_http_request_size_bytes_sum", {"route": route}),
                ("digits_predictions_total", {"version": "1", "label": "9"}),
            )
        ]

    before = counted()
    body = json.dumps({"instances": [ROWS[9]]}).encode()
    assert client.post(AS_IS, content=body).status_code == 200
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, len(body), 1]


def test_a_key_is_wanted_in_the_protocol_s_form(stand_in_models: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("0" * 64)
    app = create_app(Settings(models_dir=stand_in_models, api_keys_file=tmp_path / "keys"))
    refusal = TestClient(app).post(PREDICT)
    assert refusal.status_code == 401
    assert refusal.json().keys() == {"error"}
    assert refusal.headers["www-authenticate"] == 'Bearer realm="digits"'


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=5)
    | st.sampled_from([ROWS[1], B64[2]]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["b64", "images", "image_bytes", "x"]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip
DOCUMENTS = st.dictionaries(
    st.sampled_from(["instances", "inputs", "signature_name", "x"]), VALUES, max_size=3
)


@given(DOCUMENTS | VALUES)
@settings(max_examples=300)
def test_any_document_is_read_or_refused(document: Any) -> None:
    with suppress(PayloadError):
        inputs = read_inputs(json.dumps(document).encode(), max_images=3)
        assert 1 <= len(inputs.images) <= 3
