"""The exception tree: what can go wrong, and the problem document that each failure answers with.

    DigitsError
    ├── ConnectionProblem         HTTP itself; refused before any route
    │   ├── BadRequest                400  not HTTP/1.1 as RFC 9112 has it
    │   ├── RequestTimeout            408  headers or body came too slowly
    │   ├── HeadersTooLarge           431
    │   ├── Unauthorized              401
    │   ├── Forbidden                 403
    │   ├── NotFound                  404
    │   ├── MethodNotAllowed          405
    │   └── UnknownMethod             501  of no route at all
    ├── PayloadError              the request as a whole
    │   ├── MalformedBody             400  can't be parsed as what it says it is
    │   ├── BodyTooLarge              413  more bytes than allowed
    │   ├── UnsupportedContentType    415
    │   ├── UnsupportedEncoding       415  compressed bodies are not read
    │   ├── BadParameter              422  a query parameter or header is not acceptable
    │   ├── EmptyBatch                422
    │   ├── UnknownField              422  a file came in a form field of another name
    │   ├── TooManyImages             422
    │   ├── BadPixels                 422  wrong shape, NaN, out of range
    │   └── BadFeedback               422  an id, a label or a text is not acceptable
    ├── ImageError                one image of it, named by its index
    │   ├── NotAnImage                415  not a format that Digits reads
    │   ├── BrokenImage               422  truncated or damaged
    │   └── ImageTooLarge             422  more pixels, or more memory to decode, than allowed
    ├── Unavailable               not now: try again after `Retry-After`
    │   ├── QueueFull                 503
    │   ├── Draining                  503
    │   └── NotReady                  503  no model that may be served
    ├── DeadlineExceeded          504  and the work was not done
    ├── ClientGone                499  nobody is there to read the answer
    ├── VolumeFull                507  there is no room to keep what was sent
    └── InternalError             500
        └── ModelError            500  a version folder, or a model, that may not be served

A class carries its status, the slug of its `type`, its title and a remedy: what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class DigitsError(Exception):
    """Base of every failure that Digits raises on purpose. `str(error)` is safe to show a client.

    Attributes:
        status: HTTP status of the response.
        slug: Last segment of the problem's `type`, `/problems/<slug>`.
        title: One line for people; the same for every occurrence (RFC 9457, section 3.1.3).
        remedy: What the client, or the operator, can do about it.
    """

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]
    remedy: ClassVar[str]

    @property
    def detail(self) -> str:
        """The sentence for this occurrence; the remedy where the error was raised without one."""
        return str(self) or self.remedy


class InternalError(DigitsError):
    """A fault of the service itself; its cause is in the log and never in the response."""

    status = 500
    slug = "internal-error"
    title = "The service failed"
    remedy = "Report it with the `request_id`: the log has the rest."


class ModelError(InternalError):
    """A version folder is incomplete or altered, or a model does not answer as it should."""


class ConnectionProblem(DigitsError):
    """HTTP itself: the request is refused before any route sees it."""


class BadRequest(ConnectionProblem):
    """The bytes are not an HTTP/1.1 request (RFC 9112)."""

    status = 400
    slug = "bad-request"
    title = "The request is not valid HTTP"
    remedy = "Check the request line, the headers and the lengths."


class Unauthorized(ConnectionProblem):
    """An API key is needed and none was sent."""

    status = 401
    slug = "unauthorized"
    title = "An API key is needed"
    remedy = "Send `Authorization: Bearer <key>` or `X-API-Key: <key>`."


class Forbidden(ConnectionProblem):
    """The API key that was sent is not known."""

    status = 403
    slug = "forbidden"
    title = "The API key is not accepted"
    remedy = "Ask the operator for a key that is."


class NotFound(ConnectionProblem):
    """No route has this path."""

    status = 404
    slug = "not-found"
    title = "There is nothing at this address"
    remedy = "`/docs` lists what there is; digits are read at `POST /predict`."


class MethodNotAllowed(ConnectionProblem):
    """The route exists, with other methods."""

    status = 405
    slug = "method-not-allowed"
    title = "The method is not allowed here"
    remedy = "`/docs` lists the methods; digits are read at `POST /predict`."


class UnknownMethod(ConnectionProblem):
    """The method is well formed, and none that any route has."""

    status = 501
    slug = "unknown-method"
    title = "The method is not known"
    remedy = "`/docs` lists the methods; digits are read at `POST /predict`."


class RequestTimeout(ConnectionProblem):
    """Headers or body took too long to arrive."""

    status = 408
    slug = "request-timeout"
    title = "The request took too long to arrive"
    remedy = "Send it faster, or raise DIGITS_HEADER_SECONDS or DIGITS_BODY_SECONDS."


class HeadersTooLarge(ConnectionProblem):
    """The request line and headers have more bytes than `Settings.max_header_bytes`."""

    status = 431
    slug = "headers-too-large"
    title = "The headers have too many bytes"
    remedy = "Send fewer or shorter headers, or raise DIGITS_MAX_HEADER_BYTES."


class PayloadError(DigitsError):
    """The request as a whole can't be used."""


class MalformedBody(PayloadError):
    """The body can't be parsed as what it says it is."""

    status = 400
    slug = "malformed-body"
    title = "The body can't be parsed"
    remedy = "Check that the body is what its content type says, and that all of it was sent."


class BodyTooLarge(PayloadError):
    """The body has more bytes than the settings allow for its kind."""

    status = 413
    slug = "body-too-large"
    title = "The body has too many bytes"
    remedy = "Send fewer or smaller images, or raise DIGITS_MAX_BODY_BYTES."


class UnsupportedContentType(PayloadError):
    """The content type is none of multipart, image or JSON, nor are the bytes."""

    status = 415
    slug = "unsupported-content-type"
    title = "Content type not supported"
    remedy = (
        "Send multipart/form-data with a field `file`, an image with its image/… type, "
        "or application/json."
    )


class UnsupportedEncoding(PayloadError):
    """The body is compressed; Digits reads bodies as they are."""

    status = 415
    slug = "unsupported-encoding"
    title = "Content encoding not supported"
    remedy = "Send the body without Content-Encoding."
    accepted = "identity"
    """What is taken, in the words of `Accept-Encoding` (RFC 9110, section 15.5.16)."""


class BadParameter(PayloadError):
    """A query parameter or header is unknown, or has a value that is not accepted."""

    status = 422
    slug = "bad-parameter"
    title = "A parameter is not acceptable"
    remedy = (
        "`normalize` is true or false, `include` is seen, `X-Deadline-Seconds` is above 0; `/docs` "
        "has the parameters of each route."
    )


class EmptyBatch(PayloadError):
    """There is no image in the body."""

    status = 422
    slug = "empty-batch"
    title = "There is no image in the request"
    remedy = (
        "Send at least one image: a multipart field `file`, the image itself as the body, "
        'or JSON {"image": …} or {"images": […]}.'
    )


class UnknownField(PayloadError):
    """A form brings a file in a field that is not read."""

    status = 422
    slug = "unknown-field"
    title = "A form field is not known"
    remedy = "Name the field `file`, once for each image."


class TooManyImages(PayloadError):
    """The body holds more images than `Settings.max_images`."""

    status = 422
    slug = "too-many-images"
    title = "Too many images in one request"
    remedy = "Send them in several requests, or raise DIGITS_MAX_IMAGES."


class BadPixels(PayloadError):
    """An array has the wrong shape, or a value that is no gray level."""

    status = 422
    slug = "bad-pixels"
    title = "The pixels are not acceptable"
    remedy = (
        "Give rows of equal length, or 784 numbers; every number from 0 to 255, or from 0 to 1."
    )


class BadFeedback(PayloadError):
    """Feedback whose id, label or text is not acceptable."""

    status = 422
    slug = "bad-feedback"
    title = "The feedback is not acceptable"
    remedy = (
        'Send JSON: {"id": …, "label": 4}, with the `id` of an answer, and a label from 0 to 9, or '
        'null for no digit; of a number, {"id": …, "text": "1977"}.'
    )


class ImageError(DigitsError):
    """One image can't be used; `index` is its place in the request, from 0."""

    index: int | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.index is None else f"Image {self.index}: {text or self.remedy}"


class NotAnImage(ImageError):
    """The bytes are of no format that Digits reads."""

    status = 415
    slug = "not-an-image"
    title = "Not an image that Digits reads"
    remedy = "Send a PNG or JPEG; the bytes decide what an image is, not its name."


class BrokenImage(ImageError):
    """The bytes begin like an image and then fail to decode."""

    status = 422
    slug = "broken-image"
    title = "The image is damaged"
    remedy = "The file is truncated or inconsistent; save or send it again."

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} Save or send it again." if self.args else text


class ImageTooLarge(ImageError):
    """The image has more pixels, or takes more memory to decode, than the settings allow."""

    status = 422
    slug = "image-too-large"
    title = "The image has too many pixels"
    remedy = "Send it smaller (a digit needs some 100 pixels), or raise DIGITS_MAX_PIXELS."


class Unavailable(DigitsError):
    """Not now: the same request may succeed after `retry_after_seconds`."""

    status = 503
    retry_after_seconds: ClassVar[int] = 1
    """A full queue is empty again in well under a second, the shortest time that can be said."""


class QueueFull(Unavailable):
    """As much is waiting, or held in memory, as may be."""

    slug = "queue-full"
    title = "Too much is waiting"
    remedy = "Send the request again after `Retry-After` seconds."


class Draining(Unavailable):
    """The process is about to stop and takes no new work."""

    slug = "draining"
    title = "The service is stopping"
    remedy = "Send the request again; another instance will take it."


class NotReady(Unavailable):
    """There is no model that may be served."""

    slug = "not-ready"
    title = "No model can be served"
    remedy = "Send the request again when `/readyz` says 200."


class DeadlineExceeded(DigitsError):
    """The request's deadline passed before its work was done."""

    status = 504
    slug = "deadline-exceeded"
    title = "The deadline passed"
    remedy = (
        "The work was not done. Send the request again when there is less load, or allow more "
        "time with `X-Deadline-Seconds`."
    )


class VolumeFull(DigitsError):
    """The volume that feedback is kept on has no room left."""

    status = 507
    slug = "volume-full"
    title = "There is no room to keep it"
    remedy = (
        "Send it again later. For the operator: make room on the volume of DIGITS_FEEDBACK_DIR, or "
        "lower DIGITS_FEEDBACK_BYTES to what it has."
    )


class ClientGone(DigitsError):
    """The client closed the connection; the status is for the log and the metrics alone."""

    status = 499
    slug = "client-gone"
    title = "The client went away"
    remedy = "Nobody reads this."


def _with_slug(base: type[DigitsError]) -> Iterator[type[DigitsError]]:
    if "slug" in vars(base):
        yield base
    for child in base.__subclasses__():
        yield from _with_slug(child)


PROBLEMS: dict[str, type[DigitsError]] = {error.slug: error for error in _with_slug(DigitsError)}
"""Every kind of problem by its slug; `/problems/<slug>` explains it."""
