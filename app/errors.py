"""What can go wrong, where on a request's way, and the status each failure answers with.

A request goes one way, and every failure has a place on it:

    bytes ─payload─▶ raw images ─image─▶ grey ─normalize─▶ digit ─batcher─▶ classifier ─▶ JSON
           │                     │                                 │            │
           PayloadError          ImageError                        Unavailable  ModelError
                                                                   DeadlineExceeded, ClientGone

The tree:

    DigitsError
    ├── PayloadError              the body as a whole
    │   ├── MalformedBody             400  can't be parsed
    │   ├── BodyTooLarge              413  more bytes than allowed
    │   ├── UnsupportedContentType    415
    │   ├── UnsupportedEncoding       415  compressed bodies are not read
    │   ├── BadQuery                  422  a query parameter or header is not acceptable
    │   ├── EmptyBatch                422
    │   ├── TooManyImages             422
    │   └── BadPixels                 422  wrong shape, NaN, out of range
    ├── ImageError                one image of it, named by its index
    │   ├── NotAnImage                415  not a format we read
    │   ├── BrokenImage               422  truncated or damaged
    │   └── ImageTooLarge             422  too many pixels
    ├── Unavailable               not now, try again
    │   ├── QueueFull                 503
    │   ├── Draining                  503
    │   └── NotReady                  503  no model that may be served
    ├── DeadlineExceeded              504  and the work was not done
    ├── ClientGone                    499  nobody is there to read it
    └── ModelError                a version folder that may not be served; never reaches a client

This module alone turns an exception into a status: `problem_for` is the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson


class DigitsError(Exception):
    """Everything Digits raises on purpose. `str(error)` is safe to show to a client."""


class PayloadError(DigitsError):
    """The request's body can't be used."""


class MalformedBody(PayloadError):
    """The body can't be parsed as what it says it is."""


class BodyTooLarge(PayloadError):
    """The body has more bytes than `Settings.max_body_bytes`."""


class UnsupportedContentType(PayloadError):
    """The content type is none of multipart, image or JSON."""


class UnsupportedEncoding(PayloadError):
    """The body is compressed; Digits reads bodies as they are."""


class BadQuery(PayloadError):
    """A query parameter or header has a value that is not accepted."""


class EmptyBatch(PayloadError):
    """There is no image in the body."""


class TooManyImages(PayloadError):
    """The body holds more images than `Settings.max_images`."""


class BadPixels(PayloadError):
    """An array has the wrong shape, or a value that is no grey level."""


class ImageError(DigitsError):
    """One image can't be used; `index` is its place in the request."""

    index: int | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.index is None else f"Image {self.index}: {text}"


class NotAnImage(ImageError):
    """The bytes are no PNG, JPEG, WebP, GIF or BMP."""


class BrokenImage(ImageError):
    """The bytes begin like an image and then fail to decode."""


class ImageTooLarge(ImageError):
    """The image has more pixels than `Settings.max_pixels`."""


class Unavailable(DigitsError):
    """Not now: the same request may succeed after `Retry-After` seconds."""


class QueueFull(Unavailable):
    """As many images wait as may wait."""


class Draining(Unavailable):
    """The process is about to stop and takes no new work."""


class NotReady(Unavailable):
    """There is no model that may be served."""


class DeadlineExceeded(DigitsError):
    """The request's deadline passed before its work was begun."""


class ClientGone(DigitsError):
    """The client closed the connection; its answer is for the log alone."""


class ModelError(DigitsError):
    """A version folder is incomplete, altered, or does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure as it looks on the wire (RFC 9457)."""

    status: int
    slug: str
    title: str
    remedy: str


PROBLEMS: dict[type[DigitsError], Problem] = {
    MalformedBody: Problem(
        400,
        "malformed-body",
        "The body can't be parsed",
        "Check that the body is what its content type says, and that all of it was sent.",
    ),
    BodyTooLarge: Problem(
        413,
        "body-too-large",
        "The body has too many bytes",
        "Send fewer or smaller images, or raise DIGITS_MAX_BODY_BYTES.",
    ),
    UnsupportedContentType: Problem(
        415,
        "unsupported-content-type",
        "Content type not supported",
        "Send multipart/form-data with a field `file`, an image with its image/… type, "
        "or application/json.",
    ),
    UnsupportedEncoding: Problem(
        415,
        "unsupported-encoding",
        "Content encoding not supported",
        "Send the body uncompressed; PNG and JPEG are compressed as they are.",
    ),
    BadQuery: Problem(
        422,
        "bad-parameter",
        "A parameter is not acceptable",
        "`normalize` is true or false, `include` is seen, `X-Deadline-Seconds` is above 0.",
    ),
    EmptyBatch: Problem(
        422,
        "empty-batch",
        "There is no image in the request",
        'Name the multipart field `file`, or send {"image": …} or {"images": […]}.',
    ),
    TooManyImages: Problem(
        422,
        "too-many-images",
        "Too many images in one request",
        "Send them in several requests, or raise DIGITS_MAX_IMAGES.",
    ),
    BadPixels: Problem(
        422,
        "bad-pixels",
        "The pixels are not acceptable",
        "Give rows of equal length, or 784 numbers; every number from 0 to 255, or from 0 to 1.",
    ),
    NotAnImage: Problem(
        415,
        "not-an-image",
        "Not an image we read",
        "Send PNG, JPEG, WebP, GIF or BMP; what the bytes are decides, not their name.",
    ),
    BrokenImage: Problem(
        422,
        "broken-image",
        "The image is damaged",
        "The file is truncated or inconsistent; save or send it again.",
    ),
    ImageTooLarge: Problem(
        422,
        "image-too-large",
        "The image has too many pixels",
        "Send it smaller (a digit needs some 100 pixels), or raise DIGITS_MAX_PIXELS.",
    ),
    QueueFull: Problem(
        503,
        "queue-full",
        "Too much is waiting",
        "Send the request again after `Retry-After` seconds.",
    ),
    Draining: Problem(
        503,
        "draining",
        "The service is stopping",
        "Send the request again; another instance will take it.",
    ),
    NotReady: Problem(
        503,
        "not-ready",
        "No model can be served",
        "Send the request again when `/readyz` says 200.",
    ),
    DeadlineExceeded: Problem(
        504,
        "deadline-exceeded",
        "The deadline passed",
        "The work was not done. Send the request again when there is less load, or allow more "
        "time with `X-Deadline-Seconds`.",
    ),
    ClientGone: Problem(499, "client-gone", "The client went away", "Nobody reads this."),
}

BAD_REQUEST = Problem(
    400,
    "bad-request",
    "The request is not HTTP that we read",
    "Check the request line, the headers and the lengths.",
)
UNAUTHORIZED = Problem(
    401, "unauthorized", "An API key is needed", "Send `Authorization: Bearer` or `X-API-Key`."
)
FORBIDDEN = Problem(
    403, "forbidden", "The API key is not accepted", "Ask the operator for a key that is."
)
NOT_FOUND = Problem(
    404, "not-found", "There is nothing at this address", "`/docs` lists what there is."
)
METHOD_NOT_ALLOWED = Problem(
    405, "method-not-allowed", "The method is not allowed here", "`/docs` lists the methods."
)
REQUEST_TIMEOUT = Problem(
    408,
    "request-timeout",
    "The request took too long to arrive",
    "Send it faster, or raise DIGITS_HEADER_SECONDS or DIGITS_BODY_SECONDS.",
)
HEADERS_TOO_LARGE = Problem(
    431,
    "headers-too-large",
    "The headers have too many bytes",
    "Send fewer or shorter headers, or raise DIGITS_MAX_HEADER_BYTES.",
)
INTERNAL_ERROR = Problem(
    500,
    "internal-error",
    "Something failed here that should not have",
    "Report it with the `request_id`: the log has the rest.",
)

OUTSIDE = (
    BAD_REQUEST,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
)
"""What is refused before Digits' own code has seen it, and what is its fault."""

PROBLEMS_BY_SLUG = {problem.slug: problem for problem in (*PROBLEMS.values(), *OUTSIDE)}


def problem_for(error: BaseException) -> Problem:
    """The problem of an exception; what is not one of ours is an internal error."""
    return PROBLEMS.get(type(error), INTERNAL_ERROR)  # type: ignore[arg-type]


def problem_json(problem: Problem, detail: str, *, request_id: str) -> bytes:
    """The problem document, application/problem+json (RFC 9457)."""
    return orjson.dumps(
        {
            "type": f"/problems/{problem.slug}",
            "title": problem.title,
            "status": problem.status,
            "detail": detail,
            "request_id": request_id,
        }
    )
