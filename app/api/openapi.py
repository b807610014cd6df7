"""What the OpenAPI document says beyond what FastAPI reads off the routes: the bodies that are
parsed by hand, and the problems.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from ..errors import OUTSIDE, PROBLEMS
from .middleware import is_locked
from .schemas import ManyImages, OneImage, ProblemDetails

BINARY = {"schema": {"type": "string", "format": "binary"}}
PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
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
        },
        "application/json": {
            "schema": {
                "oneOf": [
                    {"$ref": "#/components/schemas/OneImage"},
                    {"$ref": "#/components/schemas/ManyImages"},
                ]
            }
        },
        "image/png": BINARY,
        "image/jpeg": BINARY,
        "image/webp": BINARY,
        "image/gif": BINARY,
        "image/bmp": BINARY,
    },
}
PROBLEM_CONTENT = {
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's responses for these statuses, each with the problems that it stands for."""
    known = (*PROBLEMS.values(), *OUTSIDE)
    return {
        status: {
            "description": "; ".join(p.title for p in known if p.status == status),
            "content": PROBLEM_CONTENT,
        }
        for status in statuses
    }


KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(app: FastAPI, *, locked: bool) -> dict[str, Any]:
    """The OpenAPI document of `app`, made once; `locked` where API keys are set."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, extra = models_json_schema(
            [(model, "validation") for model in (OneImage, ManyImages, ProblemDetails)],
            ref_template="#/components/schemas/{model}",
        )
        made["components"]["schemas"].update(extra["$defs"])
        if locked:
            _add_keys(made)
        app.openapi_schema = made
    return app.openapi_schema


def _add_keys(made: dict[str, Any]) -> None:
    made["components"]["securitySchemes"] = KEY_SCHEMES
    for path, operations in made["paths"].items():
        if is_locked(path):
            for operation in operations.values():
                operation["security"] = [{name: []} for name in KEY_SCHEMES]
                refusals = problems(401, 403).items()
                operation["responses"] |= {str(status): answer for status, answer in refusals}
