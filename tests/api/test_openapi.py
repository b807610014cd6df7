from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.config import SchemathesisConfig

from app.errors import (
    PROBLEMS,
    ClientGone,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
)
from app.main import create_app
from app.settings import Settings
from app.vision.decode import FORMATS
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
    for media_type in row.media_types:
        schemathesis.openapi.media_type(media_type, drawings(row.name.upper()))
schemathesis.openapi.format("binary", drawings("PNG"))


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
DOCUMENT = create_app(Settings()).openapi()

schema = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig.from_dict(CONFIG))


@pytest.fixture(scope="module")
def served(stand_in_models: Path) -> FastAPI:
    return create_app(Settings(models_dir=stand_in_models))


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_the_service_is_as_the_document_says(case: schemathesis.Case[Any], served: FastAPI) -> None:
    """Every check that schemathesis has, on what the document allows and on what it forbids."""
    case.call_and_validate(app=served)


def test_every_problem_is_in_the_document() -> None:
    described = DOCUMENT["paths"]["/predict"]["post"]["responses"]
    elsewhere = {ClientGone, InternalError, Unauthorized, Forbidden, NotFound, MethodNotAllowed}
    for problem in set(PROBLEMS.values()) - elsewhere:
        assert problem.title in described[str(problem.status)]["description"]


def test_operations_have_names_of_their_own() -> None:
    names = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(names) == len(set(names)) > 5


def test_every_body_is_in_the_document() -> None:
    body = DOCUMENT["paths"]["/predict"]["post"]["requestBody"]
    assert body["required"]
    assert {"multipart/form-data", "application/json", "image/png"} <= body["content"].keys()
