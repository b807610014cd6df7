from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.config import SchemathesisConfig
from starlette.testclient import TestClient

from app.errors import PROBLEMS, BadFeedback, ClientGone, DigitsError, VolumeFull
from app.main import create_app
from app.settings import Settings
from app.vision.decode import FORMATS, HEIC
from tests.conftest import spoken


def encoded(kind: str, label: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(spoken(label)).save(file, kind)
    return file.getvalue()


def drawings(kind: str) -> st.SearchStrategy[bytes]:
    """Files of 28×28 pixels, which are read whatever `normalize` says."""
    return st.sampled_from([encoded(kind, label) for label in range(10)])


# "Any bytes" is all that JSON Schema can say of an image; these are bytes that are one.
for row in FORMATS:
    for kind in row.media_types:
        schemathesis.openapi.media_type(kind, drawings("PNG" if row is HEIC else row.name))
schemathesis.openapi.media_type("application/octet-stream", drawings("PNG"))
schemathesis.openapi.format("binary", drawings("png"))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Nor can it say that rows are of one length: shorter ones are filled up."""
    if isinstance(body, dict):
        _even_out(body.get("image"))
        images = body.get("images")
        for image in images if isinstance(images, list) else []:
            _even_out(image)
    return body


def _even_out(image: Any) -> None:
    if isinstance(image, list) and image and all(isinstance(row, list) and row for row in image):
        width = max(map(len, image))
        for row in image:
            row.extend([0] * (width - len(row)))


CONFIG = {
    "generation": {"deterministic": True},
    # A deadline may be as short as one likes, and then passes.
    "checks": {
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "504"]},
        "positive_data_acceptance": {"expected-statuses": ["2xx", "504"]},
    },
}
IMPOSSIBLE = "`min_length` is at most", "No number has these lengths, this `pattern` and `check`"
"""Of parameters that are each as the schema says, and not so together."""
DOCUMENT = create_app(Settings()).openapi()

schema = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig.from_dict(CONFIG))


@pytest.fixture(scope="module")
def served(stand_in_models: Path) -> FastAPI:
    return create_app(Settings(models_dir=stand_in_models))


@schema.parametrize()
@settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
def test_the_service_is_as_the_document_says(case: schemathesis.Case[Any], served: FastAPI) -> None:
    """Every check that schemathesis has, on what the document allows and on what it forbids."""
    response = case.call(app=served)
    if not any(text in response.text for text in IMPOSSIBLE):
        case.validate_response(response)


PREDICT = DOCUMENT["paths"]["/predict"]["post"]
READ = DOCUMENT["paths"]["/read"]["post"]
NOT_OF_PREDICT = {401, 403, 404, 405, 501, ClientGone.status, VolumeFull.status}


@pytest.mark.parametrize("error", PROBLEMS.values(), ids=lambda error: error.slug)
def test_a_problem_is_in_the_document(error: type[DigitsError]) -> None:
    if error.status in NOT_OF_PREDICT:
        assert str(error.status) not in PREDICT["responses"]
        return
    if error is BadFeedback:
        assert error.title not in PREDICT["responses"]["422"]["description"]
        return
    response = PREDICT["responses"][str(error.status)]
    assert error.title in response["description"]
    schema = response["content"]["application/problem+json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ProblemDetails"}
    assert ("Retry-After" in response.get("headers", {})) is (error.status == 503)


def test_every_body_is_in_the_document() -> None:
    assert PREDICT["requestBody"]["required"]
    kinds = {kind for row in FORMATS for kind in row.media_types}
    bodies = PREDICT["requestBody"]["content"]
    others = {"multipart/form-data", "application/json", "application/octet-stream"}
    assert bodies.keys() == {*others, *kinds}
    form = bodies["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert [one["$ref"] for one in bodies["application/json"]["schema"]["oneOf"]] == [
        "#/components/schemas/OneImage",
        "#/components/schemas/ManyImages",
    ]


def test_reading_takes_the_bodies_and_has_the_problems_of_predicting() -> None:
    assert READ["requestBody"] == PREDICT["requestBody"]
    assert READ["responses"].keys() == PREDICT["responses"].keys()
    assert {parameter["name"] for parameter in READ["parameters"]} == {
        *("length", "min_length", "max_length", "pattern", "check", "include"),
        "X-Deadline-Seconds",
    }


def test_every_parameter_is_in_the_document() -> None:
    places = {parameter["name"]: parameter["in"] for parameter in PREDICT["parameters"]}
    assert places == {"normalize": "query", "include": "query", "X-Deadline-Seconds": "header"}


def test_the_document_is_made_once_and_has_each_route() -> None:
    app = create_app(Settings())
    assert app.openapi() is app.openapi()
    paths = DOCUMENT["paths"]
    assert next(iter(paths)) == "/predict"
    assert paths.keys() == {
        *(
            "/predict",
            "/read",
            "/healthz",
            "/readyz",
            "/livez",
            "/model",
            "/metrics",
            "/problems/{slug}",
        )
    }
    assert {method for operations in paths.values() for method in operations} == {"get", "post"}
    names = [one["operationId"] for operations in paths.values() for one in operations.values()]
    assert len(set(names)) == len(names)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert named
    assert named <= DOCUMENT["components"]["schemas"].keys()


@pytest.mark.parametrize("path", ["/model", "/problems/{slug}"])
def test_pages_are_in_the_document(path: str) -> None:
    responses = DOCUMENT["paths"][path]["get"]["responses"]
    assert responses["200"]["content"].keys() == {"application/json", "text/html"}
    assert "422" not in responses
    assert "HTTPValidationError" not in DOCUMENT["components"]["schemas"]


def test_the_document_is_served(client: TestClient) -> None:
    response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(DOCUMENT))
