"""`POST /feedback`: what a picture really shows, where the operator has switched it on."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from functools import partial

import structlog
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from ..errors import (
    BadFeedback,
    BodyTooLarge,
    InternalError,
    MalformedBody,
    PayloadError,
    VolumeFull,
)
from ..inference.grammar import MAX_DIGITS
from ..serving.feedback import MAX_ROW_ID_LENGTH, FeedbackFolder, picture_of, row_of
from .formats import joined
from .formats.pixels import load, members_of
from .options import parse_no_query, parse_options
from .predict import read_body
from .schemas import Feedback, NumberFeedback
from .services import services_of

log = structlog.get_logger()

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
KEYS = BadFeedback.remedy
FIELDS = {
    "id": "The `id` is not that of an answer; send it unchanged.",
    "label": "`label` is a digit from 0 to 9, or null for no digit.",
    "text": f"`text` is the digits of the number, at most {MAX_DIGITS}, or null for no number.",
}
"""What each field is, of feedback that has it with another value."""
MAX_BODY_BYTES = MAX_ROW_ID_LENGTH + 1024
"""Of an id, a label and what JSON has around them."""


class FeedbackEndpoint:
    """Keeps a label for the picture of an answer's id, or a row's text; what fails raises."""

    path = "/feedback"
    statuses = (204, 400, 413, 422, 500, 503, 507)

    def __init__(self, folder: FeedbackFolder) -> None:
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self  # as FastAPI does for its own routes; the metrics are by route
        services = services_of(scope)
        options = parse_options(
            scope, parse_no_query, deadline_seconds=services.settings.deadline_seconds
        )
        received_at = scope["state"].get("received_at") or time.monotonic()
        with services.admission.open_lease(received_at + options.deadline_seconds) as lease:
            too_large = BodyTooLarge(f"Feedback has at most {MAX_BODY_BYTES:,} bytes. {KEYS}")
            body = joined(await read_body(receive, options, lease, MAX_BODY_BYTES, too_large))
            scope["state"]["body_bytes"] = len(body)
            lease.charge_images(1)
            await self._keep(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _keeper(self, feedback: Feedback | NumberFeedback) -> Callable[[], None]:
        try:
            if isinstance(feedback, NumberFeedback):
                return partial(self._folder.keep_row, row_of(feedback.id), feedback.text)
            return partial(self._folder.keep, picture_of(feedback.id), feedback.label)
        except ValueError as error:
            if isinstance(feedback, Feedback) and _is_row(feedback.id):
                raise BadFeedback(
                    "The `id` is a number's, which has no `label`: use `text`."
                ) from error
            raise BadFeedback(FIELDS["id"]) from error

    async def _keep(self, body: bytes) -> None:
        keep = self._keeper(parse(body))
        try:
            await asyncio.to_thread(keep)
        except OSError as error:
            log.warning("feedback can't be kept", reason=error.strerror)
            if error.errno in NO_ROOM:
                raise VolumeFull from error
            raise InternalError("The feedback could not be kept.") from error


def parse(body: bytes) -> Feedback | NumberFeedback:
    """What a body says.

    Raises:
        MalformedBody: it is no JSON.
        BadFeedback: it is another document.
    """
    try:
        document, _ = load(body)
    except PayloadError as error:  # which speaks of images
        raise MalformedBody(f"The body is not JSON. {KEYS}") from error
    fields = members_of(document, KEYS, BadFeedback)
    try:
        kind = NumberFeedback if "text" in fields else Feedback
        return kind.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        is_value = fault["type"] not in ("missing", "extra_forbidden")
        raise BadFeedback(FIELDS[str(fault["loc"][0])] if is_value else KEYS) from None


def _is_row(id_: str) -> bool:
    try:
        row_of(id_)
    except ValueError:
        return False
    return True
