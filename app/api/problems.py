"""Problem documents, application/problem+json (RFC 9457): the one place where they are made."""

from __future__ import annotations

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ..errors import (
    PROBLEMS,
    BadParameter,
    BadRequest,
    DigitsError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Unavailable,
    UnsupportedEncoding,
)
from ..observe.request_id import new_request_id
from .mount import root_path_of

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""Header of every response: a browser takes its content type as it is."""
PROTOCOL_PATHS = ("/v1/", "/v2/")
"""Where other people's protocols are spoken (`app.protocols`), whose errors are `{"error": …}`."""
CALLS = "/inference.GRPCInferenceService/"
"""Where gRPC calls are answered, whose errors are text."""
PROTOCOL_REMEDIES: dict[type[DigitsError], str] = {
    NotFound: "There is nothing at this address; docs/protocols.md has the addresses.",
    MethodNotAllowed: "The method is not allowed here; docs/protocols.md has the methods.",
}
"""What is said there in place of what `/docs` has, which are the service's own routes."""
PROTOCOL_STATUSES = {415: 400, 422: 400}
"""Statuses that their clients do not know, and what they know instead: an invalid argument."""
HTTP_ERRORS: dict[int, type[DigitsError]] = {404: NotFound, 405: MethodNotAllowed, 400: BadRequest}


def problem_document(error: DigitsError, request_id: str, root_path: str = "") -> bytes:
    """The problem document of `error`; `root_path` is the service's mount."""
    return orjson.dumps(
        {
            "type": f"{root_path}/problems/{error.slug}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "request_id": request_id,
        }
    )


def problem_response(error: DigitsError, request_id: str, root_path: str = "") -> Response:
    """The response that `error` becomes; `root_path` is the service's mount."""
    document = problem_document(error, request_id, root_path)
    return Response(document, error.status, _headers(error), MEDIA_TYPE)


def error_response(error: DigitsError, scope: Scope) -> Response:
    """The response that `error` becomes, in the form of the protocol that its path belongs to."""
    path, status = f"{scope['path']}/", PROTOCOL_STATUSES.get(error.status, error.status)
    if path.startswith(CALLS):
        return Response(error.detail, status, _headers(error), "text/plain")
    if not path.startswith(PROTOCOL_PATHS):
        return problem_response(error, scope["state"]["request_id"], root_path_of(scope))
    detail = str(error) or PROTOCOL_REMEDIES.get(type(error), error.remedy)
    content = orjson.dumps({"error": detail})
    return Response(content, status, _headers(error), "application/json")


def _headers(error: DigitsError) -> dict[str, str]:
    match error:
        case Unavailable():
            return {"retry-after": str(error.retry_after_seconds)}
        case UnsupportedEncoding():
            return {"accept-encoding": error.accepted}
        case _:
            return {}


def render_problem(
    error: type[DigitsError], root_path: str = ""
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of a refusal that the server sends before any middleware has run."""
    request_id = new_request_id()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"x-request-id", request_id.encode()),
        NOSNIFF,
    ]
    return headers, problem_document(error(), request_id, root_path)


async def handle_error(request: Request, error: Exception) -> Response:
    """Answer a failure that Digits raised, or that FastAPI and Starlette raise for it."""
    problem = _problem(error)
    if problem.status == InternalError.status:
        log.error("failed", request_id=request.state.request_id, reason=str(error))
    response = error_response(problem, request.scope)
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


def _problem(error: Exception) -> DigitsError:
    match error:
        case DigitsError():
            return error
        case HTTPException():
            return HTTP_ERRORS.get(error.status_code, InternalError)()
        case RequestValidationError():
            # The names are the service's; the values are the client's and are not repeated.
            names = sorted({str(fault["loc"][-1]) for fault in error.errors()})
            return BadParameter(f"Not acceptable: {', '.join(names)}.")
        case _:
            return InternalError()


def describe_problem(slug: str, root_path: str = "") -> dict[str, object]:
    """What the problem at `/problems/<slug>` means; `root_path` is the service's mount.

    Raises:
        NotFound: there is no such problem.
    """
    error = PROBLEMS.get(slug)
    if error is None:
        raise NotFound
    return {
        "type": f"{root_path}/problems/{slug}",
        "title": error.title,
        "status": error.status,
        "remedy": error.remedy,
    }
