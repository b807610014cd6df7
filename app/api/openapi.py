"""The OpenAPI document: what FastAPI reads off the routes, and what is plain ASGI."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ..errors import (
    PROBLEMS,
    BadFeedback,
    BadParameter,
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    DigitsError,
    Draining,
    HeadersTooLarge,
    InternalError,
    MalformedBody,
    NotReady,
    QueueFull,
    RequestTimeout,
    UnsupportedEncoding,
    VolumeFull,
)
from ..inference.grammar import MAX_DIGITS, MAX_PATTERN, PATTERN, Check
from ..vision.decode import FORMATS
from .middleware import is_locked
from .schemas import Answer, Feedback, ManyImages, NumberFeedback, Numbers, OneImage, ProblemDetails

REFERENCE = "#/components/schemas/{model}"
KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
OCTETS = "application/octet-stream"
BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
            "description": "One image each.",
        }
    },
}
RETRY_AFTER = {
    "description": "Seconds after which to send the request again.",
    "schema": {"type": "integer"},
}


OF_FEEDBACK = (
    BadRequest,
    MalformedBody,
    RequestTimeout,
    BodyTooLarge,
    UnsupportedEncoding,
    BadParameter,
    BadFeedback,
    HeadersTooLarge,
    InternalError,
    QueueFull,
    Draining,
    NotReady,
    DeadlineExceeded,
    VolumeFull,
)
"""Problems of `POST /feedback`, which has no images."""
OF_FEEDBACK_ALONE = (BadFeedback, VolumeFull)


def problem_responses(
    *statuses: int, problems: Collection[type[DigitsError]] = ()
) -> dict[int | str, dict[str, Any]]:
    """A route's responses for these statuses, each with the problems that it stands for.

    Args:
        statuses: Of the responses.
        problems: That the route has; unless told, all but those of feedback.
    """
    problems = problems or {*PROBLEMS.values()}.difference(OF_FEEDBACK_ALONE)
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        titles = [
            error.title
            for error in PROBLEMS.values()
            if error.status == status and error in problems
        ]
        reference = {"$ref": REFERENCE.format(model=ProblemDetails.__name__)}
        responses[status] = {
            "description": "; ".join(titles),
            "content": {"application/problem+json": {"schema": reference}},
        }
        if status == 503:
            responses[status]["headers"] = {"Retry-After": RETRY_AFTER}
    return responses


PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
"""What a route answers to a browser, beside JSON."""
DEADLINE = {
    "name": "X-Deadline-Seconds",
    "in": "header",
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "description": "Seconds until the answer is of no use; at most the setting.",
}


def query_parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    """A parameter of an operation's query."""
    return {"name": name, "in": "query", "schema": schema, "description": description}


INCLUDE = query_parameter(
    "include",
    {"type": "array", "items": {"type": "string", "enum": ["seen"]}},
    "`seen` adds what the model saw.",
)


def predict_operation() -> dict[str, Any]:
    """The operation `POST /predict`."""
    return _operation(
        Answer,
        {
            "operationId": "predict",
            "tags": ["digits"],
            "summary": "Read digits",
            "description": "One prediction an image, in order, with calibrated probabilities.",
            "parameters": [
                query_parameter(
                    "normalize",
                    {"type": "boolean", "default": True},
                    "`false` takes 28×28 input as it is, white ink on black.",
                ),
                INCLUDE,
                DEADLINE,
            ],
        },
        "One prediction an image",
    )


def read_operation() -> dict[str, Any]:
    """The operation `POST /read`."""
    digits = {"type": "integer", "minimum": 1, "maximum": MAX_DIGITS}
    return _operation(
        Numbers,
        {
            "operationId": "read",
            "tags": ["digits"],
            "summary": "Read numbers",
            "description": "One number of one or more digits in a row an image, in order, with the "
            "probability that all of it is right. What is known of the number helps to read it.",
            "parameters": [
                query_parameter("length", digits, "It has so many digits."),
                query_parameter("min_length", {**digits, "default": 1}, "At least so many."),
                query_parameter(
                    "max_length", {**digits, "default": MAX_DIGITS}, "At most so many."
                ),
                query_parameter(
                    "pattern",
                    {"type": "string", "maxLength": MAX_PATTERN, "pattern": PATTERN},
                    "How it is written: `9` a digit, `#` one that may be missing, the separators "
                    "`,` `.` `'` `:` `/` `-` and space; first of all `-` for a minus and a "
                    "currency sign, which may be missing. `#,##9.99` is an amount, `#9/#9/9999` a "
                    "date.",
                ),
                query_parameter(
                    "check",
                    {"type": "string", "enum": [check.value for check in Check]},
                    "The rule that its check digits obey.",
                ),
                INCLUDE,
                DEADLINE,
            ],
        },
        "One number an image",
    )


def _operation(
    answer: type[BaseModel], operation: dict[str, Any], description: str
) -> dict[str, Any]:
    schema = {"schema": {"$ref": REFERENCE.format(model=answer.__name__)}}
    refusals = problem_responses(400, 408, 413, 415, 422, 431, 500, 503, 504)
    return operation | {
        "requestBody": {"required": True, "content": _bodies()},
        "responses": {"200": {"description": description, "content": {"application/json": schema}}}
        | {str(status): response for status, response in refusals.items()},
    }


def feedback_operation() -> dict[str, Any]:
    """The operation `POST /feedback`."""
    documents = [
        {"$ref": REFERENCE.format(model=model.__name__)} for model in (Feedback, NumberFeedback)
    ]
    body = {"schema": {"oneOf": documents}}
    statuses = sorted({error.status for error in OF_FEEDBACK})
    refusals = problem_responses(*statuses, problems=OF_FEEDBACK)
    return {
        "operationId": "feedback",
        "tags": ["digits"],
        "summary": "Say what a picture shows",
        "description": "Keeps the picture of an answer's `id` with its label, to learn from.",
        "parameters": [DEADLINE],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"204": {"description": "It is kept"}}
        | {str(status): response for status, response in refusals.items()},
    }


def _bodies() -> dict[str, Any]:
    documents = [
        {"$ref": REFERENCE.format(model=model.__name__)} for model in (OneImage, ManyImages)
    ]
    media_types = sorted({kind for row in FORMATS for kind in row.media_types})
    return {
        "multipart/form-data": {"schema": FORM},
        "application/json": {"schema": {"oneOf": documents}},
        OCTETS: BINARY,  # generators of clients know of no other body of bytes
        **dict.fromkeys(media_types, BINARY),
    }


def document(app: FastAPI, *, locked: bool, feedback: bool, root_path: str = "") -> dict[str, Any]:
    """The OpenAPI document of `app`, made once.

    Args:
        app: The application.
        locked: Whether API keys are set.
        feedback: Whether there is feedback.
        root_path: The service's mount; its paths begin there.
    """
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _leave_out_validation(made)
        models: list[type[BaseModel]] = [OneImage, ManyImages, Answer, Numbers, ProblemDetails]
        if feedback:
            models += [Feedback, NumberFeedback]
        _, extra = models_json_schema(
            [(model, "validation") for model in models], ref_template=REFERENCE
        )
        made["components"]["schemas"].update(extra["$defs"])
        own = {
            "/predict": {"post": predict_operation()},
            "/read": {"post": read_operation()},
        }
        if feedback:
            own["/feedback"] = {"post": feedback_operation()}
        made["paths"] = own | made["paths"]
        if root_path:
            made["servers"] = [{"url": root_path}]
        if locked:
            _add_keys(made)
        app.openapi_schema = made
    return app.openapi_schema


def _leave_out_validation(made: dict[str, Any]) -> None:
    """Leave out what FastAPI says of every route with a parameter: a slug may be any text."""
    for operations in made["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)


def _add_keys(made: dict[str, Any]) -> None:
    made["components"]["securitySchemes"] = KEY_SCHEMES
    for path, operations in made["paths"].items():
        if is_locked(path):
            for operation in operations.values():
                operation["security"] = [{name: []} for name in KEY_SCHEMES]
                refusals = problem_responses(401, 403).items()
                operation["responses"] |= {str(status): answer for status, answer in refusals}
