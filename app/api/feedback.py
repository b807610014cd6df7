"""`POST /feedback`: what a picture really shows, where the operator has switched it on."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from functools import partial

import structlog
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from ..errors import InternalError, MalformedBody, VolumeFull
from ..serving.feedback import MAX_ROW_ID_LENGTH, FeedbackFolder, picture_of, row_of
from .formats import joined
from .options import parse_options, parse_query
from .predict import read_body
from .schemas import Feedback, NumberFeedback
from .services import services_of

log = structlog.get_logger()

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
MAX_BODY_BYTES = MAX_ROW_ID_LENGTH + 1024
"""Of an id, a label and what JSON has around them."""
FEEDBACK: TypeAdapter[Feedback | NumberFeedback] = TypeAdapter(Feedback | NumberFeedback)


class FeedbackEndpoint:
    """Keeps a label for the picture of an answer's id, or a row's text; what fails raises."""

    path = "/feedback"
    statuses = (204, 400, 413, 500, 503, 507)

    def __init__(self, folder: FeedbackFolder) -> None:
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self  # as FastAPI does for its own routes; the metrics are by route
        services = services_of(scope)
        options = parse_options(
            scope, parse_query, deadline_seconds=services.settings.deadline_seconds
        )
        received_at = scope["state"].get("received_at") or time.monotonic()
        with services.admission.open_lease(received_at + options.deadline_seconds) as lease:
            body = joined(await read_body(receive, options, lease, max_bytes=MAX_BODY_BYTES))
            scope["state"]["body_bytes"] = len(body)
            lease.charge_images(1)
            await self._keep(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _keeper(self, feedback: Feedback | NumberFeedback) -> Callable[[], None]:
        if isinstance(feedback, NumberFeedback):
            return partial(self._folder.keep_row, row_of(feedback.id), feedback.text)
        return partial(self._folder.keep, picture_of(feedback.id), feedback.label)

    async def _keep(self, body: bytes) -> None:
        try:
            keep = self._keeper(FEEDBACK.validate_json(body))
        except ValidationError as error:
            raise MalformedBody(
                'Feedback is JSON: {"id": …, "label": 4}, with the `id` of an answer, and a label '
                'from 0 to 9, or null for no digit; of a number, {"id": …, "text": "1977"}.'
            ) from error
        except ValueError as error:
            raise MalformedBody("The `id` is not that of an answer; send it unchanged.") from error
        try:
            await asyncio.to_thread(keep)
        except OSError as error:
            log.warning("feedback can't be kept", reason=error.strerror)
            if error.errno in NO_ROOM:
                raise VolumeFull from error
            raise InternalError("The feedback could not be kept.") from error
