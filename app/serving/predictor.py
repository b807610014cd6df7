"""From raw images to predictions: decode, normalize, classify, judge.

The one implementation of these steps, for a list of requests: the event loop calls it for what is
cheap, and the worker threads for the rest. Each step is done for a whole part of the batch before
the next step begins: a processor's first cache holds the code of one step and not of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from ..errors import BadPixels, ImageError, ImageTooLarge, ModelError
from ..inference.classifier import Classifier, Images, Scores
from ..vision.batch import Batch, NormalizedImages, UntouchedImages
from ..vision.decode import ImageHeader, Picture, decode, probe
from ..vision.digit import SIDE
from ..vision.grayscale import GrayImage
from ..vision.normalize import Normalized, normalize
from .limits import Lease
from .predictions import Predictions, digits_of, judged

log = structlog.get_logger()

Request = TypeVar("Request", bound="PredictRequest")
Result = TypeVar("Result")

RawImage = bytes | GrayImage
"""An encoded image file, or gray levels [h,w]."""
RawImages = Sequence[RawImage] | NDArray[np.uint8]
"""The images of a request, in order; as an array, gray levels [n,h,w] of images of one size."""
Place = tuple[int, int]
"""Index of a request in the batch, and of an image in the request."""

IMAGE_COST = 2048
"""Cost of an image beside its pixels, in pixels: its part of parsing, model and answer."""
ARRAYS_A_PLACE = 4
"""Images of an array that have the place of one image: 28×28 each, they cost far less than a file,
for nothing is decoded (`python -m benchmarks.tensors`: 20 µs)."""
PART_COST = 2**18
"""Cost of the images, in pixels, that are decoded before the first of them is normalized; it bounds
the decoded pictures in memory."""
ARRAY_WORKING_BYTES = 16
"""Working memory to normalize gray levels, in bytes a pixel."""


@dataclass(slots=True, eq=False)
class PredictRequest:
    """The images of a request, and what it will cost to read them.

    Attributes:
        images: Files or gray levels, in order.
        headers: What each file declares of itself; None for gray levels. Empty for an array.
        normalize: False where images are 28×28, white ink on black, and taken as they are.
        lease: The request's share of the limits.
        classifier: The version that was asked for; None for the one that is live by then.
        cost: Work, in pixels.
        working_bytes: Memory for the image that takes most.
        prepared_at: When it was ready to be read, in seconds of `time.perf_counter()`.
        waited: Seconds from then until it was taken.
        seconds: Of its batch's steps, when they are done.
    """

    images: RawImages
    headers: list[ImageHeader | None]
    normalize: bool
    lease: Lease
    classifier: Classifier | None = None
    cost: int = 0
    working_bytes: int = 0
    prepared_at: float = 0.0
    waited: float = 0.0
    seconds: StepSeconds | None = None

    @property
    def is_untouched(self) -> bool:
        """Whether its images are an array that is taken as it is: none is read by itself."""
        return not self.normalize and isinstance(self.images, np.ndarray)


class StepSeconds(NamedTuple):
    """How long each step took for a batch, and each of its requests waited in the queue."""

    queue: Sequence[float]
    decode: float
    normalize: float
    inference: float


OnBatch = Callable[[int, StepSeconds], None]
"""Told the number of images of every model call, and the seconds of each step."""


class Registry(Protocol):
    """Holds the live classifier, such as `app.inference.registry.ModelRegistry`."""

    @property
    def live(self) -> Classifier:
        """The classifier to use now."""


class Predictor:
    """Reads the images of requests, with the live model where no version is asked for.

    Safe to call from several threads.

    Args:
        registry: Holds the live classifier.
        max_pixels: Pixels that an image may have.
        on_batch: Told the number of images of every model call, and the seconds of each step.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        max_pixels: int,
        on_batch: OnBatch = lambda images, seconds: None,
    ) -> None:
        self._registry = registry
        self._max_pixels = max_pixels
        self._on_batch = on_batch

    def prepare(
        self,
        images: RawImages,
        lease: Lease,
        normalize: bool = True,
        classifier: Classifier | None = None,
    ) -> PredictRequest:
        """Read what the files declare, and charge by that; nothing is decoded.

        Raises:
            ImageError: a file is of no known format, damaged or too large; it names the index.
        """
        request = PredictRequest(images, [], normalize, lease, classifier)
        declare(request, max_pixels=self._max_pixels)
        return request

    def predict(self, requests: Sequence[PredictRequest]) -> list[Predictions | Exception]:
        """The predictions of each request, or the exception that it fails with.

        One request's failure is its own, but for a failure of the model, which is everyone's.
        """
        live = self._registry.live
        classifiers = [request.classifier or live for request in requests]
        if len(set(classifiers)) == 1:
            return self._predict(classifiers[0], requests)
        outcomes: dict[int, Predictions | Exception] = {}
        for classifier in dict.fromkeys(classifiers):
            places = [place for place, its in enumerate(classifiers) if its is classifier]
            some = self._predict(classifier, [requests[place] for place in places])
            outcomes.update(zip(places, some, strict=True))
        return [outcomes[place] for place in range(len(requests))]

    def _predict(
        self, classifier: Classifier, requests: Sequence[PredictRequest]
    ) -> list[Predictions | Exception]:
        """The predictions of requests for one version."""
        made, failures, seconds = each_picture(requests, _normalize)
        batches = [
            _attempt(failures, place, _batch, request, some) or NormalizedImages()
            for place, (request, some) in enumerate(zip(requests, made, strict=True))
        ]
        digits = digits_of(batches)
        scores = classify(classifier, digits, requests, seconds, self._on_batch)
        if scores is None:
            return [
                failures.get(request) or ModelError("The model failed.")
                for request in range(len(requests))
            ]
        return [
            failures.get(place) or predictions
            for place, predictions in enumerate(judged(classifier, batches, scores))
        ]


def declare(request: PredictRequest, *, max_pixels: int) -> None:
    """Read what a request's files declare, and charge it by that; nothing is decoded.

    Raises:
        ImageError: a file is of no known format, damaged or too large; it names the index.
    """
    if isinstance(request.images, np.ndarray):
        count, height, width = request.images.shape
        _check_size(0, width, height, max_pixels)
        _charge_levels(request, height * width, count)
    else:
        for index, image in enumerate(request.images):
            if isinstance(image, bytes):
                header = _probe(index, image, max_pixels)
                request.headers.append(header)
                request.cost += IMAGE_COST + header.cost
                request.working_bytes = max(request.working_bytes, header.decoded_bytes)
            else:
                request.headers.append(None)
                height, width = image.shape
                _check_size(index, width, height, max_pixels)
                _charge_levels(request, height * width, 1)
    request.prepared_at = perf_counter()


def places_of(images: RawImages) -> int:
    """The places that a request's images take in the queue."""
    if isinstance(images, np.ndarray) and images.shape[1:] == (SIDE, SIDE):
        return -(-len(images) // ARRAYS_A_PLACE)
    return len(images)


def _charge_levels(request: PredictRequest, pixels: int, count: int) -> None:
    """Charge for gray levels: `count` images of so many pixels."""
    request.cost += count * (IMAGE_COST + pixels * request.normalize)
    request.working_bytes = max(request.working_bytes, pixels * ARRAY_WORKING_BYTES)


def _probe(index: int, image: bytes, max_pixels: int) -> ImageHeader:
    try:
        header = probe(image)
    except ImageError as error:
        error.index = index
        raise
    _check_size(index, header.width, header.height, max_pixels)
    return header


def _check_size(index: int, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        error = ImageTooLarge(
            f"{width} × {height} pixels; at most {max_pixels:,} are read. Send it "
            "smaller: a digit needs some 100 pixels."
        )
        error.index = index
        raise error


def each_picture(
    requests: Sequence[Request], step: Callable[[Request, Picture], Result]
) -> tuple[list[list[Result]], dict[int, Exception], StepSeconds]:
    """What `step` makes of each request's pictures, the exceptions by request, how long it took."""
    made: list[list[Result]] = [[] for _ in requests]
    failures: dict[int, Exception] = {}
    taken_at = perf_counter()
    queue = [taken_at - request.prepared_at for request in requests]
    decode_seconds = step_seconds = 0.0
    for part in _parts(requests):
        began = perf_counter()
        pictures = [
            _attempt(failures, request, _decode, requests[request], index)
            for request, index in part
        ]
        decoded = perf_counter()
        for (request, _), picture in zip(part, pictures, strict=True):
            if picture is None:
                continue
            result = _attempt(failures, request, step, requests[request], picture)
            if result is not None:
                made[request].append(result)
        decode_seconds += decoded - began
        step_seconds += perf_counter() - decoded
    return made, failures, StepSeconds(queue, decode_seconds, step_seconds, 0.0)


def _parts(requests: Sequence[PredictRequest]) -> Iterator[list[Place]]:
    """The images of all requests that are read one by one, in order, in parts of PART_COST."""
    part: list[Place] = []
    room = PART_COST
    for place, request in enumerate(requests):
        if request.is_untouched:
            continue
        share = request.cost // max(1, len(request.images))
        for index in range(len(request.images)):
            if part and share > room:
                yield part
                part, room = [], PART_COST
            part.append((place, index))
            room -= share
    if part:
        yield part


def _attempt(
    failures: dict[int, Exception], request: int, step: Callable[..., Result], *args: object
) -> Result | None:
    """What `step` returns; None where it fails, or the request has failed before."""
    if request in failures:
        return None
    try:
        return step(*args)
    except Exception as error:  # noqa: BLE001 -- its request's to raise
        failures[request] = error
        return None


def _decode(request: PredictRequest, index: int) -> Picture:
    request.lease.check()
    image = request.images[index]
    try:
        picture = (
            decode(image, request.headers[index])
            if isinstance(image, bytes)
            else Picture(image, 1.0)
        )
    except ImageError as error:
        error.index = index
        raise
    if not request.normalize:
        _check_side(index, picture.gray.shape)
    return picture


def _check_side(index: int, shape: tuple[int, ...]) -> None:
    if shape != (SIDE, SIDE):
        height, width = shape
        raise BadPixels(
            f"Image {index}: with normalize=false an image is 28×28, not {width}×{height}."
        )


def _normalize(request: PredictRequest, picture: Picture) -> Normalized | GrayImage:
    if not request.normalize:
        return picture.gray
    return normalize(picture.gray).scaled(picture.scale)


def _batch(request: PredictRequest, made: list[Normalized | GrayImage]) -> Batch:
    """A request's images together, of which `_normalize` made these."""
    if request.normalize:
        return NormalizedImages(cast("list[Normalized]", made))
    if isinstance(request.images, np.ndarray):
        request.lease.check()
        _check_side(0, request.images.shape[1:])
        return UntouchedImages(request.images)
    return UntouchedImages(np.array(made))


def classify(
    classifier: Classifier,
    digits: Images,
    requests: Sequence[PredictRequest],
    seconds: StepSeconds,
    on_batch: OnBatch,
) -> Scores | None:
    """The scores [n,11] of the digits [28,28] of a batch of requests.

    Each request is told how long it waited and its batch's steps took, and `on_batch` the same.

    Returns:
        None where the model fails; the log has why.
    """
    began = perf_counter()
    scores = _scores(classifier, digits)
    if scores is not None:
        seconds = seconds._replace(inference=perf_counter() - began)
        for request, waited in zip(requests, seconds.queue, strict=True):
            request.waited, request.seconds = waited, seconds
        on_batch(len(digits), seconds)
    return scores


def _scores(classifier: Classifier, digits: Images) -> Scores | None:
    if not len(digits):
        return np.empty((0, 11), np.float32)
    try:
        scores = classifier(digits)
        if len(scores) != len(digits):
            raise ModelError(f"The model has scored {len(scores)} images of {len(digits)}.")
    except Exception as error:  # a model raises anything
        # What Digits itself has found wrong needs no traceback.
        is_unexpected = not isinstance(error, ModelError)
        version, reason = classifier.version, str(error)
        log.exception("the model failed", version=version, reason=reason, exc_info=is_unexpected)
        return None
    return scores
