"""The exception tree: what can go wrong between an image and its prediction.

    DigitsError
    ├── InvalidArgument       an address, a key, a time or a length can't be; nothing was sent
    ├── SourceError           the image can't be read, or is nothing that can be sent
    ├── ConnectionFailed      no answer: refused, cut off
    │   └── TimedOut              no answer in time
    ├── UnexpectedAnswer      an answer that is not of this service
    └── Problem               the service's word (RFC 9457): type, title, status, detail, request_id
        ├── ImageError            an image is no image, damaged, too large; `index` says which
        ├── BadParameter          an option is not accepted, or contradicts another
        ├── PayloadTooLarge       413 and the like: too many bytes or images in one request
        ├── Unauthorized          401, 403
        ├── Unavailable           503, 429  not now; `retry_after_seconds`
        ├── DeadlineExceeded      504
        └── ServiceError          500 and other 5xx

A problem of no class of its own is a plain `Problem`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

IMAGE_NAMED = re.compile(r"Image (\d{1,9})\b")
"""How a problem's detail names the image in question."""


class DigitsError(Exception):
    """Base of every failure that this package raises on purpose."""


class InvalidArgument(DigitsError, ValueError):
    """An argument can't be used, whatever the service says; nothing was sent."""


class SourceError(DigitsError):
    """The image can't be read, or is nothing that can be sent."""


class ConnectionFailed(DigitsError):
    """The service gave no answer."""


class TimedOut(ConnectionFailed):
    """The service gave no answer in time; it may still work on the request."""


class UnexpectedAnswer(DigitsError):
    """Something answered that is not this service, or another version of it."""


class Problem(DigitsError):
    """The service refused or failed.

    Attributes:
        type: Stable reference to the kind of problem, such as `/problems/not-an-image`.
        title: A line for people, the same for every occurrence.
        status: HTTP status.
        detail: What is wrong this time, and what to do about it.
        request_id: What the service's log knows the request by; empty where it gave none.
        retry_after_seconds: When to try again, where the service said so.
    """

    def __init__(
        self,
        *,
        type: str,  # noqa: A002 -- RFC 9457's name
        title: str,
        status: int,
        detail: str,
        request_id: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    @property
    def index(self) -> int | None:
        """The place in the request of the image in question, from 0; None where none is named."""
        named = IMAGE_NAMED.match(self.detail)
        return int(named[1]) if named else None


class ImageError(Problem):
    """An image is not one, damaged, too large, or has unacceptable pixels."""


class BadParameter(Problem):
    """An option is not accepted, or contradicts another."""


class PayloadTooLarge(Problem):
    """A request has too many bytes or images."""


class Unauthorized(Problem):
    """An API key is missing, or not accepted."""


class Unavailable(Problem):
    """Not now: the service is busy, starting or stopping."""


class DeadlineExceeded(Problem):
    """The request's time passed before its work was done."""


class ServiceError(Problem):
    """The service, or a proxy before it, failed."""


BY_SLUG: Mapping[str, type[Problem]] = {
    "not-an-image": ImageError,
    "broken-image": ImageError,
    "image-too-large": ImageError,
    "bad-pixels": ImageError,
    "bad-parameter": BadParameter,
    "too-many-images": PayloadTooLarge,
}
BY_STATUS: Mapping[int, type[Problem]] = {
    401: Unauthorized,
    403: Unauthorized,
    413: PayloadTooLarge,
    429: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def problem_from(
    document: Mapping[str, Any], *, status: int, retry_after_seconds: float | None = None
) -> Problem:
    """Make the exception that a problem document stands for.

    Args:
        document: Its members; those that are missing are empty.
        status: HTTP status of the response.
        retry_after_seconds: When to try again, where the service said so.
    """
    kind = str(document.get("type", "about:blank"))
    by_status = BY_STATUS.get(status, ServiceError if status >= 500 else Problem)
    # Only the last segment is the same behind every proxy.
    return BY_SLUG.get(kind.rpartition("/problems/")[2], by_status)(
        type=kind,
        title=str(document.get("title", f"HTTP {status}")),
        status=status,
        detail=str(document.get("detail", "")),
        request_id=str(document.get("request_id", "")),
        retry_after_seconds=retry_after_seconds,
    )
