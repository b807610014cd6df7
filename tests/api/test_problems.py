from __future__ import annotations

import asyncio
import json
import re

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from app.api.problems import (
    describe_problem,
    handle_error,
    problem_document,
    problem_response,
    render_problem,
)
from app.errors import (
    PROBLEMS,
    BadRequest,
    BrokenImage,
    DigitsError,
    Draining,
    HeadersTooLarge,
    InternalError,
    ModelError,
    NotFound,
    NotReady,
    QueueFull,
    Unavailable,
)


def handled(error: Exception, path: str = "/predict") -> Response:
    """The response to a request in which `error` was raised."""
    state = {"request_id": "abc"}
    request = Request({"type": "http", "path": path, "headers": [], "state": state})
    return asyncio.run(handle_error(request, error))


def document_of(response: Response) -> dict[str, object]:
    document = json.loads(bytes(response.body))
    assert isinstance(document, dict)
    assert response.media_type == "application/problem+json"
    assert document["status"] == response.status_code
    assert document["request_id"] == "abc"
    return document


@pytest.mark.parametrize("error", PROBLEMS.values(), ids=lambda error: error.slug)
def test_a_problem_has_the_members_of_its_class(error: type[DigitsError]) -> None:
    assert json.loads(problem_document(error(), "abc")) == {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.remedy,
        "request_id": "abc",
    }


def test_the_detail_is_the_sentence_that_was_raised() -> None:
    error = BrokenImage("The PNG is truncated.")
    error.index = 3
    document = json.loads(problem_document(error, "abc"))
    assert document["detail"] == "Image 3: The PNG is truncated. Save or send it again."
    assert document["title"] == BrokenImage.title


@pytest.mark.parametrize("error", PROBLEMS.values(), ids=lambda error: error.slug)
def test_a_client_is_told_when_to_come_back_where_it_may(error: type[DigitsError]) -> None:
    headers = problem_response(error(), "abc").headers
    assert headers.get("retry-after") == ("1" if issubclass(error, Unavailable) else None)


def test_what_is_temporary_has_503() -> None:
    temporary = {error for error in PROBLEMS.values() if error.status == 503}
    assert temporary == {QueueFull, Draining, NotReady}
    assert all(issubclass(error, Unavailable) for error in temporary)


@pytest.mark.parametrize("error", [BadRequest, HeadersTooLarge])
def test_the_server_refuses_in_the_same_form(error: type[DigitsError]) -> None:
    pairs, body = render_problem(error)
    headers, document = dict(pairs), json.loads(body)
    assert len(headers) == len(pairs)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"x-request-id"].decode() == document["request_id"]
    assert re.fullmatch("[0-9a-f]{32}", document["request_id"])
    assert document["type"] == f"/problems/{error.slug}"


@pytest.mark.parametrize("error", PROBLEMS.values(), ids=lambda error: error.slug)
def test_what_digits_raises_is_answered(error: type[DigitsError]) -> None:
    assert document_of(handled(error("So it is.")))["type"] == f"/problems/{error.slug}"


@pytest.mark.parametrize(
    ("status", "slug"),
    [
        (400, "bad-request"),
        (404, "not-found"),
        (405, "method-not-allowed"),
        (500, "internal-error"),
        (418, "internal-error"),
    ],
)
def test_what_starlette_raises_is_answered(status: int, slug: str) -> None:
    response = handled(HTTPException(status, "secret", headers={"allow": "GET"}))
    document = document_of(response)
    assert document["type"] == f"/problems/{slug}"
    assert document["detail"] == PROBLEMS[slug].remedy
    assert response.headers["allow"] == "GET"


def test_what_fastapi_refuses_is_answered_without_the_values() -> None:
    faults = [
        {"loc": ("query", "size"), "msg": "secret", "input": "secret", "type": "int"},
        {"loc": ("query", "kind"), "msg": "secret", "input": "secret", "type": "str"},
        {"loc": ("header", "size"), "msg": "secret", "input": "secret", "type": "int"},
    ]
    document = document_of(handled(RequestValidationError(faults)))
    assert document["type"] == "/problems/bad-parameter"
    assert document["detail"] == "Not acceptable: kind, size."


def test_other_failures_are_internal_and_not_told() -> None:
    document = document_of(handled(ZeroDivisionError("secret")))
    assert document["type"] == "/problems/internal-error"
    assert document["detail"] == InternalError.remedy


def test_failures_of_the_service_are_logged_and_refusals_are_not() -> None:
    with capture_logs() as lines:
        handled(ModelError("The model failed."))
        handled(NotFound())
        handled(QueueFull())
    (line,) = lines
    assert (line["log_level"], line["request_id"]) == ("error", "abc")
    assert line["reason"] == "The model failed."


@pytest.mark.parametrize("slug", PROBLEMS)
def test_a_problem_is_described(slug: str) -> None:
    error = PROBLEMS[slug]
    assert describe_problem(slug) == {
        "type": f"/problems/{slug}",
        "title": error.title,
        "status": error.status,
        "remedy": error.remedy,
    }


@pytest.mark.parametrize("slug", ["", "nothing", "Not-Found"])
def test_another_problem_is_not_found(slug: str) -> None:
    with pytest.raises(NotFound):
        describe_problem(slug)


@pytest.mark.parametrize("path", ["/v1/models/digits:predict", "/v1", "/v2", "/v2/health/ready"])
@pytest.mark.parametrize("error", PROBLEMS.values(), ids=lambda error: error.slug)
def test_an_error_is_in_the_form_of_the_protocol_of_its_path(
    path: str, error: type[DigitsError]
) -> None:
    raised = error("So it is.")
    response = handled(raised, path)
    assert json.loads(bytes(response.body)) == {"error": raised.detail}
    assert raised.detail.startswith("So it is.")
    assert response.media_type == "application/json"
    assert response.status_code == (400 if error.status in {415, 422} else error.status)
    assert ("retry-after" in response.headers) is issubclass(error, Unavailable)


@pytest.mark.parametrize("path", ["/v1x", "/v20", "/predict/v1/", "/"])
def test_other_paths_have_problems(path: str) -> None:
    assert document_of(handled(QueueFull(), path))["type"] == "/problems/queue-full"
